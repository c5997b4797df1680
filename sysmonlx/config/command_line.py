# SPDX-License-Identifier: MIT
"""The command line, from words to a `CommandLine`; no action is taken here.

The grammar is Sysmon's: only "-" introduces a switch, matching ignores case, one-letter
switches may share a word in the order of the option table, long ones stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypedDict

from sysmonlx.config.option_values import hash_algorithms
from sysmonlx.errors import UsageError
from sysmonlx.schema.options import (
    CONFIG_OPTIONS,
    OLD_OPTIONS,
    OPTIONS,
    OWN_OPTIONS,
    Option,
)

NOT_IMPLEMENTED = "Option not implemented on Linux."
_HELP_WORDS = ("-h", "-help", "--help")
_VERSION_WORD = "--version"
_CONFIG_WORDS = ("config", "configuration")
#: Words behind -u.
_REMOVALS = ("force", "purge")
#: Ratio of difflib from which on a word is a misspelt switch.
_LIKENESS = 0.75
_REFUSED = ("ClipboardInstance", "DriverName", "ArchiveDirectory", "CheckRevocation")
_VERBOSE = "verbose"
#: First match wins, so ours stand first: no valid word of Sysmon's starts like them.
_TABLE = tuple(
    option for option in (*OWN_OPTIONS, *OPTIONS, *OLD_OPTIONS) if option.switch
)
#: Switches that ask for nothing; and what goes with others than -i and -c alone.
_SILENT = ("NoLogo", "AcceptEula")
_GOES_WITH = {
    "BTF": "-i or -t",
    **dict.fromkeys(("OutputRules", "InternalRepresentation"), "-c or -i and a file"),
    **dict.fromkeys(("Lax", "Strict"), "-i, -c, -t and -test"),
}
_NAMES_A_FILE = ("Install", "Configuration", "Test", "BTF")
_EXCLUSIVE = [
    f"-{each.switch}"
    for each in (*OPTIONS, *OWN_OPTIONS)
    if each.exclusive and each.argument != "rest"
]


class Action(Enum):
    """The actions of the program; a command line names one."""

    HELP = auto()
    HELP_CONFIG = auto()
    VERSION = auto()
    SCHEMA = auto()
    TEST = auto()
    STATS = auto()
    SELF_TEST = auto()
    UNINSTALL = auto()
    CONFIGURE = auto()
    INSTALL = auto()
    WATCH = auto()
    USAGE = auto()
    """Nothing was asked for: the usage text, exit status 87."""


#: Actions by the option that asks for them; the first one given wins.
_ACTIONS = {
    "PrintSchema": Action.SCHEMA,
    "Test": Action.TEST,
    "Statistics": Action.STATS,
    "SelfTest": Action.SELF_TEST,
    "UnInstall": Action.UNINSTALL,
    "Configuration": Action.CONFIGURE,
    "Install": Action.INSTALL,
    "Manifest": Action.USAGE,
    "DebugMode": Action.WATCH,
}
#: Switches that go with some actions only: those actions, and the text of the refusal.
_COMPANY = {
    "DebugMode": ({"Install"}, "-t goes with -i, or stands alone."),
    "Service": ({"Install"}, "-service goes with no other action than -i."),
    "Lax": (
        {"Install", "Configuration", "Test", "DebugMode"},
        "-lax goes with -i, -c, -t and -test.",
    ),
    "Strict": (
        {"Install", "Configuration", "Test", "DebugMode"},
        "-strict goes with -i, -c, -t and -test.",
    ),
}


@dataclass(frozen=True, slots=True)
class CommandLineOptions:
    """Options of the configuration that were given as switches: name to value.

    The value is None for a switch without one. A stored command line repeats these
    switches.
    """

    values: dict[str, str | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)

    def text(self, name: str) -> str:
        """Return the value of an option, empty when absent or without value."""
        return self.values.get(name) or ""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A parsed command line; `values` maps the name of each option given to its value.

    `events` is the second argument of -test, "-" is standard input. `words` are those
    of -t that choose what it shows, and how.
    """

    action: Action
    values: dict[str, str | None] = field(default_factory=dict)
    events: str | None = None
    words: tuple[str, ...] = ()

    @property
    def config_file(self) -> str | None:
        """The configuration named with -i, -c or -test."""
        for name in ("Install", "Configuration", "Test"):
            if self.values.get(name) is not None:
                return self.values[name]
        return None

    @property
    def config_options(self) -> CommandLineOptions:
        """The switches that stand for options of the configuration."""
        names = {each.name for each in CONFIG_OPTIONS}
        return CommandLineOptions(
            {name: value for name, value in self.values.items() if name in names}
        )

    def has(self, name: str) -> bool:
        """Return whether the option of this name was given, with a value or without."""
        return name in self.values

    def has_value(self, name: str) -> bool:
        """Return whether the option of this name was given with a value."""
        return self.values.get(name) is not None


