# SPDX-License-Identifier: MIT
"""A decision written as the Python function that the daemon runs.

The source is meant to be read: one `if` for each outcome, in the order in which the
rules are asked. Inside an `if` the order is free, so cheap questions come first and
questions of one kind are asked together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sysmonlx.rules.clauses import Clause, Decision, Expression, Junction, tests_of
from sysmonlx.rules.conditions import Atom, Operation, Test, order_key
from sysmonlx.schema.events import EVENT_BY_ID

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_ORDERED = (Operation.LESS, Operation.MORE)

#: Questions in the order of their cost.
_COST = {
    Operation.IS: 0,
    Operation.BEGIN: 1,
    Operation.END: 1,
    Operation.CONTAINS: 2,
    Operation.LESS: 3,
    Operation.MORE: 3,
}


def function_name(event_id: int) -> str:
    """Return the name of the function that decides an event: `process_create`."""
    event = EVENT_BY_ID[event_id]
    return f"{_snake(event.tag or event.name)}_{event_id}"


def _snake(name: str) -> str:
    return _WORD.sub("_", name).lower()


def function_source(decision: Decision) -> str:
    """Return the source of a function from an event's values to its name or None."""
    positions = {field.name: index for index, field in enumerate(decision.fields)}
    lines = [f"def {function_name(decision.event_id)}(values):"]
    folded: set[str] = set()
    line = 0
    runs = list(_runs(decision))
    if len(runs) > 1 and _is_of_one_field(decision):
        lines += _assignments(list(decision.clauses), positions, folded)
        asked = _inner(Junction(False, tuple(c.condition for c in decision.clauses)))
        lines += ["    # most are of no interest", f"    if not {asked}:"]
        lines.append("        return None")
    for outcome, clauses in runs:
        lines += _assignments(clauses, positions, folded)
        if outcome.line != line:
            line = outcome.line
            verb = "include" if outcome.include else "exclude"
            lines.append(f"    # line {line}: {verb}")
        lines.append(f"    if {_text(_any_of(clauses), 1)}:")
        lines += _returns(outcome)
    lines.append(f"    return {'-' if decision.include_by_default else None!r}")
    return "\n".join(lines) + "\n"


def _runs(decision: Decision) -> Iterator[tuple[Clause, list[Clause]]]:
    """Yield neighbouring clauses with one outcome as one."""
    run: list[Clause] = []
    for clause in decision.clauses:
        if run and not _same_outcome(run[0], clause):
            yield run[0], run
            run = []
        run.append(clause)
    if run:
        yield run[0], run


def _same_outcome(one: Clause, other: Clause) -> bool:
    if not one.include and not other.include:
        return True
    same = one.include == other.include and one.name == other.name
    return same and not one.choices and not other.choices


def _is_of_one_field(decision: Decision) -> bool:
    """Return whether all that is asked, of one field, are reasons to include."""
    tests = tests_of(clause.condition for clause in decision.clauses)
    includes = all(clause.include for clause in decision.clauses)
    is_one = len({test.field for test in tests}) == 1
    return is_one and includes and not decision.include_by_default


def _any_of(clauses: list[Clause]) -> Expression:
    if len(clauses) == 1:
        return clauses[0].condition
    return Junction(False, tuple(clause.condition for clause in clauses))


def _assignments(
    clauses: list[Clause], positions: dict[str, int], folded: set[str]
) -> Iterator[str]:
    """Yield the lines that fold the fields which these clauses read first."""
    expressions = [
        e for c in clauses for e in (c.condition, *(x for x, _ in c.choices))
    ]
    for field in dict.fromkeys(test.field for test in tests_of(expressions)):
        if field not in folded:
            folded.add(field)
            yield f"    {_snake(field)} = fold(values[{positions[field]}])"


def _returns(outcome: Clause) -> Iterator[str]:
    if not outcome.include:
        yield "        return None"
        return
    for expression, name in outcome.choices:
        yield f"        if {_text(expression, 2)}:"
        yield f"            return {name!r}"
    yield f"        return {outcome.name!r}"


