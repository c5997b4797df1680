# SPDX-License-Identifier: MIT
"""Correlations carried out the plain way, and streams of events made at random.

`completes` looks at every pair of events. It is the measure of the correlator.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from sysmonlx.rules.sigma.correlator import CorrelationForm, Deed, Link

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Process:
    """A process with its ancestors, nearest first; itself comes first."""

    names: tuple[str, ...]
    user: int = 0
    line: str = "-"
    path: str = "-"

    @property
    def guid(self) -> str:
        return "{" + self.names[0] + "}"

    @property
    def payer(self) -> Hashable:
        return self.user

    def lineage(self) -> str:
        return self.line

    def program(self, directory: str) -> str:
        return f"{directory} {self.path}" if directory != "-" else self.path

    def identities(self) -> Iterable[Hashable]:
        return iter(self.names)


@dataclass(frozen=True)
class Happening:
    """An event: when, who, the rules that are true of it, and its value to group by."""

    time_s: float
    process: Process
    rules: frozenset[int]
    value: str

    def deed(self) -> Deed:
        at = f"{self.time_s:09.3f}"
        return Deed([self.value], int(self.time_s * SECOND), at, self.process)

    def links(self, number: int = 0) -> list[Link]:
        return [Link(1 << each, number, each, (0,)) for each in sorted(self.rules)]


def form(
    steps: int, span_s: int, *, is_ordered: bool = True, has_ancestry: bool = False
) -> CorrelationForm:
    head = ("id", "title", "high", "sigma=title,level=high", "")
    meaning = (steps, span_s, int(is_ordered), int(has_ancestry))
    return CorrelationForm(
        head, is_ordered, steps, span_s * SECOND, has_ancestry, False, meaning
    )


def completes(
    of: CorrelationForm, events: Sequence[Happening]
) -> list[tuple[float, ...] | None]:
    """Return of each event the time of the latest start that it completes, or None.

    It is a tuple of one time.
    """
    starts: list[dict[int, float]] = []
    answers: list[tuple[float, ...] | None] = []
    for at, event in enumerate(events):
        found: dict[int, float] = {}
        ends = []
        for rule in event.rules:
            mine = _starts(
                of, rule, event, list(zip(events, starts, strict=False))[:at]
            )
            if not of.is_ordered:
                ends += mine
                found[rule] = event.time_s
            elif rule == 0:
                found[0] = event.time_s
            elif mine:
                found[rule] = max(mine)
                ends += mine if rule == of.steps - 1 else []
        starts.append(found)
        answers.append((max(ends),) if ends else None)
    return answers


def _starts(
    of: CorrelationForm,
    rule: int,
    event: Happening,
    before: Sequence[tuple[Happening, dict[int, float]]],
) -> list[float]:
    """Return the starts that an event of a rule can go on from, in time."""
    wanted = rule - 1 if of.is_ordered else 1 - rule
    return [
        start[wanted]
        for other, start in before
        if wanted in start
        and other.value == event.value != "-"
        and (event.time_s - start[wanted]) * SECOND <= of.span_ns
        and (not of.has_ancestry or other.process.names[0] in event.process.names)
    ]


def random_stream(random: Random, rules: int, count: int) -> list[Happening]:
    """Return events in order; some at one time, some of several rules."""
    processes = [Process((f"{each}",)) for each in range(3)]
    events, now_s = [], 0.0
    for number in range(count):
        now_s += random.choice((0, 0, 1, 1, 2, 7))
        if random.random() < 0.1:
            parent = random.choice(processes)
            processes.append(Process((f"c{number}", *parent.names)))
        events.append(
            Happening(
                now_s,
                random.choice(processes[-4:]),
                frozenset(each for each in range(rules) if random.random() < 0.5),
                random.choice("aab-"),
            )
        )
    return events
