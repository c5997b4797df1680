# SPDX-License-Identifier: MIT
"""The report of a self-test: a line for each event type, or JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.selftest.run import Result
from sysmonlx.selftest.verdict import Outcome, Verdict

#: An event type with several outcomes has the first of these that occurs among them.
_GRAVEST = (
    Verdict.WRONG,
    Verdict.NOT_SEEN,
    Verdict.NOT_TRIED,
    Verdict.SEEN,
    Verdict.OFF,
)


def as_text(result: Result, troubles: Sequence[str]) -> str:
    """Return the report for people.

    `troubles` are what keeps events from their destinations, a line each.
    """
    lines = [*_event_lines(result.outcomes)]
    lines += [f"{name} is off its hook" for name in result.off]
    lines += [f"trouble: {text}" for text in troubles]
    return "\n".join([*lines, "", _summary(result)]) + "\n"


def _event_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for event_id, group in groupby(outcomes, lambda each: each.event_id):
        found = [*group]
        verdict = verdict_of(found)
        head = f"{event_id:>3} {EVENT_BY_ID[event_id].title:<20} {verdict.value:<9}"
        yield f"{head} {_reason(found, verdict)}".rstrip()


def verdict_of(outcomes: Sequence[Outcome]) -> Verdict:
    """Return what became of an event type: the gravest of its outcomes."""
    verdicts = {each.verdict for each in outcomes}
    return next(each for each in _GRAVEST if each in verdicts)


def _reason(outcomes: Sequence[Outcome], verdict: Verdict) -> str:
    texts = []
    for each in outcomes:
        if each.verdict is verdict:
            why = "; ".join(each.why)
            texts.append(": ".join(filter(None, (each.way, why))))
    return ", ".join(dict.fromkeys(filter(None, texts)))


def _summary(result: Result) -> str:
    groups = groupby(result.outcomes, lambda each: each.event_id)
    counts = Counter(verdict_of([*group]) for _, group in groups)
    texts = [f"{counts[each]} {each.value}" for each in Verdict if counts[each]]
    return f"{', '.join(texts)}, in {result.duration_s:.1f} s."


def as_json(result: Result, troubles: Sequence[str]) -> str:
    """Return the report for programs: one object."""
    return json.dumps(
        {
            "ok": result.is_good and not troubles,
            "duration_s": round(result.duration_s, 3),
            "off_hooks": [*result.off],
            "troubles": [*troubles],
            "outcomes": [
                {
                    "event_id": each.event_id,
                    "event": EVENT_BY_ID[each.event_id].title,
                    "way": each.way,
                    "verdict": each.verdict.value,
                    "why": [*each.why],
                    "unchecked": sorted(each.unchecked),
                }
                for each in result.outcomes
            ],
        }
    )
