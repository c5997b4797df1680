# SPDX-License-Identifier: MIT
"""What the daemon says of itself: losses and the budget, by event 255."""

from __future__ import annotations

import resource
import time

from sysmonlx.budget import KEEP_ONE_IN, Sampled
from sysmonlx.builders import BUILDERS
from sysmonlx.capture import Capture
from sysmonlx.catalogue import ERROR, EVENT_BY_ID
from sysmonlx.enrich import Context
from sysmonlx.losses import Loss, LossLedger
from sysmonlx.output import Output
from sysmonlx.pipeline import Pipeline

_PROCESS_RECORDS = ("process_fork", "process_create", "process_terminate")


class Health:
    """Looks once a second at what was lost and at what the work costs."""

    def __init__(
        self, capture: Capture, pipeline: Pipeline, output: Output, context: Context
    ) -> None:
        self._capture = capture
        self._pipeline = pipeline
        self._output = output
        self._context = context
        self._ledger = LossLedger(time.time_ns())
        self._process_losses = 0
        self.peak_fill = 0.0
        """How full the ring was found at most since the last look, 0 to 1."""

    def check(self) -> bool:
        """Report what is new; say whether records of processes were lost."""
        self._check_budget()
        return self.report_losses()

    def report_losses(self) -> bool:
        """Report new losses; say whether records of processes are among them."""
        totals = self.losses()
        text = self._ledger.report(totals, time.time_ns(), self._context.utc_of_wall)
        if text:
            self._report("LostEvents", text)
        names = {event_names(record) for record in _PROCESS_RECORDS}
        lost = sum(count for (what, _), count in totals.items() if what in names)
        is_new = lost != self._process_losses
        self._process_losses = lost
        return is_new

    def losses(self) -> dict[Loss, int]:
        """Return everything lost since the start, by what and why."""
        totals: dict[Loss, int] = {}
        reasons = self._capture.layouts.reasons
        for record, counts in self._capture.counts().items():
            for reason, count in zip(reasons, counts.lost, strict=True):
                totals[event_names(record), reason] = count
        for program, (_, _, misses) in self._capture.program_times().items():
            totals[program, "missed"] = misses
        totals["Records", "bad record"] = self._pipeline.bad
        for reason, count in self._output.losses().items():
            totals["Events", f"sink: {reason}"] = count
        return totals

    @property
    def lost(self) -> int:
        """How much was lost since the start, in all."""
        return self._ledger.total()

    def _check_budget(self) -> None:
        fill, self.peak_fill = self.peak_fill, 0.0
        verdict = self._pipeline.budget.check(time.monotonic(), cpu_s(), fill)
        for each in verdict.ended:
            self._report_end(each)
        for each in verdict.begun:
            self._report(
                "Budget",
                f"{_pair_text(each)}: 1 of {KEEP_ONE_IN} reported for "
                f"{each.hold_s:.0f} s: {verdict.reason}",
            )

    def end_budget(self, percent: int) -> None:
        """Report everything again; from now on this is the limit."""
        for each in self._pipeline.budget.end_all():
            self._report_end(each)
        self._pipeline.budget.percent = percent

    def _report_end(self, each: Sampled) -> None:
        self._report(
            "Budget", f"{_pair_text(each)}: all reported again; {each.dropped} left out"
        )

    def _report(self, what: str, text: str) -> None:
        self._pipeline.report(ERROR.id, (self._pipeline.utc_now(), what, text))


def _pair_text(sampled: Sampled) -> str:
    event_id, image = sampled.pair
    return f"{EVENT_BY_ID[event_id].tag} by {image}"


def event_names(record: str) -> str:
    """Return the Sysmon name of what a record makes: "ProcessCreate"."""
    tags = [EVENT_BY_ID[event_id].tag for event_id, _ in BUILDERS.get(record, ())]
    known = [tag for tag in tags if tag]
    return "/".join(known) or record.title().replace("_", "")


def cpu_s() -> float:
    """Return the processor time that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