def _text(expression: Expression, depth: int) -> str:
    """Return an expression as Python, on several lines when it is long."""
    if isinstance(expression, Test):
        return _test(expression)
    parts = [_inner(part) for part in _ordered(expression)]
    if not parts:
        return str(expression.need_all)
    word = "and" if expression.need_all else "or"
    indent = "    " * (depth + 1)
    flat = f" {word} ".join(parts)
    if len(flat) + 4 * depth < 80:
        return flat
    return f"(\n{indent}" + f"\n{indent}{word} ".join(parts) + f"\n{indent[:-4]})"


def _inner(part: Expression) -> str:
    if isinstance(part, Junction):
        word = " and " if part.need_all else " or "
        texts = [_inner(p) for p in _ordered(part)]
        return f"({word.join(texts)})" if texts else str(part.need_all)
    return _test(part)


def _ordered(junction: Junction) -> list[Expression]:
    parts = list(junction.parts) if junction.need_all else _together(junction.parts)
    return sorted(parts, key=_cost)


def _cost(expression: Expression) -> int:
    return sum(
        (1 + _COST[atom.operation]) if atom.operation not in _ORDERED else 9
        for test in tests_of([expression])
        for atom in test.atoms
    )


def _together(parts: tuple[Expression, ...]) -> list[Expression]:
    """Join the tests of one field that ask for any of some atoms."""
    rest: list[Expression] = []
    atoms: dict[str, list[Atom]] = {}
    for part in _opened(parts):
        if isinstance(part, Test) and not part.negated and _asks_any(part):
            atoms.setdefault(part.field, []).extend(part.atoms)
        else:
            rest.append(part)
    joined = [Test(f, tuple(dict.fromkeys(wanted))) for f, wanted in atoms.items()]
    return [*joined, *rest]


def _opened(parts: tuple[Expression, ...]) -> Iterator[Expression]:
    """Yield the parts of an OR, with those of ORs inside it."""
    for part in parts:
        if isinstance(part, Junction) and not part.need_all:
            yield from _opened(part.parts)
        else:
            yield part


def _asks_any(test: Test) -> bool:
    return bool(test.atoms) and (not test.need_all or len(test.atoms) == 1)


def _test(test: Test) -> str:
    name = _snake(test.field)
    if test.need_all:
        texts = [_atoms(name, op, [x]) for op, xs in _kinds(test) for x in xs]
    else:
        texts = [_atoms(name, op, operands) for op, operands in _kinds(test)]
    if len(texts) == 1:
        return f"not {texts[0]}" if test.negated else texts[0]
    text = (" and " if test.need_all else " or ").join(texts)
    return f"not ({text})" if test.negated else f"({text})"


def _kinds(test: Test) -> list[tuple[Operation, list[str]]]:
    """Return the operands of each operation, cheap operations first."""
    kinds: dict[Operation, list[str]] = {}
    for atom in test.atoms:
        kinds.setdefault(atom.operation, []).append(atom.operand)
    return sorted(kinds.items(), key=lambda kind: _COST[kind[0]])


def _atoms(name: str, operation: Operation, operands: list[str]) -> str:
    """Return the question whether any of some atoms of one operation is true."""
    if operation is Operation.IS:
        return _is(name, operands)
    if operation in (Operation.BEGIN, Operation.END):
        method = "startswith" if operation is Operation.BEGIN else "endswith"
        wanted = operands[0] if len(operands) == 1 else tuple(operands)
        return f"{name}.{method}({wanted!r})"
    if operation is Operation.CONTAINS:
        return _either([f"{operand!r} in {name}" for operand in operands])
    return _either([_order(name, operation, operand) for operand in operands])


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({' or '.join(texts)})"


def _is(name: str, operands: list[str]) -> str:
    if len(operands) == 1:
        return f"{name} == {operands[0]!r}"
    return f"{name} in {{{', '.join(map(repr, operands))}}}"


def _order(name: str, operation: Operation, operand: str) -> str:
    if operation is Operation.MORE and not operand:
        return f"{name} != ''"
    sign = "<" if operation is Operation.LESS else ">"
    return f"order_key({name}) {sign} {order_key(operand)!r}"
