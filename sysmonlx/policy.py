# SPDX-License-Identifier: MIT
"""A configuration after reading: what the rules say, as plain data.

`config.reader` makes it from XML. The state directory keeps it as JSON.
`rules.compiler` compiles it for the daemon, `rules.kernel` for the kernel. No lxml
here, so the daemon can load a stored configuration without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

#: The number changes whenever the same configuration file means something else than
#: before, for example because a default has changed. A stored policy with another
#: number is made anew from its file.
FORM = 2


#: The values of `onmatch`: what becomes of an event that an element matches.
DECISIONS = ("include", "exclude")
#: The values of `groupRelation`: whether all parts have to match, or any one.
RELATIONS = ("and", "or")


@dataclass(frozen=True, slots=True)
class Filter:
    """One field test: `<Image condition="end with" name="x">value</Image>`.

    `name` is the effective rule name: its own, else its Rule's, else its RuleGroup's.
    `condition` is the canonical lower-case name out of `schema.conditions.CONDITIONS`.
    """

    field: str
    condition: str
    value: str
    name: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Compound:
    """A `Rule` element; `relation` is one of RELATIONS.

    `number` counts the Rules of the whole file, for the listing.
    """

    filters: tuple[Filter, ...]
    relation: str
    number: int
    name: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Element:
    """One event element: `<ProcessCreate onmatch="include">...</ProcessCreate>`.

    `onmatch` is one of DECISIONS, `relation` one of RELATIONS.

    `event_ids` are the events that it judges (several for PipeEvent and its like).
    A field of a filter stands for its position in event `bound_id`. In an event that
    has the field elsewhere, or lacks it, the filter does not match.
    """

    tag: str
    event_ids: tuple[int, ...]
    onmatch: str
    relation: str
    items: tuple[Filter | Compound, ...]
    line: int = 0
    bound_id: int = 0


#: The sockets that readers of events connect to, where no path is given: for root, and
#: for a group, in a directory that the group may enter.
ROOT_SOCKET = "/run/sysmonlx/events"
GROUP_SOCKET = "/run/sysmonlx-events/events"


class Rotation(NamedTuple):
    """When a file is set aside, and what becomes of such files; 0: never for that.

    `size_bytes` is how large it may become. `every_s` is a period: a file has lines of
    one period alone, counted from the epoch. `keep` files stay, compressed or not.
    """

    size_bytes: int = 0
    every_s: int = 0
    keep: int = 0
    compresses: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether a file is ever set aside."""
        return bool(self.size_bytes or self.every_s)


class SinkChoice(NamedTuple):
    """Where lines go, and in which form.

    `kind` is one of `schema.options.SINK_KINDS`, `form` one of SINK_FORMS. `target` is
    the path of a file or a socket; empty: the usual one. `group` may read it too;
    empty: root alone. `prefix` is one of SINK_PREFIXES or empty. A stored policy has
    these values as a list; values that a shorter list leaves out have their default.
    """

    kind: str
    form: str = "xml"
    target: str = ""
    group: str = ""
    prefix: str = ""
    rotation: Rotation = Rotation()

    @property
    def place(self) -> str:
        """The path that lines go to, the usual one where none is given."""
        if self.kind == "socket" and not self.target:
            return GROUP_SOCKET if self.group else ROOT_SOCKET
        return self.target


#: Rules of Sigma: the path of a compiled pack, one of RULE_ACTIONS, the least level and
#: the least status of the rules that are used.
RulesChoice: TypeAlias = tuple[str, str, str, str]
#: What becomes of an event that such a rule hits: it is named if it is reported; it is
#: reported unless an exclude element matches it; it is reported.
RULE_ACTIONS = ("tag", "include", "always")

#: RuleName begins with it where a rule of Sigma hits an event.
SIGMA_PREFIX = "sigma="

#: The field with the names of all rules that an event hits, where there are such rules.
RULE_NAMES = "RuleNames"

#: RuleName of the events of a self-test, which no rule has judged.
SELF_TEST = "sysmonlx-selftest"

#: The name of a field, and how many bytes of its values are shown.
FieldSize: TypeAlias = tuple[str, int]

