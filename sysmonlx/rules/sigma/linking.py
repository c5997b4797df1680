# SPDX-License-Identifier: MIT
"""The judge of one event and the correlations: what an event is called after both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sysmonlx.rules.sigma.correlator import Correlator, Deed, Fired, Link
from sysmonlx.rules.sigma.judge import SEPARATOR, SigmaJudge, bits, joined
from sysmonlx.rules.sigma.pack import LEVELS

_NO_NAME = "-"
#: Stands before each earlier event in RuleNames.
_AFTER = ",after="


class Named(NamedTuple):
    """RuleName and RuleNames of an event that completes correlations."""

    rule_name: str
    rule_names: str


def steps(judge: SigmaJudge, hits: int) -> list[Link]:
    """Return which steps of correlations an event with these hits is."""
    return [each for each in judge.links if each.bit & hits]


def take(
    judge: SigmaJudge, correlator: Correlator, noted: tuple[int, str], deed: Deed
) -> list[Fired]:
    """Let an event be a step; return the correlations that it completes.

    `noted` is what the judge noted of the event.
    """
    found = steps(judge, noted[0])
    return correlator.take(found, deed) if found else []


def named(
    judge: SigmaJudge,
    correlator: Correlator,
    noted: tuple[int, str],
    fired: Iterable[Fired],
) -> Named:
    """Return what an event is called that completes some correlations.

    Of one level, correlations stand before rules.
    """
    hits, by_sysmon = noted
    found = []
    for each in fired:
        _, title, level, name, _ = correlator.forms[each.correlation].head
        after = "".join(f"{_AFTER}{text}" for text in each.told)
        found.append((*_severity(level, title, 0), name, name + after))
    for number in bits(hits & judge.shown):
        _, title, level, name, _ = judge.heads[number]
        found.append((*_severity(level, title, 1), name, name))
    found.sort(key=lambda each: each[:3])
    names = joined([each[-1] for each in found])
    if by_sysmon != _NO_NAME:
        names += SEPARATOR + by_sysmon
    return Named(found[0][-2], names)


def _severity(level: str, title: str, kind: int) -> tuple[int, int, bytes]:
    return -LEVELS.index(level), kind, title.encode("utf-8", "surrogatepass")
