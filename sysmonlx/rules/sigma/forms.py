# SPDX-License-Identifier: MIT
"""Packs compiled for the daemon: for each event type a `JudgeForm`."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sysmonlx.policy import RulesChoice
from sysmonlx.rules.clauses import tests_of
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.plain_form import plain_atom
from sysmonlx.rules.sigma.guards import Guards
from sysmonlx.rules.sigma.judge import JudgeForm, Sieved
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import LEVELS, STATUSES, Pack, SigmaRule
from sysmonlx.rules.sigma.questions import answer_of
from sysmonlx.rules.sigma.source import RuleSource, other_field
from sysmonlx.rules.text_index import form_of
from sysmonlx.schema.event_types import Field, FieldType, PathOf

#: Types of fields whose values hardly come again.
_OF_ONE_PROCESS = (FieldType.GUID, FieldType.PID)


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule and what becomes of the events that it hits: tag, include or always.

    `pack` is the path of the pack that has the rule.
    """

    rule: SigmaRule
    action: str
    pack: str = ""


def chosen(pack: Pack, choice: RulesChoice) -> Iterator[RuleInForce]:
    """Yield the rules of a pack that the configuration wants.

    Rules that stand for a correlation alone are none: a hit of them means nothing yet.
    """
    parts = {
        rule_id
        for each in pack.correlations
        if not each.generate
        for rule_id in each.rules
    }
    path, action, least_level, least_status = choice
    level, status = LEVELS.index(least_level), STATUSES.index(least_status)
    for rule in pack.rules:
        is_chosen = LEVELS.index(rule.level) >= level
        is_chosen = is_chosen and STATUSES.index(rule.status) >= status
        if is_chosen and rule.id not in parts and not why_not(rule):
            yield RuleInForce(rule, action, path)


def why_not(rule: SigmaRule) -> str:
    """Return why a rule cannot be judged on this machine, "" if it can."""
    for test in tests_of([rule.expression]):
        for atom in test.atoms:
            try:
                if atom.operation in _CHECKED:
                    answer_of(atom)
            except ValueError as error:
                return str(error)
    return ""


_CHECKED = (
    Operation.REGEX,
    Operation.CIDR,
    Operation.NUMBER_LT,
    Operation.NUMBER_LTE,
    Operation.NUMBER_GT,
    Operation.NUMBER_GTE,
)


def ordered(rules: Iterable[RuleInForce], event_id: int) -> list[RuleInForce]:
    """Return the rules of an event, the severest first, then by title."""
    mine = (each for each in rules if event_id in each.rule.event_ids)
    return sorted(mine, key=_severity)


def _severity(each: RuleInForce) -> tuple[int, bytes]:
    title = each.rule.title.encode("utf-8", "surrogatepass")
    return -LEVELS.index(each.rule.level), title


def judge_form(rules: Sequence[RuleInForce], fields: Sequence[Field]) -> JudgeForm:
    """Return the form of rules, as `ordered` gives them, for events with these fields.

    RuleNames is the last of the fields.
    """
    expressions = [each.rule.expression for each in rules]
    read = _read(rules)
    places = [at for at, field in enumerate(fields) if field.name in read]
    positions = tuple((places * 2 if len(places) < 2 else places) or (0, 0))
    local = {fields[at].name: place for place, at in enumerate(positions)}
    sources = [RuleSource(each, local) for each in expressions]
    sieves, unguarded = _sieves(rules, fields, local)
    return JudgeForm(
        heads=tuple(
            (each.rule.id, each.rule.title, each.rule.level, name_of(each.rule))
            for each in rules
        ),
        codes=tuple(
            (
                marshal.dumps(compile(source.text, f"<{each.rule.title}>", "exec")),
                tuple(map(plain_atom, source.asked)),
            )
            for source, each in zip(sources, rules, strict=True)
        ),
        positions=positions,
        sieves=sieves,
        unguarded=unguarded,
        recurs=not any(_varies(fields[at]) for at in places),
        include=_bits_of(rules, "include"),
        always=_bits_of(rules, "always"),
    )


def fields_read(rules: Iterable[RuleInForce]) -> frozenset[str]:
    """Return the fields whose texts the rules look at."""
    return frozenset(_read(rules))


def _read(rules: Iterable[RuleInForce]) -> set[str]:
    found: set[str] = set()
    for test in tests_of(each.rule.expression for each in rules):
        found.add(test.field)
        same = (a.operand for a in test.atoms if a.operation is Operation.SAME_AS)
        found.update(map(other_field, same))
    return found


def _varies(field: Field) -> bool:
    return field.type in _OF_ONE_PROCESS or field.is_made_here


def _bits_of(rules: Sequence[RuleInForce], action: str) -> int:
    return sum(1 << at for at, each in enumerate(rules) if each.action == action)


def _sieves(
    rules: Sequence[RuleInForce], fields: Sequence[Field], local: dict[str, int]
) -> tuple[tuple[Sieved, ...], int]:
    """Return the sieves of the guards, and the bits of the rules without one."""
    recurring = {field.name for field in fields if field.recurs}
    programs = {f.name for f in fields if f.recurs and f.path is PathOf.PROGRAM}
    guards = Guards(recurring, programs)
    unguarded = 0
    by_field: dict[str, dict[Atom, int]] = {}
    for at, each in enumerate(rules):
        guard = guards.of(each.rule.expression)
        if guard is None:
            unguarded |= 1 << at
        for field, atom in sorted(guard or (), key=repr):
            of_field = by_field.setdefault(field, {})
            of_field[atom] = of_field.get(atom, 0) | 1 << at
    again = {field.name for field in fields if field.recurs or _stays(field)}
    sieves = (
        (
            local[field],
            field in again,
            form_of({atom: number for number, atom in enumerate(atoms)}),
            tuple(atoms.values()),
        )
        for field, atoms in by_field.items()
    )
    return tuple(sieves), unguarded


def _stays(field: Field) -> bool:
    """Return whether several events in a row often have the same text in a field."""
    return field.path is PathOf.DIRECTORY or field.name.startswith("Parent")
