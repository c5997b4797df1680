# SPDX-License-Identifier: MIT
"""Members of a document in the Elastic Common Schema, and the objects they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from sysmonlx.output.escape import json_value, limited
from sysmonlx.schema.ecs import Target, targets_of
from sysmonlx.schema.event_types import EventType, Field, FieldType

#: Values that say that a value is not known: they have no member.
UNKNOWN = frozenset({"", "-", "{00000000-0000-0000-0000-000000000000}"})

#: Returns a text as it stands in a document.
Convert = Callable[[str], str]


class Slot(NamedTuple):
    """The place for the value of a field, by the number of the field.

    `convert` converts any text of it, `plain` a text that needs no escape. None: the
    text stands as it is.
    """

    number: int
    convert: Convert | None
    plain: Convert | None


#: Constant text, or a slot.
Part = str | Slot

#: Types of values that this program alone makes, of ASCII without quotes.
_MADE_HERE = frozenset(FieldType) - {FieldType.STRING}


class Member(NamedTuple):
    """What one value becomes: `begin`, the converted text, `end`.

    `convert` is None where the text stands as it is; so is `plain`, which converts a
    text that is `kernel_text.is_plain`: it needs no escape. `objects` are the names of
    the objects it is in, from the outermost on. For a member that is not `always`
    there, `convert` returns the whole member with its name, or nothing.
    """

    objects: tuple[str, ...]
    begin: str
    convert: Convert | None
    end: str
    plain: Convert | None
    always: bool = True

    def text(self, value: str) -> str:
        """Return the member, with a comma before it."""
        inner = self.convert(value) if self.convert else value
        return f"{self.begin}{inner}{self.end}"


class Node:
    """An object of a document: its members, and the objects within it."""

    def __init__(self) -> None:
        self._members: list[tuple[int, Member]] = []
        self._objects: dict[str, Node] = {}

    @classmethod
    def of(cls, members: Sequence[tuple[int, Member]]) -> Node:
        """Return the outermost object of members, each with its value's position."""
        root = cls()
        for at, member in members:
            node = root
            for name in member.objects:
                node = node._objects.setdefault(name, cls())
            node._members.append((at, member))
        return root

    def take(self, name: str) -> Node:
        """Return an object, which is not part of this one any more."""
        return self._objects.pop(name, Node())

    def parts(self, values: Sequence[str], slots: Mapping[int, int]) -> list[Part]:
        """Return the members of all known values, each with a comma before it.

        Values at the positions in `slots` become slots of that number, all others text.
        """
        parts: list[Part] = []
        for at, member in self._members:
            if at in slots and (member.always or parts):
                slot = Slot(slots[at], member.convert, member.plain)
                parts += (member.begin, slot, member.end)
            elif values[at] not in UNKNOWN and (text := member.text(values[at])):
                parts.append(text)
        for name, node in self._objects.items():
            if inner := node.parts(values, slots):
                inner[0] = f',"{name}":{{{str(inner[0])[1:]}'
                parts += (*inner, "}")
        return parts


def members_of(
    event: EventType, limit_bytes: int, sizes: Mapping[int, int]
) -> list[tuple[int, Member]]:
    """Return the members of an event, each with the position of its value.

    Args:
        event: The type.
        limit_bytes: The longest line. Blanks stand for a longer value, which is not
            looked at: that line is made again with shorter values.
        sizes: FieldSizes, by position.
    """
    made = []
    for (at, _), group in groupby(targets_of(event), _place):
        targets = [target for _, target in group]
        escaped = _escaping(limit_bytes, sizes.get(at, 0))
        if bundle := _BUNDLES.get(tuple(each.conversion for each in targets)):
            made.append((at, _joined(targets, bundle, escaped, at in sizes)))
            continue
        field, size_bytes = event.fields[at], sizes.get(at, 0)
        made += [(at, _member(field, each, escaped, size_bytes)) for each in targets]
    return made


def _joined(
    targets: Sequence[Target], bundle: _Bundle, escaped: Convert, has_size: bool
) -> Member:
    """Return one member that stands for several which are made of the same value."""
    begin, rest = bundle(*(each.name for each in targets))

    def convert(text: str) -> str:
        return rest(escaped(text))

    plain = convert if has_size else rest
    return Member(targets[0].objects, begin, convert, "", plain)


def _place(target: tuple[int, Target]) -> tuple[int, tuple[str, ...]]:
    return target[0], target[1].objects


