# SPDX-License-Identifier: MIT
"""Collects what the kernel, the pipeline and the sinks have counted."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.aside import Aside
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.books import RECORD_OF, by_event, gaps
from sysmonlx.pipeline.flow import Held, Pipeline
from sysmonlx.processes.table import ProcessTable
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.service.census import Census
from sysmonlx.service.guard import Guard
from sysmonlx.service.health import Health, cpu_s
from sysmonlx.service.snapshot import (
    EventTerms,
    LineTerms,
    ProgramTimes,
    RecordTerms,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The parts of a daemon that count something."""

    capture: Capture
    filter: KernelFilter
    processes: ProcessTable
    census: Census
    aside: Aside
    hasher: Hasher[Held]
    output: Output
    pipeline: Pipeline
    health: Health
    guard: Guard
    started_s: float = field(default_factory=time.time)

    def collect(self, troubles: Sequence[str]) -> Snapshot:
        """Return all counters; `troubles` are texts that belong to the sinks.

        The counters of this process are of one moment, because `collect` is called
        between two batches of records. The kernel's counters are read after them: each
        record that is counted as received is then counted as submitted, too.
        """
        events, lines = self._events(), self._lines()
        records = self._records()
        snapshot: Snapshot = {
            "uptime_s": round(time.time() - self.started_s, 3),
            "cpu_s": round(cpu_s(), 3),
            "rss_bytes": rss_bytes(),
            "records": records,
            "events": events,
            "bad_records": self.pipeline.bad,
            "waiting_for_hash": self.pipeline.held,
            "hashes": dict(self.hasher.counts),
            "unknown_values": self._unknown_values(),
            "threads_aside": self.aside.threads(),
            "left_out": sum(each["left_out"] for each in records.values()),
            "shortened": self.capture.variable("args_shortened"),
            "shortened_paths": self.capture.variable("paths_shortened"),
            "processes": len(self.processes),
            "ring_fill": round(self.capture.ring.fill(), 4),
            "spooled_bytes": self.output.spooled_bytes(),
            "lines": lines,
            "sinks": {"lost": self.output.losses(), "trouble": [*troubles]},
            "programs": self._programs(),
            "attached": sorted(self.capture.attached()),
            "put_right": dict(self.guard.counts),
            "missing": [
                *map(str, self.capture.missing),
                *self.guard.missing(),
                *self.health.remarks(),
            ],
            "gaps": [],
        }
        snapshot["gaps"] = gaps(snapshot)
        return snapshot

    def _unknown_values(self) -> dict[str, int]:
        return {
            f"{what}: {why}": count
            for source in (self.aside, self.census)
            for (what, why), count in source.losses().items()
            if count
        }

    def _programs(self) -> dict[str, ProgramTimes]:
        return {
            name: {"run_time_ns": time_ns, "runs": runs, "missed": misses}
            for name, (time_ns, runs, misses) in sorted(
                self.capture.program_times().items()
            )
        }

    def _records(self) -> dict[str, RecordTerms]:
        received = self.pipeline.received
        lost_here = self.pipeline.account.lost_records
        found: dict[str, RecordTerms] = {}
        for name, counts in self.capture.counts().items():
            if not counts.seen and name not in BUILDERS:
                continue
            lost = zip(self.capture.layouts.reasons, counts.lost, strict=True)
            fates = counts.filtered + counts.left_out + counts.submitted
            found[name] = {
                "seen": counts.seen,
                "filtered_in_kernel": counts.filtered,
                "left_out": counts.left_out,
                "submitted": counts.submitted,
                "lost": {reason: count for reason, count in lost if count},
                "under_way": counts.seen - fates - sum(counts.lost),
                "received": received[name],
                "in_ring": counts.submitted - received[name],
                "lost_here": {
                    why: count
                    for (what, why), count in lost_here.items()
                    if what == name
                },
            }
        return found

    def _events(self) -> dict[str, EventTerms]:
        account, emitted = self.pipeline.account, self.output.emitted()
        found: dict[str, EventTerms] = {}
        for event_id in sorted({*emitted, *RECORD_OF, *self.filter.wanted()}):
            event = EVENT_BY_ID[event_id]
            found[str(event_id)] = {
                "name": event.tag or event.template,
                "emitted": emitted[event_id],
                "filtered": account.filtered[event_id],
                "filtered_in": self.filter.place(event_id),
            }
        self._add_record_terms(found)
        return found

    def _add_record_terms(self, found: Mapping[str, EventTerms]) -> None:
        """Add the terms of events that are made of records."""
        account, waiting = self.pipeline.account, self.pipeline.waiting()
        received = account.received_by_name()
        no_event, lost = by_event(account.without_event()), by_event(account.lost)
        for event_id, record in RECORD_OF.items():
            each = found[str(event_id)]
            each["record"] = record
            each["received"] = received[record]
            each["waiting"] = waiting[event_id]
            each["no_event"] = no_event.get(event_id, {})
            each["lost"] = lost.get(event_id, {})

    def _lines(self) -> LineTerms:
        output = self.output
        return {
            "due": output.due,
            "delivered": output.delivered(),
            "spooled": output.spooled(),
            "lost": output.losses(),
        }


def rss_bytes() -> int:
    """Return this process's resident memory in bytes, proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
