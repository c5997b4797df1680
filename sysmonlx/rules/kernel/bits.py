# SPDX-License-Identifier: MIT
"""A bit for each literal on a field that the kernel knows, and what answers it.

Automata answer images and paths, and numbers by the text that they print as. Tables
answer users and fields with few values. A literal that finds no room has no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from sysmonlx.rules.conditions import Atom, Operation, ask, fold, order_key
from sysmonlx.rules.kernel.automaton import Automata, Limits, Pattern, Table
from sysmonlx.rules.kernel.fields import FIELDS
from sysmonlx.rules.kernel.literals import Askable, Literal
from sysmonlx.schema.event_types import Answer, AnswerKind

WORD_BITS = 64

Atoms = frozenset[Atom]

#: A set of bits that are numbered by themselves: "image", "path", "user", ("choice",
#: event id) or, for a text, (event id, enumerator). A state to begin with has the name
#: of its space; "path tail" is that of the last name of a path.
Space: TypeAlias = str | tuple[str, int] | tuple[int, str]

#: The automaton of a kind of fields; a TEXT has one for each event and enumerator.
_AUTOMATA = {
    AnswerKind.IMAGE: "image",
    AnswerKind.TARGET_IMAGE: "image",
    AnswerKind.PATH: "path",
}

_ORDER = (Operation.LESS, Operation.MORE)


def askable(answer: Answer | None, atom: Atom) -> Askable:
    """Return whether the kernel can answer an atom about a field.

    `answer` is None for a field that the kernel does not know. No text of a field that
    it knows is empty: `MORE ""` is always true.
    """
    if answer is None:
        return Askable.NO
    if atom == Atom(Operation.MORE, ""):
        return Askable.IS_TRUE
    if answer.kind in (AnswerKind.CHOICE, AnswerKind.USER, AnswerKind.TARGET_USER):
        return Askable.YES
    operand = atom.operand
    if atom.operation in _ORDER:
        return Askable.YES if operand.isascii() else Askable.NO
    strange = any(c == "\0" or "\ud800" <= c <= "\udfff" for c in operand)
    return Askable.NO if strange else Askable.YES


class Bits:
    """Gives out bits and states, literal by literal, as long as there is room."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._automata = Automata(
            Limits(
                numbers["FILTER_CLASSES"],
                numbers["FILTER_STATES"],
                numbers["FILTER_OUTPUTS"],
            )
        )
        self._fields: dict[Space, int] = {}
        self._given: dict[Space, dict[tuple[str, Atoms], int | None]] = {}

    def place_of(self, event_id: int, literal: Literal) -> tuple[int, int] | None:
        """Return the word and the bit of a literal, None if it has found no room."""
        answer = FIELDS[event_id][literal.field]
        space = _space(event_id, answer)
        given = self._given.setdefault(space, {})
        key = (answer.enumerator, literal.atoms)
        if key not in given:
            given[key] = self._give(space, answer, literal.atoms)
        bit = given[key]
        if bit is None:
            return None
        return self._word(answer) + bit // WORD_BITS, 1 << bit % WORD_BITS

    def _give(self, space: Space, answer: Answer, atoms: Atoms) -> int | None:
        bit = sum(number is not None for number in self._given[space].values())
        words = self._numbers["FILTER_SET_WORDS"] if space in ("image", "path") else 1
        if bit >= words * WORD_BITS:
            return None
        if answer.kind in (AnswerKind.CHOICE, AnswerKind.USER, AnswerKind.TARGET_USER):
            return bit
        if space not in self._fields:
            self._fields[space] = self._automata.add_field()
        patterns = [p for atom in atoms for p in _patterns(atom)]
        added = self._automata.add(self._fields[space], patterns, 1 << bit)
        return bit if added else None

    def _word(self, answer: Answer) -> int:
        name = {
            AnswerKind.IMAGE: "FILTER_WORD_IMAGE",
            AnswerKind.TARGET_IMAGE: "FILTER_WORD_PATH",
            AnswerKind.USER: "FILTER_WORD_USER",
            AnswerKind.TARGET_USER: "FILTER_WORD_TARGET_USER",
            AnswerKind.PATH: "FILTER_WORD_PATH",
            AnswerKind.CHOICE: "FILTER_WORD_CHOICES",
            AnswerKind.TEXT: "FILTER_WORD_TEXTS",
        }[answer.kind]
        index = (
            self._numbers[answer.enumerator] if answer.kind is AnswerKind.TEXT else 0
        )
        return self._numbers[name] + index

    def table(self) -> Table | None:
        """Return all automata as one table, None if it cannot hold what they find."""
        return self._automata.build()

    def starts(self) -> dict[Space, int]:
        """Return the states to begin a text with, by space, and for a path's tail."""
        found = {space: self._automata.start(n) for space, n in self._fields.items()}
        if "path" in self._fields:
            found["path tail"] = self._automata.inside(self._fields["path"])
        return found

    def _sets(self, space: Space) -> Iterator[tuple[int, str, Atoms]]:
        for (name, atoms), bit in self._given.get(space, {}).items():
            if bit is not None:
                yield 1 << bit, name, atoms

    def users(self) -> tuple[tuple[int, Atoms], ...]:
        """Return what is asked of users' names, with its bit."""
        return tuple((bit, atoms) for bit, _, atoms in self._sets("user"))

    def choices(self, event_id: int) -> dict[str, tuple[int, ...]]:
        """Return for each field with few values the bits that each of them gives."""
        sets = list(self._sets(("choice", event_id)))
        answers = [p for p in FIELDS[event_id].values() if p.kind is AnswerKind.CHOICE]
        return {
            answer.enumerator: tuple(
                true_of(
                    ((b, s) for b, name, s in sets if name == answer.enumerator), value
                )
                for value in answer.values
            )
            for answer in answers
        }

    def choice_bits(self, event_id: int, name: str) -> int:
        """Return all bits that one field with few values decides."""
        return sum(
            b for b, other, _ in self._sets(("choice", event_id)) if other == name
        )

    def tail_doubt(self) -> int:
        """Return the bits of paths that the last name of a path alone cannot deny."""
        return sum(
            bit
            for bit, _, atoms in self._sets("path")
            if not all(_shows_in_last_name(atom) for atom in atoms)
        )


