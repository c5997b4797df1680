# SPDX-License-Identifier: MIT
"""Correlations of packs as the daemon needs them: which rule is which step of which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sysmonlx.rules.sigma.correlator import (
    ANCESTRY,
    LINEAGE,
    PROGRAM,
    CorrelationForm,
    Key,
    PlainLink,
)
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import (
    PSEUDO_FIELDS,
    Correlation,
    SigmaRule,
    plain_expression,
)
from sysmonlx.schema.event_types import Field

_SECOND_NS = 1_000_000_000
_DIRECTORY = "CurrentDirectory"


@dataclass(frozen=True, slots=True)
class CorrelationInForce:
    """A correlation, its rules in order, and the path of the pack that has it."""

    correlation: Correlation
    rules: tuple[SigmaRule, ...]
    pack: str = ""


def names_of(each: Correlation, rule_id: str) -> list[str]:
    """Return the fields by which events of a rule are grouped."""
    aliases = {name: dict(pairs) for name, pairs in each.aliases}
    return [aliases.get(name, {}).get(rule_id, name) for name in each.group_by]


def grouped_by(
    rules: Iterable[SigmaRule], correlations: Iterable[CorrelationInForce]
) -> set[str]:
    """Return the fields of events of these rules that correlations look at."""
    ids = {rule.id for rule in rules}
    return {
        name
        for each in correlations
        for rule_id in ids.intersection(each.correlation.rules)
        for name in names_of(each.correlation, rule_id)
        if name not in PSEUDO_FIELDS
    }


def links_of(
    rules: Sequence[SigmaRule],
    fields: Sequence[Field],
    correlations: Sequence[CorrelationInForce],
) -> tuple[PlainLink, ...]:
    """Return which of some rules of an event are which steps."""
    at = {field.name: number for number, field in enumerate(fields)}
    return tuple(
        (
            1 << number,
            of,
            each.correlation.rules.index(rule.id),
            tuple(_keys(names_of(each.correlation, rule.id), at)),
        )
        for number, rule in enumerate(rules)
        for of, each in enumerate(correlations)
        if rule.id and rule.id in each.correlation.rules
    )


def _keys(names: Iterable[str], at: dict[str, int]) -> Iterable[Key]:
    for name in names:
        if name == PROGRAM:
            yield PROGRAM, at.get(_DIRECTORY, -1)
        elif name == LINEAGE:
            yield LINEAGE
        elif name != ANCESTRY:
            yield at[name]


def correlation_forms(
    correlations: Iterable[CorrelationInForce],
) -> tuple[CorrelationForm, ...]:
    """Return correlations as plain data."""
    return tuple(map(_form, correlations))


def _form(each: CorrelationInForce) -> CorrelationForm:
    of = each.correlation
    return CorrelationForm(
        head=(of.id, of.title, of.level, name_of(of), of.author),
        is_ordered=of.type == "temporal_ordered",
        steps=len(of.rules),
        span_ns=of.timespan_s * _SECOND_NS,
        has_ancestry=ANCESTRY in of.group_by,
        has_lineage=any(LINEAGE in names_of(of, rule_id) for rule_id in of.rules),
        meaning=_meaning(each),
    )


def _meaning(each: CorrelationInForce) -> tuple[int, ...]:
    """Return a digest of all that says what a correlation joins.

    The hash of a text is keyed by a secret of this process and its children.
    """
    of = each.correlation
    asked = [(rule.event_ids, plain_expression(rule.expression)) for rule in each.rules]
    text = repr((of.id, of.title, of.type, of.group_by, of.aliases, of.timespan_s))
    text += repr(asked)
    return hash(text), hash(text[::-1])