class Strictness(TypedDict):
    """The switches -lax and -strict: what a rule that cannot be used leads to."""

    lax: bool
    strict: bool


def strictness(line: CommandLine) -> Strictness:
    """Return whether a command line has -lax, and whether it has -strict."""
    return {"lax": line.has("Lax"), "strict": line.has("Strict")}


def parse(argv: Sequence[str]) -> CommandLine:
    """Return what the words after the program's name ask for.

    Raises:
        UsageError: the words do not fit the grammar.
    """
    words = _Words(argv)
    while words.left[:1] and words.left[0].lower() == "-nologo":
        _take_word(words)
    if (action := _asks_for_text(words.left)) is not None:
        return CommandLine(action, words.values)
    while words.left:
        _take_known_word(words)
    if words.exclusive > 1:
        raise UsageError(f"Only one of {', '.join(_EXCLUSIVE)} may be given.")
    action = next((_ACTIONS[name] for name in _ACTIONS if name in words.values), None)
    _check_values(words.values)
    shown = tuple(words.shown)
    return CommandLine(action or Action.USAGE, words.values, words.events, shown)


def _asks_for_text(words: Sequence[str]) -> Action | None:
    """Return what to print for words that ask for help or the version."""
    first, second = (word.lower() for word in [*words, "", ""][:2])
    if first.startswith("-?") or first in _HELP_WORDS:
        return Action.HELP_CONFIG if second in _CONFIG_WORDS else Action.HELP
    return Action.VERSION if first == _VERSION_WORD else None


