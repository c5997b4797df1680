# SPDX-License-Identifier: MIT
"""Reports losses, errors and sampled floods by event 255."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from sysmonlx.capture.floods import Doer, Pair, Sampled
from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.account import UNKNOWN_RECORD
from sysmonlx.pipeline.budget import Budget
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.pipeline.losses import Loss, LossLedger
from sysmonlx.schema.events import ERROR, EVENT_BY_ID

#: Shortest time between two reports of unexpected errors, in seconds.
_ERROR_INTERVAL_S = 60.0
_PROCESS_RECORDS = ("process_fork", "process_create", "process_terminate")


class Losing(Protocol):
    """A part that counts what it could not find out."""

    def losses(self) -> Mapping[Loss, int]:
        """Return what was lost since the start, by what and why."""
        ...


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
        self._output = output
        self._context = context
        self._sources = sources
        self._ledger = LossLedger(time.time_ns())
        self._hashes = LossLedger(time.time_ns())
        self._process_losses = 0
        self._seen: object = None
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
        seen = self._signs()
        if seen == self._seen:
            before_ns, self._looked_ns = self._looked_ns, time.time_ns()
            self._ledger.nothing_new(before_ns)
            self._hashes.nothing_new(before_ns)
            return False
        self._seen = seen
        return self.report_losses()

    def _signs(self) -> object:
        """Return values that differ from those before as soon as more was lost.

        Comparing them takes a tenth of the time that reading each counter takes. Misses
        of programs show one look later: `Guard` reads them in every second look.
        """
        capture, pipeline = self._capture, self._pipeline
        account = pipeline.account
        return (
            capture.losses(),
            capture.misses.copy(),
            account.lost.total(),
            account.lost_records.total(),
            self._output.losses(),
            pipeline.hash_losses(),
            [source.losses() for source in self._sources],
        )

    def tell(self, findings: Iterable[tuple[str, str]]) -> None:
        """Report each finding, a pair of id and description, by one event 255."""
        for what, text in findings:
            self._report(what, text)

    def report_losses(self) -> bool:
        """Report new losses; say whether records of processes are among them."""
        self._looked_ns = time.time_ns()
        totals = self.losses()
        text = self._ledger.report(totals, time.time_ns(), self._context.utc_of_wall)
        if text:
            self._report("LostEvents", text)
        hashes = self._pipeline.hash_losses()
        text = self._hashes.report(hashes, time.time_ns(), self._context.utc_of_wall)
        if text:
            self._report("LostHashes", text)
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
        account = self._pipeline.account
        for (event_id, reason), count in account.lost.items():
            totals[EVENT_BY_ID[event_id].tag or "Events", reason] = count
        for (record, reason), count in account.lost_records.items():
            what = "Records" if record == UNKNOWN_RECORD else event_names(record)
            totals[what, reason] = totals.get((what, reason), 0) + count
        for reason, count in self._output.losses().items():
            totals["Events", f"sink: {reason}"] = count
        for source in self._sources:
            totals.update(source.losses())
        return totals

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


def event_names(record: str) -> str:
    """Return the Sysmon name of what a record makes: "ProcessCreate"."""
    tags = [EVENT_BY_ID[event_id].tag for event_id, _ in BUILDERS.get(record, ())]
    known = [tag for tag in tags if tag]
    return "/".join(known) or record.title().replace("_", "")


def cpu_s() -> float:
    """Return the processor time that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
