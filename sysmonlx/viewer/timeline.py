# SPDX-License-Identifier: MIT
"""How many events when: a row for each second, minute or hour, whatever is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeVar

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.moments import seconds_of
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.select import moment_of
from sysmonlx.viewer.terminal import word
from sysmonlx.viewer.what import short_rule

_K = TypeVar("_K")

#: Steps in seconds; each is a multiple of the one before.
_STEPS_S = (1, 10, 60, 600, 3600, 86400)
_ROWS = 60
_BAR = 20
#: Rules that a row names, those with most hits.
_NAMED = 5
#: Different names of rules that are kept; the others are counted together.
_RULES = 1000


class Timeline:
    """Numbers of events in steps of time of one length.

    The length grows with the time that the events take, up to the longest one.
    """

    def __init__(self) -> None:
        self._step_s = _STEPS_S[0]
        self._events: dict[int, Counter[int]] = {}
        self._rules: dict[int, Counter[str]] = {}
        self._names: set[str] = set()
        self._without_time = 0

    def add(self, event: EventLine) -> None:
        """Count an event."""
        seconds = seconds_of(text_of(event, "UtcTime") or moment_of(event))
        if seconds is None:
            self._without_time += 1
            return
        at = int(seconds) // self._step_s
        self._events.setdefault(at, Counter())[event.event_id] += 1
        if rule := text_of(event, "RuleName"):
            self._rules.setdefault(at, Counter())[self._name(rule)] += 1
        while len(self._events) > _ROWS and self._step_s != _STEPS_S[-1]:
            self._grow()

    def _name(self, rule: str) -> str:
        if len(self._names) >= _RULES and rule not in self._names:
            return "other rules"
        self._names.add(rule)
        return rule

    def _grow(self) -> None:
        step_s = _STEPS_S[_STEPS_S.index(self._step_s) + 1]
        factor = step_s // self._step_s
        self._step_s = step_s
        self._events = _merged(self._events, factor)
        self._rules = _merged(self._rules, factor)

    def lines(self) -> Iterator[str]:
        """Yield the rows."""
        most = max((each.total() for each in self._events.values()), default=0)
        day, before = "", None
        for at in sorted(self._events):
            when = _text(at * self._step_s)
            if when[:10] != day and self._step_s < _STEPS_S[-1]:
                day = when[:10]
                yield f"-- {day} --"
            elif before is not None and at > before + 1:
                yield "..."
            before = at
            yield self._row(at, when, most)
        if self._without_time:
            yield f"{self._without_time} events without a time"

    def _row(self, at: int, when: str, most: int) -> str:
        events = self._events[at]
        total = events.total()
        bar = "#" * max(1, round(_BAR * total / most))
        kinds = " ".join(
            f"{EVENT_BY_ID[number].title}={count}"
            for number, count in events.most_common()
        )
        text = f"{self._clock(when)} {bar:<{_BAR}} {total:>9,}  {kinds}"
        rules = self._rules.get(at, Counter[str]()).most_common()
        if rules:
            names = [f"{n} {word(short_rule(name))}" for name, n in rules[:_NAMED]]
            if len(rules) > _NAMED:
                names.append(f"{len(rules) - _NAMED} more rules")
            text += f"  ! {', '.join(names)}"
        return text

    def _clock(self, when: str) -> str:
        if self._step_s == _STEPS_S[-1]:
            return when[:10]
        return when[11:19] if self._step_s < 60 else when[11:16]


def _merged(counts: dict[int, Counter[_K]], factor: int) -> dict[int, Counter[_K]]:
    merged: dict[int, Counter[_K]] = {}
    for at, counter in counts.items():
        merged.setdefault(at // factor, Counter()).update(counter)
    return merged


def _text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
