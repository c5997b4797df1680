# SPDX-License-Identifier: MIT
"""Conditions whose outcome is known before there is an event, or that mislead.

A condition asks atoms, see `rules.conditions`. Of some atoms the answer is known for
every text that the field can have on Linux: these give the outcome of the condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from sysmonlx.config.lint_names import (
    NAMES,
    no_name,
    odd_name,
    outcome_without_names,
)
from sysmonlx.policy import ALGORITHMS, Filter, Settings
from sysmonlx.rules.conditions import Atom, Operation, Test, fold, make_test, passes
from sysmonlx.schema.event_types import EventType, Field, FieldType, PathOf

_LISTS = frozenset(
    {"is any", "contains any", "contains all", "excludes any", "excludes all"}
)
_NUMBERS = {
    FieldType.PID: 0xFFFFFFFF,
    FieldType.UINT16: 0xFFFF,
    FieldType.UINT32: 0xFFFFFFFF,
}
#: How texts of a type look, as a pattern and in words.
_FORMS = {
    FieldType.HEX_INT32: (re.compile("0x[0-9a-f]+"), "0x and hexadecimal digits"),
    FieldType.GUID: (
        re.compile(r"\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}"),
        "8, 4, 4, 4 and 12 hexadecimal digits in braces",
    ),
}
_VARIABLE = re.compile(r"%\w+%|\$\{?[a-z_]\w*|^~(/|$)", re.IGNORECASE)
#: First characters of what stands in the place of a path: "-", "<unknown process>".
_NO_PATH = tuple("-<[")
_WINDOWS_ACCOUNTS = ("nt authority\\", "nt service\\", "builtin\\")
#: The digits of a digest, by algorithm.
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
_SHOWN_TEXTS = 4
_KINDS = {
    PathOf.PROGRAM: "programs",
    PathOf.FILE: "files",
    PathOf.DIRECTORY: "directories",
    PathOf.PIPE: "pipes",
}


class Doubt(Enum):
    """The kinds of remarks on a condition."""

    NEVER = auto()
    ALWAYS = auto()
    ODD = auto()
    """It works, and most who write it mean something else."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where symbolic links of this machine lead: the kernel names programs without.

    `directories` maps directories to others, for example "/bin" to "/usr/bin".
    `program` returns the path behind a path, the same where that is no link. `absent`
    says of events that cannot occur on this machine why, by their ids.
    """

    directories: Mapping[str, str] = field(default_factory=dict)
    program: Callable[[str], str] = str
    absent: Mapping[int, str] = field(default_factory=dict)


NOTHING = Links()
#: The answer to an atom and the reason for it.
_Sure = tuple[bool, str]


class Judge:
    """Judges the conditions of one event element, of the events that occur."""

    def __init__(
        self, events: Sequence[EventType], settings: Settings, links: Links
    ) -> None:
        self._fields: dict[str, list[Field]] = {}
        for each in (one for event in events for one in event.fields):
            self._fields.setdefault(each.name, []).append(each)
        self._settings = settings
        self._links = links

    def doubt(self, item: Filter) -> tuple[Doubt, str] | None:
        """Return what is wrong with a condition, and why; None: nothing is known."""
        of_field = self._fields.get(item.field)
        if not of_field:
            return None
        test = make_test(item.field, item.condition, item.value)
        sure = _constant(test) or outcome_without_names(test, self._settings)
        sure = sure or _of_texts(test, of_field)
        if sure is None:
            known = [self._answer(atom, of_field[0]) for atom in test.atoms]
            sure = _joined(test, known)
        if sure is not None:
            return Doubt.ALWAYS if sure[0] else Doubt.NEVER, sure[1]
        reason = next(self._odd(item, test, of_field[0]), "")
        return (Doubt.ODD, reason) if reason else None

    def _answer(self, atom: Atom, of: Field) -> _Sure | None:
        """Return the answer to an atom that is the same for every text of the field."""
        if atom == Atom(Operation.MORE, ""):
            return True, "an empty item is in every text"
        reason = next(self._why_not(atom, of), "")
        return (False, reason) if reason else None

    def _why_not(self, atom: Atom, of: Field) -> Iterator[str]:
        """Yield reasons why no text of the field can satisfy an atom."""
        if atom.operation in (Operation.LESS, Operation.MORE) or not atom.operand:
            return
        if of.path is not None:
            yield from _no_path(atom, of.path)
            yield from self._only_links(atom, of.path)
        yield from _not_of_type(atom, of)
        if of.name in NAMES:
            yield from no_name(atom, of.name)
        if of.name.endswith("User") and atom.operand.startswith(_WINDOWS_ACCOUNTS):
            yield "an account of Windows"
        if of.name == "Hashes":
            yield from self._no_hash(atom)

    def _only_links(self, atom: Atom, kind: PathOf) -> Iterator[str]:
        path, is_whole = atom.operand, atom.operation is Operation.IS
        begins = is_whole or atom.operation is Operation.BEGIN
        for folder, target in self._links.directories.items():
            if begins and path.startswith(f"{folder}/"):
                yield f"{folder} is a link, {_KINDS[kind]} show as {target}/..."
        target = self._links.program(path) if kind is PathOf.PROGRAM else path
        if is_whole and target != path:
            yield f"on this machine {path} is a link, its image is {target}"

    def _no_hash(self, atom: Atom) -> Iterator[str]:
        """Yield why the text "SHA256=1F0A...,MD5=..." cannot satisfy an atom."""
        computed = self._settings.hash_algorithms
        named = {each.lower(): each for each in (*ALGORITHMS, "IMPHASH")}
        for name, shown in named.items():
            if f"{name}=" in atom.operand and shown not in computed:
                yield f"{shown} is not computed, see HashAlgorithms"
        if re.fullmatch("[0-9a-f]{32,64}", atom.operand):
            if atom.operation in (Operation.IS, Operation.BEGIN):
                yield "Hashes begins with an algorithm: SHA256=..."
            elif not any(
                _DIGITS.get(each.lower()) == len(atom.operand) for each in computed
            ):
                yield f"no algorithm of HashAlgorithms gives {len(atom.operand)} digits"

    def _odd(self, item: Filter, test: Test, of: Field) -> Iterator[str]:
        """Yield remarks about a value that means something else than it looks like."""
        if item.value != item.value.strip("\r\n"):
            yield "the line end at the begin or end of the value belongs to it"
        is_number = of.type in _NUMBERS
        if item.condition in ("less than", "more than"):
            if is_number or item.value.isdigit():
                yield f"{item.condition} compares text: 9 comes behind 10"
        elif of.path is not None or is_number or of.name.endswith("User"):
            yield from _odd_items(item, test)
        if of.path is not None:
            yield from _odd_path(test)
        yield from odd_name(test)
        if of.path is PathOf.PROGRAM:
            yield from self._links_by_name(test)

    def _links_by_name(self, test: Test) -> Iterator[str]:
        """Yield links of this machine that a condition names without a directory."""
        for atom in test.atoms:
            name = atom.operand
            if atom.operation is Operation.END and re.fullmatch(r"/[^/]+", name):
                path = f"/usr/bin{name}"
                if (target := self._links.program(path)) != path:
                    yield f"on this machine {path} is a link, its image is {target}"


def _constant(test: Test) -> _Sure | None:
    """Return the outcome of a test that asks nothing of the text."""
    if test.atoms:
        return None
    return test.need_all != test.negated, "an empty value is in every text"


def _of_texts(test: Test, of: Iterable[Field]) -> _Sure | None:
    """Return the outcome for a field that has a few texts only, the same for all."""
    texts: dict[str, None] = {}
    for each in of:
        if not (some := each.only or (each.kernel and each.kernel.values)):
            return None
        texts.update(dict.fromkeys((*some, *(() if each.only else ("-",)))))
    outcomes = {passes(test, fold(text)) for text in texts}
    if len(outcomes) > 1:
        return None
    shown = ", ".join([*texts][:_SHOWN_TEXTS])
    more = ", ..." if len(texts) > _SHOWN_TEXTS else ""
    name = test.field
    how = f"is always {shown}" if len(texts) == 1 else f"is one of {shown}{more}"
    return outcomes.pop(), f"{name} {how}"


def _joined(test: Test, known: list[_Sure | None]) -> _Sure | None:
    """Return the outcome of a test from what is known of its atoms."""
    deciding = [each for each in known if each and each[0] != test.need_all]
    if deciding:
        answer, reason = deciding[0]
    elif known and all(known):
        answer, reason = next(filter(None, known))
    else:
        return None
    return answer != test.negated, reason


def _no_pipe(atom: Atom) -> Iterator[str]:
    """Yield why no pipe has such a name. An abstract name may have any bytes."""
    begins = atom.operation in (Operation.IS, Operation.BEGIN)
    if "\\" in atom.operand:
        yield "a name with a backslash: pipes of Windows"
    elif begins and not atom.operand.startswith(("/", "@", *_NO_PATH)):
        yield "a name begins with / or @"


def _no_path(atom: Atom, kind: PathOf) -> Iterator[str]:
    if kind is PathOf.PIPE:
        yield from _no_pipe(atom)
        return
    value, operation = atom.operand, atom.operation
    begins = operation in (Operation.IS, Operation.BEGIN)
    ends = operation in (Operation.IS, Operation.END)
    if "\\" in value:
        yield "a path with a backslash"
    if ends and kind is PathOf.PROGRAM and value.endswith(".exe"):
        yield "an image that ends with .exe"
    if begins and not value.startswith(("/", *_NO_PATH)):
        yield "a path begins with /"
    if ends and value.endswith("/") and len(value) > 1:
        yield "no path ends with /"
    if re.search(r"//|/\.\.?/", value) or (ends and re.search(r"/\.\.?$", value)):
        yield "paths are resolved: no //, /./ and /../"


def _not_of_type(atom: Atom, of: Field) -> Iterator[str]:
    if of.type in _NUMBERS:
        yield from _no_number(atom, of)
    elif of.type in _FORMS and atom.operation is Operation.IS and atom.operand != "-":
        pattern, words = _FORMS[of.type]
        if not pattern.fullmatch(atom.operand):
            yield f"{of.name} is written as {words}"


def _no_number(atom: Atom, of: Field) -> Iterator[str]:
    value, most = atom.operand, _NUMBERS[of.type]
    if value == "-":
        return
    if not value.isdecimal():
        yield f"{of.name} is a number"
    elif atom.operation is Operation.IS and (
        int(value) > most or str(int(value)) != value
    ):
        yield f"{of.name} is a number up to {most}, without leading zeros"


def _odd_items(item: Filter, test: Test) -> Iterator[str]:
    yield from _many_as_one(item)
    values = (atom.operand for atom in test.atoms)
    if any(value != value.strip() for value in values):
        yield "blanks at the begin or end of an item belong to it"


def _odd_path(test: Test) -> Iterator[str]:
    values = [atom.operand for atom in test.atoms]
    if any("*" in value for value in values):
        yield "* stands for itself: use begin with, end with, contains"
    if any(_VARIABLE.search(value) for value in values):
        yield "variables and ~ stand for themselves"


def _many_as_one(item: Filter) -> Iterator[str]:
    """Yield that a value looks like several where it is one."""
    if item.condition in _LISTS:
        if ";" not in item.value and re.search(
            r"[^\s,|],\s*[^\s,|]|\S\|\S", item.value
        ):
            yield "items of a list are separated by semicolons"
    elif len([part for part in item.value.split(";") if part.strip()]) > 1:
        several = "is any" if item.condition in ("is", "image") else "contains any"
        yield f"semicolons belong to the value: {several} takes several"
