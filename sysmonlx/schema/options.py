# SPDX-License-Identifier: MIT
"""Every option of schema 4.90 and every setting of our own, stated once.

An option is a switch of the command line, an element of the configuration, or both. A
setting is an element of our namespace in one container, the last child of Sysmon.
"""

from __future__ import annotations

from dataclasses import dataclass

from sysmonlx.policy import (
    DEFAULT_LIMITS_BYTES,
    LEAST_LIMIT_BYTES,
    RULE_ACTIONS,
    Settings,
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: a switch, an element of the configuration, or both.

    Attributes:
        name: As an element of a configuration.
        switch: Behind the "-" of the command line; None: the option is no switch.
        argument: none, optional, required, or rest: all words behind it.
        target: all, or internal: Sysmon uses it for itself.
        command_line_only: The option is no element of a configuration.
        exclusive: The switch goes with no other exclusive one.
        is_rule: The value stands for rules of the event that has the option's name.
        force_config: As in Sysmon's schema: the value is no list of images.
        effect: What the option does here, for people.
    """

    name: str
    switch: str | None
    argument: str
    target: str
    command_line_only: bool
    exclusive: bool
    is_rule: bool
    force_config: bool
    effect: str


def option(head: str, effect: str) -> Option:
    """Return an option; `head` is "name switch argument [flags]", "." is none."""
    name, switch, argument, *flags = head.split()
    return Option(
        name=name,
        switch=None if switch == "." else switch,
        argument=argument,
        target="internal" if "internal" in flags else "all",
        command_line_only="only" in flags or "exclusive" in flags,
        exclusive="exclusive" in flags,
        is_rule="rule" in flags,
        force_config="forced" in flags,
        effect=effect,
    )


NO_EFFECT = "accepted, no effect"
WINDOWS = "Windows only, ignored with a warning"

#: In schema order, which is also the order in which switches may share a word.
OPTIONS = (
    option("Install i optional exclusive", "install and start"),
    option("Configuration c optional exclusive", "update or show the configuration"),
    option("UnInstall u optional exclusive", "stop and remove"),
    option("Manifest m none exclusive", "accepted, prints the usage"),
    option("ClipboardInstance z required exclusive", "Windows only, refused"),
    option("DebugMode t optional only", "foreground, events to the terminal"),
    option("BTF btf optional only", "use this BTF file"),
    option("Service service none only", "started by the service manager"),
    option("PrintSchema s optional exclusive", "print the schema"),
    option("NoLogo nologo none only", "no banner"),
    option("AcceptEula accepteula none only", "accepted, there is none"),
    option("ConfigDefault - none only", "with -c: back to the defaults"),
    option("ArchiveDirectory a required", WINDOWS),
    option("CaptureClipboard . none", WINDOWS),
    option("DriverName d required", WINDOWS),
    option("DnsQuery dns optional rule", "images whose DNS questions to include"),
    option("PipeMonitoring g required rule forced", NO_EFFECT),
    option("HashAlgorithms h required", "hashes to compute: sha1, md5, sha256 or *"),
    option("DnsLookup . required", "true: name hosts as DNS answers did"),
    option("ProcessAccess k required rule forced", NO_EFFECT),
    option("ImageLoad l optional rule", "images whose library loads to include"),
    option("NetworkConnect n optional rule", "images whose connections to include"),
    option("CheckRevocation r optional", WINDOWS),
    option("ServiceArchiveDirectory s required internal", NO_EFFECT),
    option("InternalRepresentation x required internal", "write or compare the rules"),
    option("OutputRules y required internal", "write the rule listing to a file"),
    option("TraceEvents . required internal", NO_EFFECT),
    option("FieldSizes . required", "Field:N,...: cut these fields to N bytes"),
)

#: Options of schemas 2.0 to 4.23; still recognised, after all others.
OLD_OPTIONS = (
    option("CopyOnDelete_PE e none", WINDOWS),
    option("CopyOnDelete_SIDs f required", WINDOWS),
    option("CopyOnDelete_Extensions j required", WINDOWS),
    option("CopyOnDelete_Processes p required", WINDOWS),
)

#: Options that are elements of a configuration.
CONFIG_OPTIONS = tuple(
    each for each in (*OPTIONS, *OLD_OPTIONS) if not each.command_line_only
)

#: Spellings of the old ones in Sysmon's documentation.
OLD_SPELLINGS = tuple(old.name.replace("_", "") for old in OLD_OPTIONS)

#: Switches that Sysmon does not have.
OWN_OPTIONS = (
    option("Test test required exclusive", "try events on a configuration"),
    option("Statistics stats optional exclusive", "counters of the running service"),
    option("SelfTest selftest optional exclusive", "make events, say which were seen"),
    option("Lax lax none only", "read a configuration as tolerantly as Sysmon"),
    option("Strict strict none only", "refuse a configuration for one rule of Sigma"),
    option("Verbose v optional only", "with -test: reasons, or the source"),
    option("Sigma sigma rest exclusive", "check, list, try and compile Sigma rules"),
)

NAMESPACE = "urn:sysmonlx:settings"
CONTAINER = "Settings"
SINK = "Sink"
SINK_KINDS = ("syslog", "file", "stdout", "journald", "socket")
SINK_FORMS = ("xml", "json", "velociraptor", "ecs")
#: The name or the number of a group, group(5).
GROUP_PATTERN = "[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,31}"
#: Values of `prefix` and `compress` of a file sink: the begin of each line, and how
#: files that were set aside are compressed.
SINK_PREFIXES = ("syslog",)
SINK_COMPRESSIONS = ("gzip",)
#: Which events a sink takes: all, the default, or those that rules of Sigma hit.
SINK_HITS = ("all", "only")
RULES = "Rules"
#: Stands for the path of the pack that comes with the program.
SHIPPED = "shipped"
#: How often the settings may have it.
RULES_LIMIT = 16
#: Levels and statuses of rules of Sigma, from the least on, and the defaults.
RULE_LEVELS = ("informational", "low", "medium", "high", "critical")
RULE_STATUSES = ("experimental", "test", "stable")
RULE_DEFAULTS = (RULE_ACTIONS[0], "low", "experimental")


KIB = 1 << 10
MIB = 1 << 20

#: The bounds of a rotation: bytes of a file, seconds of a period, files that stay; and
#: how many stay where nothing is said.
ROTATION_SIZES = (64 * KIB, 1 << 40)
ROTATION_PERIODS_S = (60, 366 * 86_400)
ROTATION_KEEPS = (1, 999)
ROTATION_KEEP = 7


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of our own.

    `attribute` names it in `policy.Settings`, which holds its default. `kind` is size
    (bytes, also as 64K or 8M), number, boolean, path or names (of
    fields in `events.APPENDED`, between commas); `low` and `high` are inclusive.
    `default` says in words what holds without it, where that is more than one value.
    A size that `is_power` is a power of two.
    """

    element: str
    attribute: str
    kind: str
    low: int
    high: int
    meaning: str
    default: str = ""
    is_power: bool = False

    def allows(self, number: int) -> bool:
        """Return whether a number is within the limits of this setting."""
        is_fit = not self.is_power or not number & (number - 1)
        return self.low <= number <= self.high and is_fit

    @property
    def default_text(self) -> str:
        """The default as help and manual print it: "8388608", "false", "empty"."""
        value = getattr(Settings(), self.attribute)
        text = str(value).lower() if self.kind == "boolean" else str(value)
        text = ", ".join(value) if self.kind == "names" else text
        return self.default or text or "empty"


SETTINGS = (
    Setting(
        "LineLimit",
        "line_limit_bytes",
        "size",
        LEAST_LIMIT_BYTES,
        MIB,
        "Longest line written, in bytes, to any sink; the longest values of a longer"
        " one are shortened in the middle.",
        "for syslog what the log daemon's configuration allows"
        f" ({DEFAULT_LIMITS_BYTES['syslog']} where it does not say),"
        f" {DEFAULT_LIMITS_BYTES['file']} for other sinks",
    ),
    Setting(
        "HashWait",
        "hash_wait_ms",
        "number",
        0,
        60_000,
        "Milliseconds that an event waits for the hashes of its file.",
    ),
    Setting(
        "HashSizeLimit",
        "hash_size_limit_bytes",
        "size",
        0,
        1 << 40,
        'Largest file that is hashed; larger ones show "-".',
    ),
    Setting(
        "HashShare",
        "hash_share_percent",
        "number",
        0,
        100,
        "Percent of one core, averaged over 10 s, that hashes may take; 0 is no limit.",
    ),
    Setting(
        "RingSize",
        "ring_size_bytes",
        "size",
        64 * KIB,
        256 * MIB,
        "Ring buffer between kernel and daemon, a power of two.",
        is_power=True,
    ),
    Setting(
        "ReadInterval",
        "read_interval_ms",
        "number",
        10,
        1000,
        "Milliseconds that events wait at most to be read together: the longer, the"
        " less processor time; what must be looked up at once never waits that long.",
    ),
    Setting(
        "SpoolLimit",
        "spool_limit_bytes",
        "size",
        0,
        1 << 30,
        "Lines kept in memory while a sink does not accept them.",
    ),
    Setting(
        "UdpInterval",
        "udp_interval_s",
        "number",
        0,
        86_400,
        "Seconds after which a UDP flow is reported again; 0 reports every packet.",
    ),
    Setting(
        "PipeInterval",
        "pipe_interval_s",
        "number",
        0,
        86_400,
        "Seconds after which it is reported again that a process made, opened or"
        " connected to one pipe; 0 reports every time.",
    ),
    Setting(
        "FailedConnects",
        "failed_connects",
        "boolean",
        0,
        0,
        "Whether NetworkConnect also reports connections that failed.",
    ),
    Setting(
        "TruncationAsCreate",
        "truncation_as_create",
        "boolean",
        0,
        0,
        "Whether FileCreate also reports an existing file that open(2) emptied.",
    ),
    Setting(
        "WriteAsCreate",
        "write_as_create",
        "boolean",
        0,
        0,
        "Whether FileCreate also reports the first time that a program opens an"
        " existing file for writing; for rules on TargetFilename.",
    ),
    Setting(
        "MassChange",
        "mass_change",
        "boolean",
        0,
        0,
        "Whether ProcessTampering also reports a process that writes many existing"
        " files and renames or removes them, as programs for blackmail do.",
    ),
    Setting(
        "MassChangeFiles",
        "mass_change_files",
        "number",
        2,
        100_000,
        "How many files make a mass change, in a minute.",
    ),
    Setting(
        "ExecutableMemory",
        "executable_memory",
        "boolean",
        0,
        0,
        "Whether ProcessTampering also reports a process that makes memory executable"
        " whose content no file has; programs with a JIT compiler do so too.",
    ),
    Setting(
        "Budget",
        "budget",
        "number",
        0,
        100,
        "Whether a flood may be sampled while the ring buffer is filling: 0 never,"
        " 1 yes; larger numbers count as 1, with a warning.",
    ),
    Setting(
        "MetricsFile",
        "metrics_file",
        "path",
        0,
        0,
        "File for counters as Prometheus text, there while the service runs; empty is"
        " none.",
    ),
    Setting(
        "Fields",
        "appended_fields",
        "names",
        0,
        0,
        "Fields of sysmonlx's own, separated by commas; each stands behind the last"
        " field of the events that can have it.",
    ),
)