class _Words:
    """The words still to be read, and what was found so far."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.left = list(argv)
        self.values: dict[str, str | None] = {}
        self.events: str | None = None
        self.shown: list[str] = []
        self.exclusive = 0

    def is_value_next(self) -> bool:
        return bool(self.left) and not self.left[0].startswith("-")

    def add(self, option: Option, value: str | None) -> None:
        """Note an option; a second value for the same one is an error."""
        if value is not None and self.values.get(option.name) is not None:
            raise UsageError(f"-{option.switch} was given two values.")
        self.exclusive += option.exclusive
        if value is not None or option.name not in self.values:
            self.values[option.name] = value


def _take_known_word(words: _Words) -> None:
    """Take the next word; one that is near a long switch is a misspelt switch.

    The grammar reads -acceptuela as -a with something behind it.
    """
    word = words.left[0]
    try:
        _take_word(words)
    except UsageError as error:
        meant = _long_switch_like(word)
        if not meant:
            raise
        text = "Unknown switch" if word.startswith("-") else "Not a switch"
        raise UsageError(f"{text}: {word}, did you mean {meant}?") from error


def _long_switch_like(word: str) -> str:
    """Return the long switch that a word looks like but is not, "" if it is none."""
    known = {
        **{f"-{each.switch}": None for each in _TABLE if len(each.switch or "") > 2},
        **dict.fromkeys(("--help", "--version")),
    }
    if word.lower() in known:
        return ""
    from difflib import get_close_matches  # mistakes are rare

    near = get_close_matches(f"-{word.lstrip('-').lower()}", known, 1, _LIKENESS)
    return near[0] if near else ""


def _take_word(words: _Words) -> None:
    word = words.left.pop(0)
    if not word.startswith("-"):
        raise UsageError(f"Not a switch: {word}")
    if word == "-":
        raise UsageError("Not a switch: -; a configuration from a pipe is /dev/stdin.")
    position = 1
    for option in _TABLE:
        if position == len(word):
            break
        switch = option.switch or ""
        if len(switch) > 1 and position > 1:
            continue
        if word[position:].lower().startswith(switch):
            position += len(switch)
            words.add(option, _value(option, words, is_last=position == len(word)))
    if position < len(word):
        raise UsageError(f"Unknown switch: {word}")


def _value(option: Option, words: _Words, *, is_last: bool) -> str | None:
    if option.argument == "rest":
        raise UsageError(f"-{option.switch} stands before all other switches.")
    if option.argument == "required":
        if not is_last or not words.left:
            raise UsageError(f"-{option.switch} needs a value.")
        value = words.left.pop(0)
        if option.name == "Test" and (words.is_value_next() or words.left[:1] == ["-"]):
            words.events = words.left.pop(0)
        return value
    if option.name == "DebugMode" and is_last:
        return _shown(words)
    if option.argument == "optional" and is_last and words.is_value_next():
        return words.left.pop(0)
    return None


def _shown(words: _Words) -> str | None:
    """Take the words behind -t; return the one that Sysmon has there, too."""
    if words.is_value_next() and words.left[0].lower() == _VERBOSE:
        if len(words.left) > 1 and not words.left[1].startswith("-"):
            raise UsageError(f"-t {_VERBOSE} takes no more words, as {words.left[1]}.")
        return words.left.pop(0)
    while words.left and (words.is_value_next() or words.left[0].startswith("--")):
        if words.left[0] == "--":  # a switch of its own
            break
        words.shown.append(words.left.pop(0))
    return None


def _check_values(values: dict[str, str | None]) -> None:
    for option in _TABLE:
        if option.name in _NAMES_A_FILE and values.get(option.name) == "":
            raise UsageError(f"-{option.switch} was given an empty file name.")
    try:
        hash_algorithms(values.get("HashAlgorithms") or "*")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if (values.get("Statistics") or "json").lower() != "json":
        raise UsageError("Possible options for -stats: json")
    if (values.get("SelfTest") or "json").lower() != "json":
        raise UsageError("Possible options for -selftest: json")
    if "Verbose" in values and "Test" not in values:
        raise UsageError("-v goes with -test only.")
    if (values.get("Verbose") or "source").lower() != "source":
        raise UsageError("Possible options for -v: source")


def check_company(line: CommandLine) -> None:
    """Refuse switches that contradict each other; the grammar allows them.

    Raises:
        UsageError: which one, and what it goes with.
    """
    for name, (friends, text) in _COMPANY.items():
        strangers = {*_ACTIONS, "Service"} - friends - {name}
        if line.has(name) and not strangers.isdisjoint(line.values):
            raise UsageError(text)
    _check_is_asked(line)


def _check_is_asked(line: CommandLine) -> None:
    """Refuse a switch that belongs to an action, where none is given.

    Those that are refused in any company are left to `check_before_root`.
    """
    answered = {*_REFUSED, "ConfigDefault", "Manifest", "Service"}
    if line.action is not Action.USAGE or not answered.isdisjoint(line.values):
        return
    for option in _TABLE:
        if option.name in line.values and option.name not in _SILENT:
            friends = _GOES_WITH.get(option.name, "-i or -c")
            raise UsageError(f"-{option.switch} goes with {friends}.")


def check_before_root(line: CommandLine) -> None:
    """Refuse what Sysmon refuses after it has read the configuration, root or not.

    Raises:
        UsageError: with Sysmon's blank lines, and not followed by the usage text.
    """
    if line.has("ConfigDefault") and not line.has("Configuration"):
        raise UsageError(
            "The '--' switch must be used with -c switch (config update) to set"
            " defaults.\n",
            show_usage=False,
        )
    if any(line.has(name) for name in _REFUSED):
        raise UsageError(f"\n{NOT_IMPLEMENTED}\n", show_usage=False)
    if line.words and line.action is not Action.WATCH:
        raise UsageError(
            f"Possible options for DebugMode: {_VERBOSE}\n", show_usage=False
        )


def check_before_action(line: CommandLine) -> None:
    """Refuse what Sysmon refuses only when it acts, as root.

    Raises:
        UsageError: of -u with another word than `_REMOVALS`, or of -c -- with settings.
    """
    if line.action is Action.UNINSTALL:
        if (line.values["UnInstall"] or "force").lower() not in _REMOVALS:
            raise UsageError("Invalid option for -u: it may be force or purge.")
        return
    settings = bool(line.config_options) or line.config_file is not None
    if line.has("ConfigDefault") and settings:
        raise UsageError(
            "Cannot use specific settings with enforcing defaults.\n", show_usage=False
        )