def true_of(sets: Iterator[tuple[int, Atoms]], text: str) -> int:
    """Return the bits of the sets of which some atom is true of a text."""
    folded = fold(text)
    return sum(bit for bit, atoms in sets if any(ask(a, folded) for a in atoms))


def _space(event_id: int, answer: Answer) -> Space:
    """Return the space of an answer, see `Space`."""
    if answer.kind in (AnswerKind.USER, AnswerKind.TARGET_USER):
        return "user"
    if answer.kind is AnswerKind.CHOICE:
        return ("choice", event_id)
    return _AUTOMATA.get(answer.kind, (event_id, answer.enumerator))


def _shows_in_last_name(atom: Atom) -> bool:
    return atom.operation is Operation.END and "/" not in atom.operand[1:]


def _patterns(atom: Atom) -> Iterator[Pattern]:
    """Yield patterns; the atom is true when one of them is found."""
    operation, operand = atom.operation, atom.operand
    if operation in _ORDER:
        yield from _order_patterns(operand, less=operation is Operation.LESS)
        return
    at_start = operation in (Operation.IS, Operation.BEGIN)
    at_end = operation in (Operation.IS, Operation.END)
    yield Pattern(operand.encode(), at_start, at_end)


#: The sort key of each byte of a folded text; bytes above ASCII sort last.
_KEYS = {byte: order_key(chr(byte)) for byte in range(1, 128)}
_KEYS |= dict.fromkeys(range(128, 256), order_key("\uffff"))


def _order_patterns(operand: str, *, less: bool) -> Iterator[Pattern]:
    """Yield the beginnings of all texts that sort before or after an ASCII operand.

    Texts sort as at the first character that differs; a shorter one sorts first.
    """
    for index, char in enumerate(operand):
        head = operand[:index].encode()
        if less:
            yield Pattern(head, at_start=True, at_end=True)
        bound = order_key(char)
        then = frozenset(
            b for b, key in _KEYS.items() if key != bound and (key < bound) == less
        )
        if then:
            yield Pattern(head, at_start=True, at_end=False, then=then)
    if not less:
        yield Pattern(operand.encode(), True, False, frozenset(_KEYS))
