# SPDX-License-Identifier: MIT
"""Conditions taken apart into atoms, questions that Python and the kernel can ask.

Text is compared without regard to the case of ASCII letters, and of no others. Sysmon
compares UTF-16 units; for equality and search whole characters give the same answer,
and bytes that are not UTF-8 (held as lone surrogates) stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import Enum
from functools import lru_cache


class Operation(Enum):
    """How an atom compares its operand with a field's text."""

    IS = "is"
    CONTAINS = "contains"
    BEGIN = "begin with"
    END = "end with"
    LESS = "less than"
    MORE = "more than"
    # Those below are Sigma's alone: no condition of a configuration makes them.
    REGEX = "regex"
    CIDR = "cidr"
    GLOB = "glob"
    CASED_IS = "cased is"
    CASED_CONTAINS = "cased contains"
    CASED_BEGIN = "cased begin with"
    CASED_END = "cased end with"
    NUMBER_LT = "number less than"
    NUMBER_LTE = "number at most"
    NUMBER_GT = "number more than"
    NUMBER_GTE = "number at least"
    SAME_AS = "same as"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Atom:
    """One question. `MORE ""` asks for any text at all.

    The operand is lower-cased; those of Sigma's operations are as `sigma.pack` says.
    """

    operation: Operation
    operand: str


@dataclass(frozen=True, slots=True)
class Test:
    """The question of one filter about one field: one of its atoms is true, or all are.

    `negated` turns the answer round. Without atoms the answer is yes if all are needed,
    and no otherwise, before it is negated. `origin` says for people where the question
    is from: of a rule of Sigma the selection and its line. It makes no other question.
    """

    field: str
    atoms: tuple[Atom, ...]
    need_all: bool = False
    negated: bool = False
    origin: str = dataclass_field(default="", compare=False)


#: Conditions that ask one atom: the operation, and whether it is negated.
_SINGLE = {
    "is": (Operation.IS, False),
    "is not": (Operation.IS, True),
    "contains": (Operation.CONTAINS, False),
    "excludes": (Operation.CONTAINS, True),
    "begin with": (Operation.BEGIN, False),
    "not begin with": (Operation.BEGIN, True),
    "end with": (Operation.END, False),
    "not end with": (Operation.END, True),
    "less than": (Operation.LESS, False),
    "more than": (Operation.MORE, False),
}

#: Conditions on a list: whether all items are needed, and whether it is negated.
_LISTS = {
    "contains any": (False, False),
    "contains all": (True, False),
    "excludes any": (False, True),
    "excludes all": (True, True),
}


@lru_cache(maxsize=8192)
def make_test(field: str, condition: str, value: str) -> Test:
    """Return the question that a filter asks.

    Raises:
        KeyError: there is no such condition.
    """
    value = fold(value)
    if condition in _LISTS:
        need_all, negated = _LISTS[condition]
        atoms = tuple(_occurs(item) for item in split_items(value))
        return Test(field, atoms, need_all, negated)
    if condition == "is any":
        items = dict.fromkeys(value.split(";"))
        return Test(field, tuple(Atom(Operation.IS, item) for item in items))
    if condition == "image":
        return Test(field, _image(value))
    operation, negated = _SINGLE[condition]
    if not value and operation in _ALWAYS_IN:
        return Test(field, (), need_all=True, negated=negated)
    return Test(field, (Atom(operation, value),), negated=negated)


_ALWAYS_IN = (Operation.CONTAINS, Operation.BEGIN, Operation.END)


def _occurs(item: str) -> Atom:
    if item:
        return Atom(Operation.CONTAINS, item)
    return Atom(Operation.MORE, "")


def _image(value: str) -> tuple[Atom, ...]:
    """Equal, or equal behind the last backslash or slash when the value has none."""
    whole = Atom(Operation.IS, value)
    if "\\" in value:
        return (whole,)
    name = Atom(Operation.END, "\\" + value)
    if "/" in value or not value:
        return (whole, name)
    return (whole, name, Atom(Operation.END, "/" + value))


def split_items(value: str) -> list[str]:
    """Return the items of a list for the contains and excludes conditions.

    An empty item that is not the last stands for the rest of the list from there, the
    semicolon included: `a;;b` has the items `a`, `;b` and `b`.
    """
    items = []
    start = 0
    while (end := value.find(";", start)) >= 0:
        items.append(value[start:end] or value[start:])
        start = end + 1
    items.append(value[start:])
    return items


def fold(text: str) -> str:
    """Return the text with ASCII capitals in lower case, all else unchanged."""
    if text.isascii():
        return text.lower()
    raw = text.encode("utf-8", "surrogatepass")
    return raw.lower().decode("utf-8", "surrogatepass")


def order_key(text: str) -> bytes:
    """Return what less than and more than compare: UTF-16 units, ASCII upper-cased."""
    raw = text.encode("utf-8", "surrogatepass").upper()
    return raw.decode("utf-8", "surrogatepass").encode("utf-16-be", "surrogatepass")


def ask(atom: Atom, folded: str) -> bool:
    """Return the answer to one atom for a field's folded text."""
    return _ANSWERS[atom.operation](folded, atom.operand)


_ANSWERS: dict[Operation, Callable[[str, str], bool]] = {
    Operation.IS: str.__eq__,
    Operation.CONTAINS: str.__contains__,
    Operation.BEGIN: str.startswith,
    Operation.END: str.endswith,
    Operation.LESS: lambda text, operand: order_key(text) < order_key(operand),
    Operation.MORE: lambda text, operand: order_key(text) > order_key(operand),
}


def passes(test: Test, folded: str) -> bool:
    """Return whether a field's folded text passes a test."""
    answers = (ask(atom, folded) for atom in test.atoms)
    return (all(answers) if test.need_all else any(answers)) != test.negated