def _escaping(limit_bytes: int, size_bytes: int) -> Convert:
    """Return a function that escapes a value for JSON.

    It cuts the value to `size_bytes` first, unless that is 0. A value of more than
    `limit_bytes` characters becomes blanks, which make the line too long as a whole.
    """
    too_long = " " * (limit_bytes + 1)
    if size_bytes:
        return lambda text: (
            too_long
            if len(text) > limit_bytes
            else json_value(limited(text, size_bytes))
        )
    return lambda text: too_long if len(text) > limit_bytes else json_value(text)


def _member(field: Field, target: Target, escaped: Convert, size_bytes: int) -> Member:
    name, objects = target.name, target.objects
    if target.choices:
        chosen = {key: f',"{name}":"{word}"' for key, word in target.choices}
        choose: Convert = lambda text: chosen.get(text, "")  # noqa: E731 - has a type
        return Member(objects, "", choose, "", choose, False)
    if make := _OPTIONAL.get(target.conversion):
        several: Convert = lambda text: make(name, escaped(text))  # noqa: E731 - as above
        return Member(objects, "", several, "", several, False)
    if bare := _BARE.get(target.conversion):
        cut: Convert = lambda text: bare(limited(text, size_bytes))  # noqa: E731 - same
        number = cut if size_bytes else bare
        is_number = bare is _number and field.type in _MADE_HERE and not size_bytes
        plain = None if is_number else number  # who says plain has made it
        return Member(objects, f',"{name}":', number, "", plain)
    open_, close = ('["', '"]') if target.conversion == "words" else ('"', '"')
    within: Convert | None = escaped
    part: Convert | None = _PARTS.get(target.conversion)
    if part:
        within = lambda text: part(escaped(text))  # noqa: E731 - one of three kinds
    elif (field.type in _MADE_HERE or field.is_made_here) and not size_bytes:
        within = None
    plain = within if size_bytes else part
    return Member(objects, f',"{name}":{open_}', within, close, plain)


def _number(text: str) -> str:
    """Return a number, else null: a text here would have the whole document refused."""
    if text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0"):
        return text
    return "null"


def _count(text: str) -> str:
    return str(text.count(" ") + 1)


def _words(escaped: str) -> str:
    """Return the words of a command line; no escape of JSON holds a blank."""
    return escaped.replace(" ", '","')


def _name(escaped: str) -> str:
    """Return the last component of a path; no escape of JSON holds a slash."""
    return escaped.rpartition("/")[2]


def _folder(escaped: str) -> str:
    folder, slash, _ = escaped.rpartition("/")
    return folder or slash


def _extension(name: str, escaped: str) -> str:
    stem, _, extension = escaped.rpartition("/")[2].rpartition(".")
    return f',"{name}":"{extension}"' if stem and extension else ""


def _hashes(_: str, escaped: str) -> str:
    pairs = (each.partition("=") for each in escaped.split(","))
    return "".join(
        f',"{algorithm.lower()}":"{digest.lower()}"'
        for algorithm, equals, digest in pairs
        if equals
    )


#: What makes several members of one escaped text: it is given their names, and returns
#: how the first begins, and what makes all that follows.
_Bundle = Callable[..., tuple[str, Convert]]


def _file(path: str, name: str, folder: str, extension: str) -> tuple[str, Convert]:
    def rest(text: str) -> str:
        above, slash, last = text.rpartition("/")
        stem, _, end = last.rpartition(".")
        ending = f',"{extension}":"{end}"' if stem and end else ""
        return f'{text}","{name}":"{last}","{folder}":"{above or slash}"{ending}'

    return f',"{path}":"', rest


def _command(line: str, words: str, count: str) -> tuple[str, Convert]:
    def rest(text: str) -> str:
        number = text.count(" ") + 1
        return f'{text}","{words}":["{_words(text)}"],"{count}":{number}'

    return f',"{line}":"', rest


def _twice(first: str, second: str) -> tuple[str, Convert]:
    def rest(text: str) -> str:
        return f'{text}","{second}":"{text}"'

    return f',"{first}":"', rest


#: By the conversions of one value's members, which are made of one escaped text.
_BUNDLES: dict[tuple[str, ...], _Bundle] = {
    ("text", "name", "folder", "extension"): _file,
    ("text", "words", "count"): _command,
    ("text", "text"): _twice,
}

#: Conversions to a member that may be missing, or to several.
_OPTIONAL = {"extension": _extension, "hashes": _hashes}

#: Conversions to what has no quotes: numbers.
_BARE = {"number": _number, "count": _count}
#: Conversions of a text that is escaped already.
_PARTS = {"words": _words, "name": _name, "folder": _folder}
