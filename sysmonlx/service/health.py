# SPDX-License-Identifier: MIT
"""Reports losses, errors and sampled floods by event 255."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable

from sysmonlx.capture.floods import Doer, Pair, Sampled
from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.budget import Budget
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.pipeline.losses import Echoes, LossLedger
from sysmonlx.schema.events import ERROR
from sysmonlx.service.loss_counters import Losing, LossCounters, Totals, event_names

#: Shortest time between two reports of unexpected errors, in seconds.
_ERROR_INTERVAL_S = 60.0
_PROCESS_RECORDS = ("process_fork", "process_create", "process_terminate")


class Health:
    """Looks once a second at what was lost and at what the work costs."""

    def __init__(
        self,
        capture: Capture,
        pipeline: Pipeline,
        output: Output,
        context: Context,
        *sources: Losing,
    ) -> None:
        self._capture = capture
        self._pipeline = pipeline
        self._context = context
        self._counters = LossCounters(capture, pipeline, output, *sources)
        self._ledger = LossLedger(time.time_ns())
        self._hashes = LossLedger(time.time_ns())
        self._seen_hashes: Totals = {}
        self._echoes = Echoes()
        self._lines_before: Totals | None = None
        self._looked_ns = time.time_ns()
        self._floods = capture.floods()
        self._budget = Budget()
        self._has_budget = False
        self._told_error_s = -_ERROR_INTERVAL_S
        output.note = pipeline.account.note
        self.peak_fill = 0.0
        """Largest share of the ring buffer in use since the last look, 0 to 1."""

    def check(self) -> bool:
        """Report what is new; say whether records of processes were lost."""
        fill, self.peak_fill = self.peak_fill, 0.0
        if self._budget.is_on:
            self._check_budget(fill)
        self._report_error()
        before_ns, self._looked_ns = self._looked_ns, time.time_ns()
        is_of_processes = self._check_losses(before_ns)
        self._report_hashes(before_ns)
        return is_of_processes

    def _check_losses(self, before_ns: int) -> bool:
        """Report new losses; `before_ns`: when it was looked last."""
        changed = self._counters.changed()
        if not changed and not self._echoes.is_due(time.monotonic()):
            self._ledger.nothing_new(before_ns)
            return False
        self._echoes.told(is_echo=not changed)
        return self._report_new(changed | self._counters.lines())

    def note_echo(self) -> None:
        """Take note of the lines that the last report has cost, to tell them later.

        To be called when the report has been written. `Echoes` says why.
        """
        before, self._lines_before = self._lines_before, None
        if before is None:
            return
        lines = self._counters.lines()
        lost = [loss for loss in lines if lines[loss] != before.get(loss, 0)]
        if lost:
            self._counters.know_lines(lines)
            self._ledger.put_off(lost, self._looked_ns)
            self._echoes.put_off(time.monotonic())

    def tell(self, findings: Iterable[tuple[str, str]]) -> None:
        """Report each finding, a pair of id and description, by one event 255."""
        for what, text in findings:
            self._report(what, text)

    def report_losses(self) -> bool:
        """Report all new losses; say whether records of processes are among them."""
        before_ns, self._looked_ns = self._looked_ns, time.time_ns()
        is_of_processes = self._report_new(self._counters.all())
        self._report_hashes(before_ns)
        return is_of_processes

    def _report_new(self, totals: Totals) -> bool:
        """Report what is new of these; say whether records of processes are of it."""
        names = {event_names(record) for record in _PROCESS_RECORDS}
        before = self._ledger.total(names)
        text = self._ledger.report(totals, time.time_ns(), self._context.utc_of_wall)
        if text:
            self._lines_before = self._counters.lines()
            self._report("LostEvents", text)
        return self._ledger.total(names) != before

    def _report_hashes(self, before_ns: int) -> None:
        """Report hashes that could not be had; `before_ns`: when it was looked last."""
        hashes = self._pipeline.hash_losses()
        if hashes == self._seen_hashes:
            self._hashes.nothing_new(before_ns)
            return
        self._seen_hashes = hashes
        text = self._hashes.report(hashes, time.time_ns(), self._context.utc_of_wall)
        if text:
            self._report("LostHashes", text)

    @property
    def lost(self) -> int:
        """How much was lost since the start, in all."""
        return self._ledger.total()

    def _report_error(self) -> None:
        """Say where an error came from for which something was lost, once a minute."""
        account, now_s = self._pipeline.account, time.monotonic()
        if account.trouble and now_s - self._told_error_s >= _ERROR_INTERVAL_S:
            self._told_error_s = now_s
            self._report("Error", account.trouble)
            account.trouble = ""

    def _check_budget(self, fill: float) -> None:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for each in self._budget.ended(now_ns):
            self._report_end(each)
        counts = self._floods.counts() if fill > self._floods.fill else {}
        sent = {pair: count for pair, (count, _) in counts.items()}
        for each in self._budget.begun(now_ns, self._wanted_records(), sent):
            each.title = self._title(each.pair, counts[each.pair][1])
            self._begin(each)

    def _wanted_records(self) -> int:
        """Return all records since the start that the kernel had reason to send."""
        counts = self._capture.counts().values()
        return sum(c.submitted + c.left_out + sum(c.lost) for c in counts)

    def _begin(self, each: Sampled) -> None:
        if not self._floods.sample(each):
            del self._budget.sampled[each.pair]
            return
        self._report(
            "Budget",
            f"{each.title}: 1 of {self._floods.keep_one_in} repeats reported for"
            f" {each.hold_s:.0f} s, while the ring buffer is nearly full",
        )

    def _title(self, pair: Pair, doer: Doer) -> str:
        """Return "FileCreate by /usr/bin/x of root"."""
        context = self._context
        process = context.find(doer.tgid, doer.start_boot_ns, doer.exec_id)
        image = process.image if process else UNKNOWN
        name = event_names(self._capture.layouts.name[pair.type])
        return f"{name} by {image} of {context.user(pair.uid)}"

    def use_budget(self, budget: int) -> None:
        """Sample floods from now on, or with 0 no more; all is reported again."""
        self._capture.set_variable("floods_watched", False)  # no number grows now
        self.end_budget()
        self._budget.is_on = budget > 0 and self._floods.is_there
        self._capture.set_variable("floods_watched", self._budget.is_on)
        self._has_budget = budget > 0

    def end_budget(self) -> None:
        """Report everything again, and how much was left out."""
        for each in self._budget.end_all():
            self._report_end(each)

    def remarks(self) -> list[str]:
        """Return what this kernel cannot do of all this, a line each."""
        if self._has_budget and not self._floods.is_there:
            return ["Budget has no effect (bpf_loop: this kernel has none)"]
        return []

    def _report_end(self, each: Sampled) -> None:
        left_out = self._floods.report_again(each.pair)
        self._report("Budget", f"{each.title}: all reported again; {left_out} left out")

    def _report(self, what: str, text: str) -> None:
        self._pipeline.report(ERROR.id, (self._pipeline.utc_now(), what, text))


def cpu_s() -> float:
    """Return the processor time that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