#: A value of `Settings`.
SettingValue: TypeAlias = (
    "int | str | tuple[str, ...] | tuple[FieldSize, ...] | tuple[SinkChoice, ...]"
    " | tuple[RulesChoice, ...]"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of the configuration, Sysmon's and ours, with the defaults of ours.

    `schema.options` says what each of ours means. `field_sizes_text` is the option as
    written, for the listing. A `line_limit_bytes` of 0 is the default of each sink, see
    `line_limit_of`. `hit_sinks` are sinks for events that rules of Sigma hit.
    """

    hash_algorithms: tuple[str, ...] = ("SHA256",)
    field_sizes: tuple[FieldSize, ...] = ()
    field_sizes_text: str = ""
    sinks: tuple[SinkChoice, ...] = (SinkChoice("syslog"),)
    line_limit_bytes: int = 0
    ring_size_bytes: int = 8 << 20
    spool_limit_bytes: int = 8 << 20
    read_interval_ms: int = 200
    hash_wait_ms: int = 2000
    hash_size_limit_bytes: int = 256 << 20
    hash_share_percent: int = 25
    udp_interval_s: int = 1800
    pipe_interval_s: int = 10
    failed_connects: bool = False
    truncation_as_create: bool = False
    write_as_create: bool = False
    mass_change: bool = False
    mass_change_files: int = 50
    executable_memory: bool = False
    budget: int = 0
    metrics_file: str = ""
    appended_fields: tuple[str, ...] = ()
    hit_sinks: tuple[SinkChoice, ...] = ()
    rules: tuple[RulesChoice, ...] = ()
    dns_lookup: bool = False

    @classmethod
    def of(cls, values: Mapping[str, SettingValue]) -> Settings:
        """Return settings with these values; the others have their defaults.

        The readers see to it that each value has the type of its attribute.
        """
        return cls(**values)  # type: ignore[arg-type]  # one type for all of them

    @property
    def appended(self) -> tuple[str, ...]:
        """The fields of ours that events have behind their last one."""
        return (*self.appended_fields, *([RULE_NAMES] if self.rules else ()))

    def line_limit_of(self, kind: str) -> int:
        """Return how many bytes a line may have in a sink of this kind."""
        return self.line_limit_bytes or DEFAULT_LIMITS_BYTES[kind]


@dataclass(frozen=True, slots=True)
class PackFile:
    """A compiled pack of Sigma rules; `choice` is the setting that names it.

    `text` is its JSON, `sha256` the lower-case hex digest of the bytes that were read.
    `refused` counts rules of files in YAML that could not be compiled.
    """

    choice: RulesChoice
    sha256: str
    text: str
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All event elements, in schema order and then document order.

    `schema_version` is the declared one with two decimals. An empty `elements` means
    that every event type keeps its default. `appended` are the fields of ours that
    events have behind their last one: `Settings.appended`. `packs` are those
    that `Settings.rules` name, one at least for each.
    """

    schema_version: str = "4.90"
    elements: tuple[Element, ...] = ()
    appended: tuple[str, ...] = ()
    packs: tuple[PackFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules and settings of one configuration, and where they came from.

    `source` is the file name as typed (empty: built-in defaults). `digests` are pairs:
    SHA1, MD5 or SHA256, and the lower-case hex digest of the bytes that were read.
    `form` differs from FORM when another version of this program read the file.
    """

    ruleset: Ruleset = field(default_factory=Ruleset)
    settings: Settings = field(default_factory=Settings)
    source: str = ""
    digests: tuple[tuple[str, str], ...] = ()
    form: int = FORM

    def digest_text(self) -> str:
        """Return the digests as Hashes shows them, "-" when there are none."""
        digests = dict(self.digests)
        texts = [
            f"{name}={digests[name]}"
            for name in ALGORITHMS
            if name in self.settings.hash_algorithms and name in digests
        ]
        return ",".join(texts) or "-"

    def without_sinks(self) -> Policy:
        """Return the same policy with nowhere to write to."""
        return replace(self, settings=replace(self.settings, sinks=(), hit_sinks=()))

    def to_json(self) -> str:
        """Return this policy as JSON, which `config.stored_policy` reads back."""
        return json.dumps(self, default=_plain, separators=(",", ":"))


def _plain(part: Part) -> dict[str, object]:
    """Return the attributes of one part, for JSON; `asdict` is five times slower."""
    return {name: getattr(part, name) for name in part.__slots__}


#: What a policy consists of.
Part: TypeAlias = Policy | Ruleset | PackFile | Settings | Element | Compound | Filter

#: The smallest limit of a line, in bytes. Every event fits into it with `...` for each
#: value that others have chosen, whatever the name of the host is.
LEAST_LIMIT_BYTES = 2048
#: As many more for each field of ours that events have.
_LIMIT_OF_FIELD_BYTES = 64


def least_limit(appended: Sized) -> int:
    """Return the smallest limit of a line, in bytes, where events have these fields."""
    return LEAST_LIMIT_BYTES + _LIMIT_OF_FIELD_BYTES * len(appended)


#: The limit of a line by the kind of its sink, in bytes, without the header of syslog.
#: rsyslog takes 8,096 bytes whole. When it passes a line on, it puts a header of 126
#: bytes at most before it: RFC 5424, with a host name of 64 bytes and the sender's pid.
DEFAULT_LIMITS_BYTES = {
    **{"syslog": 7950, "file": 65_535, "stdout": 65_535, "journald": 65_535},
    "socket": 65_535,
}

#: In the order in which Sysmon prints hashes.
ALGORITHMS = ("SHA1", "MD5", "SHA256")
