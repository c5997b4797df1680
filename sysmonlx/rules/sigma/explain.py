# SPDX-License-Identifier: MIT
"""Why a rule of Sigma is true of an event: the tests that decided, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sysmonlx.rules.clauses import Expression
from sysmonlx.rules.conditions import Test, fold
from sysmonlx.rules.sigma.questions import answer_of
from sysmonlx.rules.sigma.source import RuleSource


def holds(expression: Expression, texts: Mapping[str, str]) -> bool:
    """Return whether an expression is true of an event, by the names of its fields."""
    positions = {name: at for at, name in enumerate(texts)}
    source = RuleSource(expression, positions)
    space: dict[str, Callable[[Sequence[str]], bool]] = {}
    answers = {f"q{at}": answer_of(atom) for at, atom in enumerate(source.asked)}
    exec(source.text, {**answers, "fold": fold}, space)
    return bool(space["hit"](tuple(texts.values())))


def reasons(expression: Expression, texts: Mapping[str, str]) -> list[Test]:
    """Return the tests that make an expression true of an event; [] if it is not.

    Of several parts of which one is enough it is the first that is true.
    """
    if not holds(expression, texts):
        return []
    if isinstance(expression, Test):
        return [expression]
    found = (reasons(part, texts) for part in expression.parts)
    if expression.need_all:
        return [test for tests in found for test in tests]
    return next((tests for tests in found if tests), [])


def in_words(test: Test) -> str:
    """Return a test as one reads it: `not Image end with '/apt' or '/dpkg'`."""
    word = " and " if test.need_all else " or "
    by_operation: dict[str, list[str]] = {}
    for atom in test.atoms:
        operands = by_operation.setdefault(atom.operation.value, [])
        operands += [repr(atom.operand)] if atom.operand else []
    asked = word.join(
        f"{operation} {word.join(operands)}".rstrip()
        for operation, operands in by_operation.items()
    )
    return f"{'not ' if test.negated else ''}{test.field} {asked}"
