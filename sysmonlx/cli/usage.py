# SPDX-License-Identifier: MIT
"""The usage text and the configuration help, made from `sysmonlx.schema`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from sysmonlx.schema.conditions import CONDITIONS, DEFAULT_CONDITION
from sysmonlx.schema.events import EVENTS, SCHEMA_VERSION
from sysmonlx.schema.options import (
    CONFIG_OPTIONS,
    CONTAINER,
    NAMESPACE,
    SETTINGS,
    Setting,
)

_FORMS = (
    ("Install:", "-i [<configfile>]"),
    ("Update configuration:", "-c [<configfile>]"),
    ("Back to defaults:", "-c --"),
    ("Print schema:", "-s [<version>|all]"),
    ("Uninstall:", "-u [force|purge]"),
    ("Watch live:", "-t [<rules.xml>] [json] [<words>]"),
    ("Test a configuration:", "-test <configfile> [<events>|-] [-v [source]]"),
    ("Counters:", "-stats [json]"),
    ("Self-test:", "-selftest [json]"),
    ("Rules of Sigma:", "-sigma <command> ..."),
    ("Help, version:", "-? [config] | --version"),
)
_SWITCHES = (
    (
        "-c",
        "Give a running service another configuration and wait until it is in force;"
        " without a file, show the rules in force. -- returns to the defaults.",
    ),
    (
        "-i",
        "Install, start, and return when events are captured. Without a file an"
        " installed configuration stays in force, which is how to upgrade and repair. A"
        " service that runs is replaced.",
    ),
    (
        "-s",
        "Print the schema of a version, of all versions, or the newest one: options,"
        " conditions, events and their fields.",
    ),
    (
        "-u",
        "Stop the service and remove what was installed; an edited configuration is"
        " kept as config.xml.old. With force, a process that does not end when asked is"
        " killed; with purge, nothing is kept either.",
    ),
    (
        "-t",
        "Show events live, a row each: with -i in place of the service; alone by"
        " built-in rules, or by those of a file, and without installing anything. Words"
        " choose: curl, image:sh,bash, level:high, tree:4242, no:sh. json is for jq."
        " On a terminal ? shows the keys.",
    ),
    (
        "-test",
        "Judge recorded events (a file, or - for standard input) by a configuration,"
        " without root.",
    ),
    ("-v", "With -test: the reasons, too; with source the functions that judge."),
    ("-stats", "Show what the running service saw, dropped, wrote and lost."),
    (
        "-selftest",
        "Make an event of each type that the configuration reports, read it back from"
        " the running service, and say of each: seen, wrong or not seen, and why.",
    ),
    (
        "-lax",
        "With -i, -c, -t and -test: lose rules with unknown fields or conditions, as"
        " Sysmon does, where they are refused otherwise.",
    ),
    (
        "-strict",
        "With -i, -c, -t and -test: refuse a configuration where one of its rules of"
        " Sigma cannot be used, which is named and left out otherwise.",
    ),
    ("-sigma", "Check, list, try, explain and compile rules: see sysmonlx-sigma(1)."),
    ("-h", "Hash algorithms, when it is not the first switch: sha1, md5, sha256, *."),
    ("-n", "Comma-separated images whose network connections are included."),
    ("-l", "Comma-separated images whose library loads are included."),
    ("-y", "With -c or -i and a file: write its rule listing to this file, and end."),
    ("-btf", "Take kernel types from this BTF file."),
    ("-nologo", "Print no banner."),
    ("-accepteula", "Accepted, since scripts have it; there is nothing to accept."),
)
_AFTER = (
    "Events go to syslog, with the identifier sysmon, unless the configuration names"
    " other sinks; most systems keep them in /var/log/syslog or the journal.",
    "The exit status is 0 for success, 1 when a file or the service cannot be installed"
    " or removed, 12 when capture cannot be started, 87 for a wrong command line or"
    " configuration or a service that does not run, 130 when interrupted, 228 without"
    " root, 254 when a self-test finds something wrong.",
    "'-? config' explains the configuration file; the manual pages sysmonlx(8) and"
    " sysmonlx(5) have everything.",
    "Neither installing nor removing needs a restart of the machine.",
)
_SAMPLE = f"""\
  <Sysmon schemaversion="{SCHEMA_VERSION}">
    <HashAlgorithms>sha256</HashAlgorithms>
    <EventFiltering>
      <!-- every process but those of one job -->
      <ProcessCreate onmatch="exclude">
        <ParentImage condition="is">/usr/sbin/cron</ParentImage>
      </ProcessCreate>
      <!-- files below /etc or named like a key -->
      <RuleGroup name="Files" groupRelation="or">
        <FileCreate onmatch="include">
          <TargetFilename condition="begin with">/etc/</TargetFilename>
          <TargetFilename condition="end with" name="Key">.pem</TargetFilename>
        </FileCreate>
      </RuleGroup>
    </EventFiltering>
  </Sysmon>
