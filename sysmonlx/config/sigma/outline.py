# SPDX-License-Identifier: MIT
"""The detection of a rule as an outline that keeps names and lines, then as tests.

An outline is what a person wrote: selections by name, negations where they stand. The
expression of the same meaning has none but negated tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.rules.sigma.distrust import boolean_of, list_of, one_of, text_of
from sysmonlx.rules.sigma.pack import ATOMS_LIMIT, TESTS_LIMIT, Plain, plain_expression


@dataclass(frozen=True, slots=True)
class Leaf:
    """One test, and the line of its field."""

    test: Test
    line: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    """Is true where its part is not."""

    part: Outline


@dataclass(frozen=True, slots=True)
class Group:
    """Parts of which all have to be true, or any one; `label` is that of a selection.

    `line` is that of the label.
    """

    need_all: bool
    parts: tuple[Outline, ...]
    label: str = ""
    line: int = 0


Outline: TypeAlias = Leaf | Not | Group


def expression_of(
    outline: Outline, *, negated: bool = False, label: str = ""
) -> Expression:
    """Return an outline as an expression, in which only tests are negated.

    `label` is the name of the selection; each test gets it, with its line, as origin.
    """
    if isinstance(outline, Leaf):
        test = outline.test
        origin = f"{label}, line {outline.line}" if label else ""
        return replace(test, negated=test.negated != negated, origin=origin)
    if isinstance(outline, Not):
        return expression_of(outline.part, negated=not negated, label=label)
    label = outline.label or label
    parts = (expression_of(e, negated=negated, label=label) for e in outline.parts)
    return Junction(outline.need_all != negated, tuple(parts))


def leaves_of(
    outline: Outline, *, negated: bool = False
) -> Iterator[tuple[Leaf, bool]]:
    """Yield every test, and whether it is negated from outside."""
    if isinstance(outline, Leaf):
        yield outline, negated
    elif isinstance(outline, Not):
        yield from leaves_of(outline.part, negated=not negated)
    else:
        for each in outline.parts:
            yield from leaves_of(each, negated=negated)


def plain(outline: Outline) -> list[Plain]:
    """Return an outline as data for JSON; `outline_of` reads it."""
    if isinstance(outline, Leaf):
        return ["leaf", outline.line, plain_expression(outline.test)]
    if isinstance(outline, Not):
        return ["not", plain(outline.part)]
    word = "all" if outline.need_all else "any"
    return [word, outline.label, outline.line, *map(plain, outline.parts)]


def outline_of(raw: object) -> Outline:
    """Return the outline that `plain` made data of; the data is read with distrust.

    Raises:
        ValueError: it is no outline.
        RecursionError: it is nested too deeply.
    """
    kind, *rest = list_of(raw, TESTS_LIMIT + 3, "an outline")
    if kind == "leaf":
        line, test = rest
        return Leaf(_test_of(test), _line_of(line))
    if kind == "not":
        (part,) = rest
        return Not(outline_of(part))
    need_all = one_of(("all", "any"), kind, "an outline") == "all"
    label, line, *raw_parts = rest
    parts = tuple(map(outline_of, raw_parts))
    return Group(need_all, parts, text_of(label, "a label"), _line_of(line))


def _line_of(raw: object) -> int:
    if type(raw) is not int:
        raise ValueError(f"no number of a line: {raw!r:.80}")
    return raw


def _test_of(raw: object) -> Test:
    _, field, negated, need_all, atoms, *_ = list_of(raw, 6, "a test")
    return Test(
        text_of(field, "a field"),
        tuple(map(_atom_of, list_of(atoms, ATOMS_LIMIT, "atoms"))),
        boolean_of(need_all, "need_all"),
        boolean_of(negated, "negated"),
    )


def _atom_of(raw: object) -> Atom:
    operation, operand = list_of(raw, 2, "an atom")
    return Atom(Operation(operation), text_of(operand, "an operand"))
