# SPDX-License-Identifier: MIT
"""Decisions and rules as plain data: tuples, texts, numbers, as marshal carries them.

The types below are those of the tuples. Nothing is checked on the way back: only what
this program wrote itself may be read.
"""

from __future__ import annotations

import marshal
from sys import intern
from typing import TypeAlias

from sysmonlx.policy import Compound, Element, Filter
from sysmonlx.rules.clauses import Clause, Decision, Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test

#: The number of the operation, the operand.
PlainAtom: TypeAlias = tuple[int, str]
#: Field, atoms, `need_all`, `negated`.
PlainTest: TypeAlias = tuple[str, tuple[PlainAtom, ...], bool, bool]
#: `need_all`, parts.
PlainJunction: TypeAlias = "tuple[bool, tuple[PlainPart, ...]]"
PlainPart: TypeAlias = "PlainTest | PlainJunction"
#: Condition, `include`, name, choices of names, line.
PlainClause: TypeAlias = (
    "tuple[PlainPart, bool, str, tuple[tuple[PlainPart, str], ...], int]"
)
#: Event id, some clauses at a time as marshal packed them, `include_by_default`,
#: `appended`.
PlainDecision: TypeAlias = tuple[int, tuple[bytes, ...], bool, tuple[str, ...]]

#: Field, condition, value, name, line.
PlainFilter: TypeAlias = tuple[str, str, str, str, int]
#: Filters; relation, number, name, line.
PlainCompound: TypeAlias = tuple[tuple[PlainFilter, ...], tuple[str, int, str, int]]
PlainItem: TypeAlias = PlainFilter | PlainCompound
#: Tag, event ids, `onmatch`, relation, items, line, bound id.
PlainElement: TypeAlias = tuple[
    str, tuple[int, ...], str, str, tuple[PlainItem, ...], int, int
]

_NUMBERS = {operation: number for number, operation in enumerate(Operation)}
_OPERATIONS = tuple(Operation)
#: How many clauses are unpacked at once: the pieces of all would double the memory.
_AT_ONCE = 64


def plain_decision(decision: Decision) -> PlainDecision:
    """Return a decision as plain data, its clauses in parts that marshal has packed."""
    clauses = tuple(map(_plain_clause, decision.clauses))
    parts = (clauses[at : at + _AT_ONCE] for at in range(0, len(clauses), _AT_ONCE))
    packed = tuple(map(marshal.dumps, parts))
    default = decision.include_by_default
    return decision.event_id, packed, default, decision.appended


def decision_of(plain: PlainDecision) -> Decision:
    """Return the decision that `plain_decision` made plain."""
    event_id, packed, include_by_default, appended = plain
    parts = map(marshal.loads, packed)
    clauses = tuple(_clause_of(each) for part in parts for each in part)
    return Decision(event_id, clauses, include_by_default, appended)


def plain_atom(atom: Atom) -> PlainAtom:
    """Return an atom as plain data."""
    return _NUMBERS[atom.operation], atom.operand


def atom_of(plain: PlainAtom) -> Atom:
    """Return the atom that `plain_atom` made plain."""
    number, operand = plain
    return Atom(_OPERATIONS[number], operand)


def plain_element(element: Element) -> PlainElement:
    """Return an event element as plain data."""
    return (
        element.tag,
        element.event_ids,
        element.onmatch,
        element.relation,
        tuple(map(_plain_item, element.items)),
        element.line,
        element.bound_id,
    )


def element_of(plain: PlainElement) -> Element:
    """Return the event element that `plain_element` made plain."""
    tag, event_ids, onmatch, relation, items, line, bound_id = plain
    found = tuple(map(_item_of, items))
    return Element(tag, event_ids, onmatch, relation, found, line, bound_id)


def _plain_item(item: Filter | Compound) -> PlainItem:
    if isinstance(item, Filter):
        return _plain_filter(item)
    filters = tuple(map(_plain_filter, item.filters))
    return filters, (item.relation, item.number, item.name, item.line)


def _plain_filter(item: Filter) -> PlainFilter:
    return item.field, item.condition, item.value, item.name, item.line


def _item_of(plain: PlainItem) -> Filter | Compound:
    if len(plain) != 2:
        return Filter(*plain)
    filters, rest = plain
    return Compound(tuple(Filter(*each) for each in filters), *rest)


def _plain_clause(clause: Clause) -> PlainClause:
    choices = tuple((_plain_part(e), intern(name)) for e, name in clause.choices)
    condition, name = _plain_part(clause.condition), intern(clause.name)
    return condition, clause.include, name, choices, clause.line


def _clause_of(plain: PlainClause) -> Clause:
    condition, include, name, choices, line = plain
    return Clause(
        _part_of(condition),
        include,
        name,
        tuple((_part_of(each), name) for each, name in choices),
        line,
    )


def _plain_part(part: Expression) -> PlainPart:
    if isinstance(part, Junction):
        return part.need_all, tuple(map(_plain_part, part.parts))
    atoms = tuple(map(plain_atom, part.atoms))
    return intern(part.field), atoms, part.need_all, part.negated


def _part_of(plain: PlainPart) -> Expression:
    if len(plain) == 2:
        need_all, parts = plain
        return Junction(need_all, tuple(map(_part_of, parts)))
    field, atoms, need_all, negated = plain
    return Test(field, tuple(map(atom_of, atoms)), need_all, negated)
