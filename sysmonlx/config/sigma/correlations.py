# SPDX-License-Identifier: MIT
"""Correlations of two to four rules, as far as the sensor carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError

from sysmonlx.config.sigma.documents import Document, key_line
from sysmonlx.config.sigma.heads import head_of, text_at
from sysmonlx.config.sigma.notes import RuleError
from sysmonlx.rules.sigma.pack import (
    CORRELATION_TYPES,
    TIMESPAN_LIMIT_S,
    Correlation,
    SigmaRule,
)

_ELSEWHERE = "of this type is for what comes behind the sensor: a SIEM"


def correlation_of(
    document: Document, file: str, rules: Sequence[SigmaRule]
) -> tuple[Correlation, frozenset[str]]:
    """Return a correlation, and the names by which it refers to rules.

    Raises:
        RuleError: it cannot be carried out here; with its line.
    """
    line = key_line(document.node, "correlation")
    try:
        written = SigmaCorrelationRule.from_dict(dict(document.value))
    except SigmaError as error:
        raise RuleError(str(error), line) from None
    kind = written.type.name.lower()
    if kind not in CORRELATION_TYPES:
        at = key_line(document.node, "correlation", "type")
        raise RuleError(f"a correlation {_ELSEWHERE}", at)
    references = [each.reference for each in written.rules or ()]
    _check_condition(written, references, document)
    ids = [_id_of(each, rules, line) for each in references]
    by_reference = dict(zip(references, ids, strict=True))
    if not 1 <= written.timespan.seconds <= TIMESPAN_LIMIT_S:
        at = key_line(document.node, "correlation", "timespan")
        raise RuleError("the timespan is not from 1 s to 24 h", at)
    if not text_at(document, "title"):
        raise RuleError("it has no title that is a text")
    made = Correlation(
        **head_of(document, file),  # type: ignore[arg-type]  # each of its type
        type=kind,
        rules=tuple(ids),
        group_by=tuple(written.group_by or ()),
        aliases=tuple(
            (name, _pairs(alias.mapping, by_reference, line))
            for name, alias in written.aliases.aliases.items()
        ),
        timespan_s=written.timespan.seconds,
        generate=written.generate is True,
    )
    return made, frozenset(references)


def _check_condition(
    written: SigmaCorrelationRule, references: Sequence[str], document: Document
) -> None:
    """Refuse all conditions but the one that goes without saying."""
    condition = written.condition
    is_usual = (
        isinstance(condition, SigmaCorrelationCondition)
        and condition.op is SigmaCorrelationConditionOperator.GTE
        and condition.count == len(references)
        and condition.fieldref is None
    )
    if not is_usual:
        line = key_line(document.node, "correlation", "condition")
        raise RuleError("its condition is other than that all rules match", line)


def _id_of(reference: object, rules: Sequence[SigmaRule], line: int) -> str:
    for each in rules:
        if reference in (each.id, each.name):
            return each.id or each.name
    raise RuleError(f"its rule {reference!r:.80} is not there, or is not used", line)


def _pairs(
    mapping: Mapping[SigmaRuleReference, str], ids: Mapping[str, str], line: int
) -> tuple[tuple[str, str], ...]:
    pairs = []
    for each, name in mapping.items():
        reference = each.reference
        if reference not in ids or type(name) is not str:
            raise RuleError(f"an alias names {reference!r:.80}, no rule of it", line)
        pairs.append((ids[reference], name))
    return tuple(pairs)
