# SPDX-License-Identifier: MIT
"""Counters of the running daemon: for -stats, as JSON, as Prometheus text."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.pipeline.books import RECORD_OF, by_event, gaps
from sysmonlx.schema.events import ERROR, EVENT_BY_ID
from sysmonlx.service.health import cpu_s
from sysmonlx.service.metrics import MetricsFile

if TYPE_CHECKING:
    from sysmonlx.service.daemon import Daemon

#: Plain data; `books` says how its numbers add up, the manual what each of them is.
Snapshot = dict[str, Any]

#: Counters that the report shows as they are.
_PLAIN = (
    *("waiting_for_hash", "bad_records", "left_out", "shortened"),
    "shortened_paths",
    *("spooled_bytes", "ring_fill"),
)
#: Terms that are single numbers, in the order in which they are shown.
_KERNEL_TERMS = ("seen", "filtered_in_kernel", "left_out", "submitted", "received")
#: So long the removal of the metrics may take, in seconds, before it is given up.
_REMOVAL_S = 0.5
_EVENT_TERMS = ("received", "emitted", "filtered", "waiting")


class Statistics:
    """Collects what the kernel, the pipeline and the sinks have counted."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._started_s = time.time()
        self._metrics = MetricsFile()
        self._told = ""

    def collect(self) -> Snapshot:
        """Return all counters, as plain data.

        Those of this side are of one moment, for it is asked between two batches; the
        kernel's are read after them, so that what was received was also submitted.
        """
        daemon = self._daemon
        events, lines = self._events(), self._lines()
        records = self._records()
        snapshot = {
            "uptime_s": round(time.time() - self._started_s, 3),
            "cpu_s": round(cpu_s(), 3),
            "rss_bytes": rss_bytes(),
            "records": records,
            "events": events,
            "bad_records": daemon.pipeline.bad,
            "waiting_for_hash": daemon.pipeline.held,
            "hashes": dict(daemon.hasher.counts),
            "unknown_values": {
                f"{what}: {why}": count
                for source in (daemon.aside, daemon.census)
                for (what, why), count in source.losses().items()
                if count
            },
            "threads_aside": daemon.aside.threads(),
            "left_out": sum(each["left_out"] for each in records.values()),
            "shortened": daemon.capture.variable("args_shortened"),
            "shortened_paths": daemon.capture.variable("paths_shortened"),
            "processes": len(daemon.processes),
            "ring_fill": round(daemon.capture.ring.fill(), 4),
            "spooled_bytes": daemon.output.spooled_bytes(),
            "lines": lines,
            "sinks": {
                "lost": daemon.output.losses(),
                "trouble": self.troubles(),
            },
            "programs": {
                name: {"run_time_ns": time_ns, "runs": runs, "missed": misses}
                for name, (time_ns, runs, misses) in sorted(
                    daemon.capture.program_times().items()
                )
            },
            "attached": sorted(daemon.capture.attached()),
            "put_right": dict(daemon.guard.counts),
            "missing": [
                *map(str, daemon.capture.missing),
                *daemon.guard.missing(),
                *daemon.health.remarks(),
            ],
        }
        snapshot["gaps"] = gaps(snapshot)
        return snapshot

    def _records(self) -> dict[str, Any]:
        daemon = self._daemon
        received = daemon.pipeline.received
        lost_here = daemon.pipeline.account.lost_records
        found = {}
        for name, counts in daemon.capture.counts().items():
            if not counts.seen and name not in BUILDERS:
                continue
            lost = zip(daemon.capture.layouts.reasons, counts.lost, strict=True)
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

    def _events(self) -> dict[str, Any]:
        daemon = self._daemon
        account, emitted = daemon.pipeline.account, daemon.output.emitted()
        received, waiting = account.received_by_name(), daemon.pipeline.waiting()
        no_event, lost = by_event(account.without_event()), by_event(account.lost)
        found: dict[str, Any] = {}
        for event_id in sorted({*emitted, *RECORD_OF, *daemon.filter.wanted()}):
            event = EVENT_BY_ID[event_id]
            found[str(event_id)] = {
                "name": event.tag or event.template,
                "emitted": emitted[event_id],
                "filtered": account.filtered[event_id],
                "filtered_in": daemon.filter.place(event_id),
            }
            if record := RECORD_OF.get(event_id):
                found[str(event_id)] |= {
                    "record": record,
                    "received": received[record],
                    "waiting": waiting[event_id],
                    "no_event": no_event.get(event_id, {}),
                    "lost": lost.get(event_id, {}),
                }
        return found

    def _lines(self) -> dict[str, Any]:
        output = self._daemon.output
        return {
            "due": output.due,
            "delivered": output.delivered(),
            "spooled": output.spooled(),
            "lost": output.losses(),
        }

    def write_metrics(self) -> None:
        """Write the Prometheus text file where the configuration asks for one."""
        path = self._daemon.policy.settings.metrics_file
        if not path:
            self._metrics.end()
            return
        self._metrics.write(path, prometheus(self.collect()).encode())
        self._tell(self._metrics.trouble)

    def close(self) -> None:
        """Remove the metrics: what ends counts no more."""
        self._metrics.end(_REMOVAL_S)

    def _tell(self, trouble: str) -> None:
        """Report by an event why there are no metrics; the same reason only once."""
        if trouble in ("", self._told):
            return
        self._told = trouble
        pipeline = self._daemon.pipeline
        pipeline.report(ERROR.id, (pipeline.utc_now(), "MetricsFile", trouble))

    def troubles(self) -> list[str]:
        """Return why sinks and the metrics are not written at present, and the like."""
        daemon = self._daemon
        others = (daemon.refused, self._metrics.trouble, daemon.keeper.trouble())
        return [*daemon.output.troubles(), *filter(None, others)]


