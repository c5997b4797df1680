# SPDX-License-Identifier: MIT
"""Packs compiled for the daemon: for each event type a `JudgeForm`."""

from __future__ import annotations

import marshal
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sysmonlx.policy import RulesChoice
from sysmonlx.rules.clauses import tests_of
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.plain_form import plain_atom
from sysmonlx.rules.sigma.guards import Guards
from sysmonlx.rules.sigma.judge import Code, JudgeForm, Sieved
from sysmonlx.rules.sigma.judge import Head as JudgeHead
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import (
    LEVELS,
    STATUSES,
    Correlation,
    Head,
    Pack,
    SigmaRule,
)
from sysmonlx.rules.sigma.questions import answer_of
from sysmonlx.rules.sigma.source import RuleSource, other_field
from sysmonlx.rules.sigma.steps import (
    CorrelationInForce,
    grouped_by,
    links_of,
    names_of,
)
from sysmonlx.rules.text_index import form_of
from sysmonlx.schema.event_types import Field, FieldType, PathOf
from sysmonlx.schema.events import EVENT_BY_ID

#: Types of fields whose values hardly come again.
_OF_ONE_PROCESS = (FieldType.GUID, FieldType.PID)


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule and what becomes of the events that it hits: tag, include or always.

    `pack` is the path of the pack that has the rule. A rule that is not `is_named` is
    but a step of correlations.
    """

    rule: SigmaRule
    action: str
    pack: str = ""
    is_named: bool = True


def chosen(
    pack: Pack, choice: RulesChoice, appended: Container[str] = ()
) -> Iterator[RuleInForce]:
    """Yield the rules of a pack that the configuration wants.

    `appended` are the fields of ours that events have. Rules that stand for a
    correlation alone name no events. Those of a correlation that is wanted are in
    force, whatever their level.
    """
    path, action, *_ = choice
    parts = {i for c in pack.correlations if not c.generate for i in c.rules}
    steps = {
        rule.id for each in correlated(pack, choice, appended) for rule in each.rules
    }
    for rule in pack.rules:
        is_named = _is_wanted(rule, choice) and rule.id not in parts
        if (is_named or rule.id in steps) and not why_not(rule, appended):
            yield RuleInForce(rule, action, path, is_named)


def correlated(
    pack: Pack, choice: RulesChoice, appended: Container[str] = ()
) -> Iterator[CorrelationInForce]:
    """Yield the correlations of a pack that the configuration wants."""
    by_id = {rule.id: rule for rule in pack.rules}
    for each in pack.correlations:
        if _is_wanted(each, choice) and not why_not_correlated(each, pack, appended):
            rules = tuple(by_id[rule_id] for rule_id in each.rules)
            yield CorrelationInForce(each, rules, choice[0])


def _is_wanted(head: Head, choice: RulesChoice) -> bool:
    _, _, least_level, least_status = choice
    level, status = LEVELS.index(least_level), STATUSES.index(least_status)
    return LEVELS.index(head.level) >= level and STATUSES.index(head.status) >= status


def why_not(rule: SigmaRule, appended: Container[str] = ()) -> str:
    """Return why a rule cannot be judged on this machine, "" if it can.

    `appended` are the fields of ours that events have.
    """
    for name in sorted(_read([rule])):
        if reason := _is_missing(name, rule, appended):
            return reason
    for test in tests_of([rule.expression]):
        for atom in test.atoms:
            try:
                if atom.operation in _CHECKED:
                    answer_of(atom)
            except ValueError as error:
                return str(error)
    return ""


def why_not_correlated(
    each: Correlation, pack: Pack, appended: Container[str] = ()
) -> str:
    """Return why a correlation cannot be carried out on this machine, "" if it can."""
    for rule in pack.rules:
        if rule.id not in each.rules:
            continue
        names = names_of(each, rule.id)
        reasons = (_is_missing(name, rule, appended) for name in names)
        if reason := why_not(rule, appended) or next(filter(None, reasons), ""):
            return f"its rule '{rule.title}' is not used: {reason}"
    return ""


def _is_missing(name: str, rule: SigmaRule, appended: Container[str]) -> str:
    """Return what is to be done for a field of ours that an event lacks."""
    if name in appended:
        return ""
    for event_id in rule.event_ids:
        if name in {each.name for each in EVENT_BY_ID[event_id].appended}:
            return f"it asks {name}: add <sx:Fields>{name}</sx:Fields>"
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


def judge_form(
    rules: Sequence[RuleInForce],
    fields: Sequence[Field],
    correlations: Sequence[CorrelationInForce] = (),
) -> JudgeForm:
    """Return the form of rules, as `ordered` gives them, for events with these fields.

    RuleNames is the last of the fields. `correlations` are all that are in force.
    """
    read = _read(each.rule for each in rules)
    places = [at for at, field in enumerate(fields) if field.name in read]
    positions = tuple((places * 2 if len(places) < 2 else places) or (0, 0))
    local = {fields[at].name: place for place, at in enumerate(positions)}
    sieves, unguarded = _sieves(rules, fields, local)
    return JudgeForm(
        heads=tuple(_head(each.rule) for each in rules),
        codes=tuple(_code(each.rule, local) for each in rules),
        positions=positions,
        sieves=sieves,
        unguarded=unguarded,
        recurs=not any(_varies(fields[at]) for at in places),
        include=_bits_of(each.action == "include" for each in rules),
        always=_bits_of(each.action == "always" for each in rules),
        shown=_bits_of(each.is_named for each in rules),
        links=links_of([each.rule for each in rules], fields, correlations),
    )


def _head(rule: SigmaRule) -> JudgeHead:
    return rule.id, rule.title, rule.level, name_of(rule), rule.author


def _code(rule: SigmaRule, local: dict[str, int]) -> Code:
    source = RuleSource(rule.expression, local)
    code = marshal.dumps(compile(source.text, f"<{rule.title}>", "exec"))
    return code, tuple(map(plain_atom, source.asked))


def fields_read(
    rules: Iterable[RuleInForce], correlations: Iterable[CorrelationInForce] = ()
) -> frozenset[str]:
    """Return the fields whose texts the rules, and correlations of them, look at."""
    written = [each.rule for each in rules]
    return frozenset(_read(written) | grouped_by(written, correlations))


def _read(rules: Iterable[SigmaRule]) -> set[str]:
    found: set[str] = set()
    for test in tests_of(each.expression for each in rules):
        found.add(test.field)
        same = (a.operand for a in test.atoms if a.operation is Operation.SAME_AS)
        found.update(map(other_field, same))
    return found


def _varies(field: Field) -> bool:
    return field.type in _OF_ONE_PROCESS or field.is_made_here


def _bits_of(answers: Iterable[bool]) -> int:
    return sum(1 << at for at, answer in enumerate(answers) if answer)


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
