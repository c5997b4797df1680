# SPDX-License-Identifier: MIT
"""Clauses as groups of literals: the form of a rule that bits can answer.

A literal is a set of atoms on one field. It holds when one of them is true, or, if it
is negated, when none is. A clause holds when each of its groups has a literal that
holds. An atom that the kernel cannot answer is unknown: an include clause takes it for
true and an exclude clause for false, so that the kernel discards no event that the
rules report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import product
from math import prod

from sysmonlx.rules.clauses import Expression
from sysmonlx.rules.conditions import Atom, Test

#: An expression that would need more groups than this counts as unknown.
_GROUPS_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Literal:
    """One of these atoms is true of a field's text; negated: none of them is."""

    field: str
    atoms: frozenset[Atom]
    negated: bool = False


#: Holds when one of its literals does.
Group = frozenset[Literal]
#: Hold when all of them do.
Groups = tuple[Group, ...]

ALWAYS: Groups = ()
NEVER: Groups = (frozenset(),)


class Askable(Enum):
    """Whether the kernel can answer an atom about a field."""

    NO = auto()
    YES = auto()
    IS_TRUE = auto()


Ask = Callable[[str, Atom], Askable]


class Reducer:
    """Turns expressions into groups; an unknown literal counts as `unknown`."""

    def __init__(self, ask: Ask, *, unknown: bool) -> None:
        self._ask = ask
        self._unknown = ALWAYS if unknown else NEVER
        self._is_maybe = unknown

    def clauses(self, conditions: Iterable[Expression]) -> list[Groups]:
        """Return clauses; one of them holds when one of the conditions does.

        All conditions that are one group become one clause together.
        """
        alone: Group = frozenset()
        longer: dict[Groups, None] = {}
        for groups in map(self._clause, self._opened(conditions)):
            if groups == ALWAYS:
                return [ALWAYS]
            if len(groups) == 1:
                alone |= groups[0]
            elif frozenset() not in groups:
                longer[groups] = None
        return [*([(_merged(alone),)] if alone else []), *longer]

    def _opened(self, expressions: Iterable[Expression]) -> Iterator[Expression]:
        for expression in expressions:
            if isinstance(expression, Test) or expression.need_all:
                yield expression
            else:
                yield from self._opened(expression.parts)

    def _clause(self, expression: Expression) -> Groups:
        groups = [_merged(group) for group in self.groups(expression)]
        denials = [next(iter(g)) for g in groups if _denies(g)]
        joined = [
            frozenset({Literal(name, _union(denials, name), negated=True)})
            for name in dict.fromkeys(literal.field for literal in denials)
        ]
        return tuple(dict.fromkeys([*joined, *(g for g in groups if not _denies(g))]))

    def groups(self, expression: Expression) -> Groups:
        """Return the groups of an expression."""
        if isinstance(expression, Test):
            return self._test(expression)
        parts = [self.groups(part) for part in expression.parts]
        if expression.need_all:
            return tuple(group for groups in parts for group in groups)
        if prod(map(len, parts)) > _GROUPS_LIMIT:
            return self._unknown
        return tuple(frozenset().union(*chosen) for chosen in product(*parts))

    def _test(self, test: Test) -> Groups:
        answers = {atom: self._ask(test.field, atom) for atom in test.atoms}
        if Askable.IS_TRUE in answers.values():
            if not test.need_all:
                return NEVER if test.negated else ALWAYS
            rest = [a for a, answer in answers.items() if answer != Askable.IS_TRUE]
            test = replace(test, atoms=tuple(rest))
        asked = [atom for atom in test.atoms if answers[atom] is Askable.YES]
        literal = Literal(test.field, frozenset(asked), test.negated)
        alone = [replace(literal, atoms=frozenset({atom})) for atom in asked]
        is_whole = len(asked) == len(test.atoms)
        if test.need_all != test.negated:
            parts: Groups = tuple(frozenset({each}) for each in alone)
            if not test.need_all:
                parts = (frozenset({literal}),) if asked else ALWAYS
            return parts if is_whole else parts + self._unknown
        if not is_whole and self._is_maybe:
            return ALWAYS
        if not test.need_all:
            return (frozenset({literal}),) if asked else NEVER
        return (frozenset(alone),)


def _merged(group: Group) -> Group:
    """Return an equal group with one literal that asserts for each field."""
    asserted = [literal for literal in group if not literal.negated]
    names = {literal.field for literal in asserted}
    joined = {Literal(name, _union(asserted, name)) for name in names}
    return frozenset(joined | {literal for literal in group if literal.negated})


def _union(literals: Iterable[Literal], name: str) -> frozenset[Atom]:
    return frozenset().union(*(each.atoms for each in literals if each.field == name))


def _denies(group: Group) -> bool:
    return len(group) == 1 and next(iter(group)).negated