"""
_RULE_SAMPLE = """\
  <ProcessCreate onmatch="include">
    <Rule name="Download by a web server" groupRelation="and">
      <User condition="is">www-data</User>
      <Image condition="is any">/usr/bin/curl;/usr/bin/wget</Image>
    </Rule>
    <Image condition="image" name="Netcat">nc</Image>
  </ProcessCreate>
"""
_BY_DEFAULT = " and ".join(str(each.id) for each in EVENTS if each.default == "include")
_FILTERING = (
    "An event element with onmatch=include keeps the events that match, one with"
    " onmatch=exclude drops them; exclude wins. With one exclude element, what does not"
    " match is kept; with one include element, or with two elements or more, it is"
    f" dropped. Events without an element keep their default: {_BY_DEFAULT} are"
    " reported, all others that can be filtered are not.",
    "In an element, conditions on the same field are alternatives. Different fields"
    " must all match, or any with groupRelation=or of a RuleGroup around the element"
    " (up to schema version 4.10 any is the default). A Rule joins conditions: any of"
    " them, or all with groupRelation=and. The name of the condition, Rule or RuleGroup"
    " that matched is the RuleName of the event.",
)


def usage(program: str = "sysmonlx", width: int = 80) -> str:
    """Return the usage text, wrapped at `width` columns."""
    lines = ["Usage:"]
    lines += [f"{label:<25}{program} {words}" for label, words in _FORMS]
    for switch, text in _SWITCHES:
        lines.append(_item(f"  {switch}", 7, text, width))
    for text in _AFTER:
        lines += ["", _wrap(text, width)]
    return "\n".join(lines) + "\n\n"


def config_help(width: int = 80) -> str:
    """Return the configuration help, wrapped at `width` columns."""
    return "\n".join(_config_lines(width)) + "\n"


def _config_lines(width: int) -> Iterator[str]:
    yield f"Configuration usage (current schema is version: {SCHEMA_VERSION}):"
    yield ""
    yield _wrap(
        "A configuration is an XML file, named after -i at installation and after -c"
        " later. It has options and, in EventFiltering, the rules which events are"
        " reported:",
        width,
    )
    yield ""
    yield _SAMPLE
    yield from _option_lines(width)
    yield from _event_lines(width)
    yield from _condition_lines(width)
    for text in _FILTERING:
        yield ""
        yield _wrap(text, width)
    yield ""
    yield _RULE_SAMPLE


def _option_lines(width: int) -> Iterator[str]:
    yield "Options:"
    yield ""
    for option in CONFIG_OPTIONS:
        if option.target == "all":
            yield _item(f"  {option.name}", 27, option.effect, width)
    yield ""
    yield f"Own settings, in <{CONTAINER} xmlns='{NAMESPACE}'> as last element:"
    yield ""
    for setting in SETTINGS:
        yield _item(f"  {setting.element}", 27, _setting_text(setting), width)
    yield _item("  Sink", 27, "Where events go; repeatable. See sysmonlx(5).", width)
    rules = (
        "A file of Sigma rules, a directory, or: shipped. Repeatable. See sysmonlx(5)."
    )
    yield _item("  Rules", 27, rules, width)
    yield ""


def _event_lines(width: int) -> Iterator[str]:
    yield "Events:"
    yield ""
    yield f"{'Id':<6} {'Tag':<20} Event"
    for event in EVENTS:
        if event.tag:
            yield f"{event.id:<6} {event.tag:<20} {event.template}"
    yield ""
    produced = ", ".join(str(event.id) for event in EVENTS if event.produced)
    yield _wrap(
        f"On Linux these occur: {produced}. Rules for others are kept and never match."
        " Fields are in the schema ('-s') and in the manual sysmonlx(5).",
        width,
    )
    yield ""


def _condition_lines(width: int) -> Iterator[str]:
    yield _wrap(
        f"Conditions (F is the field, V the text; without one: {DEFAULT_CONDITION}):",
        width,
    )
    yield ""
    for name, meaning in CONDITIONS.items():
        yield _item(f"  {name}", 27, meaning, width)
    yield ""
    yield _wrap(
        "Letters A to Z match in either case. Items are separated by semicolons and"
        " nothing is trimmed. Less and more compare text, not numbers.",
        width,
    )


def _setting_text(setting: Setting) -> str:
    return f"{setting.meaning} Default: {setting.default_text}."


def _wrap(text: str, width: int) -> str:
    return fill(text, max(width - 1, 40), break_long_words=False)


def _item(label: str, indent: int, text: str, width: int) -> str:
    """Return a label and its text from column `indent` + 1, below if it is long."""
    blank = " " * indent
    body = fill(
        text,
        max(width - 1, indent + 30),
        initial_indent=blank,
        subsequent_indent=blank,
        break_long_words=False,
    )
    if len(label) >= indent:
        return f"{label}\n{body}"
    return label + body[len(label) :]
