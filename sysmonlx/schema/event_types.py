# SPDX-License-Identifier: MIT
"""The parts of an event as data: `events` fills them in, everything else reads them.

An attribute stands here when some part of the program would otherwise need a table of
its own: the rules, the kernel's filter, the live view, the remarks on a configuration.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, auto

from sysmonlx.policy import RULE_NAMES


class FieldType(Enum):
    """How a field is typed in the schema: (inType, outType)."""

    STRING = ("win:UnicodeString", "xs:string")
    GUID = ("win:GUID", None)
    PID = ("win:UInt32", "win:PID")
    UINT16 = ("win:UInt16", None)
    UINT32 = ("win:UInt32", None)
    UINT64 = ("win:UInt64", None)  # in the oldest versions only
    BOOLEAN = ("win:Boolean", None)
    HEX_INT32 = ("win:HexInt32", None)
    HEX_INT64 = ("win:HexInt64", None)


class PathOf(Enum):
    """Which kind of file a path leads to."""

    PROGRAM = auto()
    FILE = auto()
    DIRECTORY = auto()
    PIPE = auto()
    """A named pipe or a socket; the text may also be "@" and an abstract name."""


class AnswerKind(Enum):
    """By which of its tables the kernel's filter answers what rules ask of a field.

    IMAGE and TARGET_IMAGE: the automaton of images. PATH: the automaton of paths. TEXT:
    an automaton of the field alone. USER and TARGET_USER: bits by user id. CHOICE: bits
    by the number of the value.
    """

    IMAGE = auto()
    TARGET_IMAGE = auto()
    USER = auto()
    TARGET_USER = auto()
    PATH = auto()
    CHOICE = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """How the kernel's filter answers what rules ask of a field.

    `enumerator` is a name in `filter/rules.bpf.h`, for CHOICE and TEXT. `values` are
    the texts of a CHOICE; the kernel's number of a text is its position.
    """

    kind: AnswerKind
    enumerator: str = ""
    values: tuple[str, ...] = ()


class Colour(IntEnum):
    """Colours of the live view: the numbers of ECMA-48, Select Graphic Rendition."""

    RED = 31
    GREEN = 32
    YELLOW = 33
    BLUE = 34
    MAGENTA = 35
    CYAN = 36
    GREY = 90


@dataclass(frozen=True, slots=True)
class Field:
    """One value of an event.

    Attributes:
        name: As in the schema and in the output.
        type: As in the schema.
        recurs: The text is the same for all events of a program, or one of a few words.
            The rules ask such a field once for each text, not for each event.
        is_made_here: This program alone makes the text. It needs no escaping.
        is_ours: Sysmon's schema does not have the field. `-s` does not print it.
        path: The text is the path of a file, as the kernel knows it.
        kernel: How the kernel's filter answers for this field; None: it cannot.
        only: All texts that the field has on Linux; empty: any text.
    """

    name: str
    type: FieldType = FieldType.STRING
    recurs: bool = False
    is_made_here: bool = False
    is_ours: bool = False
    path: PathOf | None = None
    kernel: Answer | None = None
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventType:
    """One Sysmon event.

    Attributes:
        id: Its number, in the schema and in the output.
        name: Its name in the schema.
        template: Its name for people in the schema.
        version: Of its fields, in the schema and in the output.
        fields: In the order of the schema and of the output.
        appended: Fields of ours, in the order in which they stand behind the last of
            `fields`. Each is there only where the setting `Fields` names it, RuleNames
            only where the setting `Rules` is given.
        tag: The name of its elements in EventFiltering. Several events may share a tag.
            None: rules cannot filter the event; the service itself reports it.
        default: What happens when no element of the configuration judges the event:
            "include" or "exclude"; None for events that cannot be filtered.
        level: In the schema and in the output.
        default_is_stated: Whether the schema states the default; else it implies it.
        target: "all", or the one system that has the event.
        produced: Whether this program reports it. Rules for others are accepted.
        kernel: Its name in `enum filter_event`; empty: the kernel does not filter it.
        title: Its name in the live view.
        colour: Of its title in the live view.
        subject: The field that the live view shows behind the title; empty: the first
            path of a program.
        shown: The fields that the live view shows behind that; empty: all others.
    """

    id: int
    name: str
    template: str
    version: int
    fields: tuple[Field, ...]
    tag: str | None = None
    default: str | None = None
    level: str = "Informational"
    default_is_stated: bool = True
    target: str = "all"
    produced: bool = False
    kernel: str = ""
    title: str = ""
    colour: Colour = Colour.BLUE
    subject: str = ""
    shown: tuple[str, ...] = ()
    appended: tuple[Field, ...] = ()

    @property
    def label(self) -> str:
        """The name of the event in documents and statistics."""
        return self.tag or self.template

    @property
    def askable(self) -> tuple[Field, ...]:
        """The appended fields that rules can ask: those that are not made of rules."""
        return tuple(each for each in self.appended if each.name != RULE_NAMES)

    def with_appended(self, names: Collection[str]) -> EventType:
        """Return the event as it is where the setting `Fields` has these names.

        Its `fields` are those of its values. It is the same object if none is new.
        """
        more = tuple(each for each in self.appended if each.name in names)
        return replace(self, fields=(*self.fields, *more)) if more else self


def text(name: str) -> Answer:
    """Return the answer for a field that has an automaton of its own."""
    return Answer(AnswerKind.TEXT, f"FILTER_{name}")


def choice(name: str, *values: str) -> Answer:
    """Return the answer for a field with few values, by the kernel's numbers."""
    return Answer(AnswerKind.CHOICE, f"FILTER_{name}", values)


def fields(notation: str) -> tuple[Field, ...]:
    """Return the fields of "RuleName ProcessId:PID ..."; STRING goes without saying."""
    pairs = (word.partition(":") for word in notation.split())
    return tuple(
        Field(name, FieldType[kind] if kind else FieldType.STRING)
        for name, _, kind in pairs
    )


def _parts(head: str) -> tuple[str, str, str, str | None, str | None]:
    number, name, version, *rest = head.split()
    tag, default = rest or (None, None)
    return number, name, version, tag, default


def event_type(
    head: str,
    template: str,
    fields: tuple[Field, ...],
    *,
    level: str = "Informational",
    target: str = "all",
    produced: bool = False,
    kernel: str = "",
    title: str = "",
    colour: Colour = Colour.BLUE,
    subject: str = "",
    shown: str = "",
    appended: tuple[Field, ...] = (),
) -> EventType:
    """Return an event.

    `head` is "id name version [tag default]"; a default in brackets is one that the
    schema only implies. `title` is the tag if not given. `shown` are names of fields.
    """
    number, name, version, tag, default = _parts(head)
    return EventType(
        id=int(number, 0),
        name=f"SYSMONEVENT_{name}",
        template=template,
        version=int(version),
        fields=fields,
        tag=tag,
        default=default.strip("()") if default else None,
        level=level,
        default_is_stated=default is not None and "(" not in default,
        target=target,
        produced=produced,
        kernel=f"FILTER_{kernel}" if kernel else "",
        title=title or tag or template,
        colour=colour,
        subject=subject,
        shown=tuple(shown.split()),
        appended=appended,
    )
