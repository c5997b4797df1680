# SPDX-License-Identifier: MIT
"""All counters of losses. Those of a kind are read when more of it was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.account import UNKNOWN_RECORD
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.pipeline.losses import Loss
from sysmonlx.schema.events import EVENT_BY_ID

Totals = Mapping[Loss, int]
"""What was lost since the start, by what and why."""


class Losing(Protocol):
    """A part that counts what it could not find out."""

    def losses(self) -> Totals:
        """Return what was lost since the start, by what and why."""
        ...


class LossCounters:
    """Counts what was lost, by kind: records, programs, events, lines, values."""

    def __init__(
        self,
        capture: Capture,
        pipeline: Pipeline,
        output: Output,
        *sources: Losing,
    ) -> None:
        self._capture = capture
        self._pipeline = pipeline
        self._output = output
        account = pipeline.account
        #: A sign for each kind, and what counts it. A sign is another one as soon as
        #: more was lost, and to compare all of them takes a tenth of the time that
        #: reading each counter takes. Misses of programs show one look later: `Guard`
        #: reads them in every second look.
        self._kinds: list[tuple[Callable[[], object], Callable[[], Totals]]] = [
            (self.lines, self.lines),
            (lambda: capture.losses(), self._records),
            (lambda: capture.misses.copy(), self._misses),
            (
                lambda: (account.lost.total(), account.lost_records.total()),
                self._handled,
            ),
            *((source.losses, source.losses) for source in sources),
        ]
        self._signs: list[object] = [None] * len(self._kinds)

    def changed(self) -> dict[Loss, int]:
        """Return all counts of the kinds of which more was lost since the last call."""
        before, self._signs = self._signs, [sign() for sign, _ in self._kinds]
        return _together(
            count
            for (_, count), new, old in zip(
                self._kinds, self._signs, before, strict=True
            )
            if new != old
        )

    def all(self) -> dict[Loss, int]:
        """Return everything lost since the start, by what and why."""
        return _together(count for _, count in self._kinds)

    def lines(self) -> dict[Loss, int]:
        """Return the lines that sinks have lost."""
        losses = self._output.losses().items()
        return {("Events", f"sink: {why}"): count for why, count in losses}

    def know_lines(self, lines: Totals) -> None:
        """Let these losses of lines be none that has changed."""
        self._signs[0] = lines

    def _records(self) -> dict[Loss, int]:
        totals: dict[Loss, int] = {}
        reasons = self._capture.layouts.reasons
        for record, counts in self._capture.counts().items():
            for reason, count in zip(reasons, counts.lost, strict=True):
                _add(totals, (event_names(record), reason), count)
        return totals

    def _misses(self) -> dict[Loss, int]:
        programs = self._capture.program_times().items()
        return {(name, "missed"): misses for name, (_, _, misses) in programs}

    def _handled(self) -> dict[Loss, int]:
        """Return the events and records that were lost on this side of the ring."""
        account, totals = self._pipeline.account, dict[Loss, int]()
        for (event_id, reason), count in account.lost.items():
            _add(totals, (EVENT_BY_ID[event_id].tag or "Events", reason), count)
        for (record, reason), count in account.lost_records.items():
            what = "Records" if record == UNKNOWN_RECORD else event_names(record)
            _add(totals, (what, reason), count)
        return totals


def event_names(record: str) -> str:
    """Return the Sysmon name of what a record makes: "ProcessCreate"."""
    tags = [EVENT_BY_ID[event_id].tag for event_id, _ in BUILDERS.get(record, ())]
    known = [tag for tag in tags if tag]
    return "/".join(known) or record.title().replace("_", "")


def _add(totals: dict[Loss, int], loss: Loss, count: int) -> None:
    """Add to a count: several records, and several events, have one name."""
    totals[loss] = totals.get(loss, 0) + count


def _together(counts: Iterable[Callable[[], Totals]]) -> dict[Loss, int]:
    return {loss: count for each in counts for loss, count in each().items()}
