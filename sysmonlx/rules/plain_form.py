# SPDX-License-Identifier: MIT
"""Decisions and rules as plain data: tuples, texts, numbers, as marshal carries them.

A test is a tuple of four, a junction one of two. Nothing is checked on the way back:
only what this program wrote itself may be read.
"""

from __future__ import annotations

import marshal
from sys import intern
from typing import Any

from sysmonlx.policy import Compound, Element, Filter
from sysmonlx.rules.clauses import Clause, Decision, Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test

#: Nested tuples of texts, numbers, truth values, bytes and code objects.
Plain = Any

_NUMBERS = {operation: number for number, operation in enumerate(Operation)}
_OPERATIONS = tuple(Operation)
_PARTS_OF_A_TEST = 4
#: So many clauses are unpacked at once: the pieces of all would double the memory.
_AT_ONCE = 64


def plain_decision(decision: Decision) -> Plain:
    """Return a decision as plain data, its clauses in parts that marshal has packed."""
    clauses = tuple(map(_plain_clause, decision.clauses))
    parts = (clauses[at : at + _AT_ONCE] for at in range(0, len(clauses), _AT_ONCE))
    packed = tuple(map(marshal.dumps, parts))
    return decision.event_id, packed, decision.include_by_default


def decision_of(plain: Plain) -> Decision:
    """Return the decision that `plain_decision` made plain."""
    event_id, packed, include_by_default = plain
    parts = map(marshal.loads, packed)
    clauses = tuple(_clause_of(each) for part in parts for each in part)
    return Decision(event_id, clauses, include_by_default)


def plain_atom(atom: Atom) -> Plain:
    """Return an atom as plain data."""
    return _NUMBERS[atom.operation], atom.operand


def atom_of(plain: Plain) -> Atom:
    """Return the atom that `plain_atom` made plain."""
    number, operand = plain
    return Atom(_OPERATIONS[number], operand)


def plain_element(element: Element) -> Plain:
    """Return an event element as plain data."""
    *before, items, line, bound_id = _values(element)
    return *before, tuple(map(_plain_item, items)), line, bound_id


def element_of(plain: Plain) -> Element:
    """Return the event element that `plain_element` made plain."""
    *before, items, line, bound_id = plain
    return Element(*[*before, tuple(map(_item_of, items)), line, bound_id])


def _values(instance: Filter | Compound | Element) -> list[Any]:
    return [getattr(instance, name) for name in instance.__slots__]


def _plain_item(item: Filter | Compound) -> Plain:
    if isinstance(item, Filter):
        return tuple(_values(item))
    filters, *rest = _values(item)
    return tuple(map(_plain_item, filters)), *rest


def _item_of(plain: Plain) -> Filter | Compound:
    if isinstance(plain[0], str):
        return Filter(*plain)
    filters, *rest = plain
    return Compound(tuple(Filter(*each) for each in filters), *rest)


def _plain_clause(clause: Clause) -> Plain:
    choices = tuple((_plain_part(e), intern(name)) for e, name in clause.choices)
    condition, name = _plain_part(clause.condition), intern(clause.name)
    return condition, clause.include, name, choices, clause.line


def _clause_of(plain: Plain) -> Clause:
    condition, include, name, choices, line = plain
    return Clause(
        _part_of(condition),
        include,
        name,
        tuple((_part_of(each), name) for each, name in choices),
        line,
    )


def _plain_part(part: Expression) -> Plain:
    if isinstance(part, Junction):
        return part.need_all, tuple(map(_plain_part, part.parts))
    atoms = tuple(map(plain_atom, part.atoms))
    return intern(part.field), atoms, part.need_all, part.negated


def _part_of(plain: Plain) -> Expression:
    if len(plain) != _PARTS_OF_A_TEST:
        need_all, parts = plain
        return Junction(need_all, tuple(map(_part_of, parts)))
    field, atoms, need_all, negated = plain
    return Test(field, tuple(map(atom_of, atoms)), need_all, negated)
