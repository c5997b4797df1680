# SPDX-License-Identifier: MIT
"""The guard of a rule: questions of which one must be true wherever the rule is.

Example: the rule

    Image ends with /curl, and CommandLine contains "http" and any of "--upload-file",
    "--data", and not ParentImage ends with /apt

has several guards: {Image ends with /curl}, {CommandLine contains "http"} and
{CommandLine contains "--upload-file", CommandLine contains "--data"}. The cheapest is
taken, the last one: long texts are found quickest. An event is asked about the rule
only if its guard is found. No expression is multiplied out for it.
"""

from __future__ import annotations

from collections.abc import Collection

from sysmonlx.rules.clauses import Expression
from sysmonlx.rules.conditions import Atom, Operation, Test, fold
from sysmonlx.rules.sigma.questions import FOLDED_FORM, MISSING_VALUE, glob_literals
from sysmonlx.rules.sigma.regular import literals

#: Pairs of a field and an atom of IS, CONTAINS, BEGIN or END on its folded text.
Guard = frozenset[tuple[str, Atom]]

_SEARCHED = (Operation.IS, Operation.CONTAINS, Operation.BEGIN, Operation.END)

#: What a question costs of a field whose text recurs, of any other from 7 bytes on,
#: from 5 bytes on, and below; and of a field that has few values, which chooses little.
_RECURRING, _LONG, _MIDDLE, _SHORT, _OF_FEW_VALUES = 2, 1, 4, 12, 24
_LONG_BYTES, _MIDDLE_BYTES = 7, 5


class Guards:
    """Chooses guards.

    `recurring` are the fields whose texts recur, `programs` those of them that are
    paths of programs: the others have few values.
    """

    def __init__(self, recurring: Collection[str], programs: Collection[str]) -> None:
        self._recurring = recurring
        self._programs = programs

    def of(self, expression: Expression) -> Guard | None:
        """Return the guard of an expression, None: it may be true without any."""
        if isinstance(expression, Test):
            return self._of_test(expression)
        found = [self.of(part) for part in expression.parts]
        guards = [guard for guard in found if guard is not None]
        if expression.need_all:
            return min(guards, key=self._cost, default=None)
        return frozenset().union(*guards) if len(guards) == len(found) else None

    def _of_test(self, test: Test) -> Guard | None:
        if test.negated:
            return None
        found = [needed(atom) for atom in test.atoms]
        atoms = [atom for atom in found if atom is not None]
        if test.need_all:
            each = [frozenset({(test.field, atom)}) for atom in atoms]
            return min(each, key=self._cost, default=None)
        if len(atoms) < len(found):
            return None
        return frozenset((test.field, atom) for atom in atoms)

    def _cost(self, guard: Guard) -> int:
        return sum(self._cost_of(field, atom) for field, atom in guard)

    def _cost_of(self, field: str, atom: Atom) -> int:
        if field in self._programs:
            return _RECURRING
        if field in self._recurring:
            return _OF_FEW_VALUES
        if atom.operation is not Operation.CONTAINS:
            return _LONG
        size = len(atom.operand.encode("utf-8", "surrogatepass"))
        if size >= _LONG_BYTES:
            return _LONG
        return _MIDDLE if size >= _MIDDLE_BYTES else _SHORT


def needed(atom: Atom) -> Atom | None:
    """Return a question that a sieve can answer, true wherever the atom is.

    None: there is none but for those that are always true.
    """
    operation, operand = atom.operation, fold(atom.operand)
    if operation is Operation.MISSING:
        return Atom(Operation.IS, MISSING_VALUE)
    if operation in (Operation.GLOB, Operation.REGEX):
        is_glob = operation is Operation.GLOB
        found = glob_literals(operand) if is_glob else literals(atom.operand)
        operation, operand = Operation.CONTAINS, max(found, key=len, default="")
    operation = FOLDED_FORM.get(operation, operation)
    if operation is Operation.IS:
        return Atom(operation, operand)
    return Atom(operation, operand) if operation in _SEARCHED and operand else None