def rss_bytes() -> int:
    """Return this process's resident memory, proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def prometheus(snapshot: Mapping[str, Any]) -> str:
    """Return the counters as text for node_exporter's textfile collector."""
    lines = []
    for name in ("cpu_s", "rss_bytes", "processes", "ring_fill", "spooled_bytes"):
        lines.append(f"sysmonlx_{name} {snapshot[name]}")
    lines.append(f"sysmonlx_gaps {len(snapshot['gaps'])}")
    for record, counts in snapshot["records"].items():
        label = f'record="{record}"'
        for kind in (*_KERNEL_TERMS, "under_way", "in_ring"):
            lines.append(f'sysmonlx_records{{{label},state="{kind}"}} {counts[kind]}')
        lines += _by_reason("sysmonlx_lost", label, counts["lost"])
        lines += _by_reason("sysmonlx_lost_here", label, counts["lost_here"])
    for event_id, counts in snapshot["events"].items():
        label = f'event="{event_id}"'
        for kind in _EVENT_TERMS:
            if kind in counts:
                lines.append(
                    f'sysmonlx_events{{{label},state="{kind}"}} {counts[kind]}'
                )
        lines += _by_reason("sysmonlx_no_event", label, counts.get("no_event", {}))
        lines += _by_reason("sysmonlx_events_lost", label, counts.get("lost", {}))
    account = snapshot["lines"]
    for kind in ("due", "delivered", "spooled"):
        lines.append(f'sysmonlx_lines{{state="{kind}"}} {account[kind]}')
    lines += _by_reason("sysmonlx_lines_lost", "", account["lost"])
    return "\n".join(lines) + "\n"


def _by_reason(name: str, label: str, counts: Mapping[str, int]) -> Iterator[str]:
    before = f"{label}," if label else ""
    for reason, count in counts.items():
        yield f'{name}{{{before}reason="{reason}"}} {count}'


def report(snapshot: Mapping[str, Any]) -> str:
    """Return the counters as a table for a person."""
    lines = [
        f"up {snapshot['uptime_s']:.0f} s, CPU {snapshot['cpu_s']:.2f} s, "
        f"memory {snapshot['rss_bytes'] / (1 << 20):.1f} MiB, "
        f"{snapshot['processes']} processes known",
        *_record_lines(snapshot["records"]),
        *_event_lines(snapshot["events"]),
    ]
    account = snapshot["lines"]
    lines.append(
        f"lines for sinks: {account['due']} due, {account['delivered']} delivered,"
        f" {account['spooled']} waiting" + _why(", lost: ", account["lost"])
    )
    lines += [f"{name}: {snapshot[name]}" for name in _PLAIN]
    hashes = ", ".join(f"{why} {n}" for why, n in snapshot["hashes"].items())
    lines += [f"hashes: {hashes}"] if hashes else []
    put_right = ", ".join(f"{what} {n}" for what, n in snapshot["put_right"].items())
    lines += [f"put right: {put_right}"] if put_right else []
    unknown = snapshot["unknown_values"].items()
    lines += [f"unknown values: {what} {n}" for what, n in unknown]
    lines += [f"trouble: {each}" for each in snapshot["sinks"]["trouble"]]
    lines += [f"missing: {each}" for each in snapshot["missing"]]
    lines += [f"THE COUNTERS DO NOT ADD UP: {each}" for each in snapshot["gaps"]]
    return "\n".join(lines) + "\n"


def _record_lines(records: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{'record':<20}{'seen':>11}{'discarded':>11}{'left out':>11}"
        f"{'submitted':>11}{'lost':>9}{'received':>11}"
    )
    for name, counts in records.items():
        lost = sum(counts["lost"].values())
        yield (
            f"{name:<20}{counts['seen']:>11}{counts['filtered_in_kernel']:>11}"
            f"{counts['left_out']:>11}{counts['submitted']:>11}{lost:>9}"
            f"{counts['received']:>11}"
        )
        for title, reasons in (("lost", "lost"), ("lost here", "lost_here")):
            if counts[reasons]:
                yield _why(f"    {title}: ", counts[reasons])


def _event_lines(events: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{'event':<25}{'received':>11}{'emitted':>11}{'filtered':>11}"
        f"{'waiting':>9}{'no event':>11}{'lost':>7}  filtered in"
    )
    for event_id, counts in events.items():
        none, lost = counts.get("no_event", {}), counts.get("lost", {})
        yield (
            f"{event_id:>3} {counts['name'][:20]:<21}{counts.get('received', '-'):>11}"
            f"{counts['emitted']:>11}{counts['filtered']:>11}"
            f"{counts.get('waiting', 0):>9}{sum(none.values()):>11}"
            f"{sum(lost.values()):>7}  {counts['filtered_in']}"
        )
        for title, reasons in (("no event", none), ("lost", lost)):
            if reasons:
                yield _why(f"    {title}: ", reasons)


def _why(title: str, counts: Mapping[str, int]) -> str:
    """Return the title and how often each reason was one; nothing where none was."""
    text = ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)
    return f"{title}{text}" if text else ""
