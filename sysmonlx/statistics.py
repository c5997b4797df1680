# SPDX-License-Identifier: MIT
"""Counters of the running daemon: for -stats, as JSON, as Prometheus text."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sysmonlx.builders import BUILDERS
from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.health import cpu_s

if TYPE_CHECKING:
    from sysmonlx.daemon import Daemon

#: {record: {seen, filtered, submitted, lost: {reason: n}, received}} and more.
Snapshot = dict[str, Any]


#: Counters that the report shows as they are.
_PLAIN = ("waiting_for_hash", "bad_records", "left_out", "spooled_bytes", "ring_fill")


class Statistics:
    """Collects what the kernel, the pipeline and the sinks have counted."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._started_s = time.time()

    def collect(self) -> Snapshot:
        """Return all counters, as plain data."""
        daemon = self._daemon
        return {
            "uptime_s": round(time.time() - self._started_s, 3),
            "cpu_s": round(cpu_s(), 3),
            "rss_bytes": rss_bytes(),
            "records": self._records(),
            "events": self._events(),
            "bad_records": daemon.pipeline.bad,
            "waiting_for_hash": daemon.pipeline.held,
            "hashes": dict(daemon.hasher.counts),
            "left_out": daemon.pipeline.budget.dropped,
            "processes": len(daemon.processes),
            "ring_fill": round(daemon.capture.ring.fill(), 4),
            "spooled_bytes": daemon.output.spooled_bytes(),
            "sinks": {
                "lost": daemon.output.losses(),
                "trouble": daemon.output.troubles(),
            },
            "programs": {
                name: {"run_time_ns": time_ns, "runs": runs, "missed": misses}
                for name, (time_ns, runs, misses) in sorted(
                    daemon.capture.program_times().items()
                )
            },
            "attached": sorted(daemon.capture.attached()),
            "missing": [str(each) for each in daemon.capture.missing],
        }

    def _records(self) -> dict[str, Any]:
        daemon = self._daemon
        reasons = daemon.capture.layouts.reasons
        return {
            name: {
                "seen": counts.seen,
                "filtered_in_kernel": counts.filtered,
                "submitted": counts.submitted,
                "lost": {
                    reason: count
                    for reason, count in zip(reasons, counts.lost, strict=True)
                    if count
                },
                "received": daemon.pipeline.received[name],
            }
            for name, counts in daemon.capture.counts().items()
            if counts.seen or name in BUILDERS
        }

    def _events(self) -> dict[str, Any]:
        daemon = self._daemon
        ids = sorted(
            {*daemon.output.counts, *daemon.pipeline.filtered, *daemon.filter.wanted()}
        )
        return {
            str(event_id): {
                "name": EVENT_BY_ID[event_id].tag or EVENT_BY_ID[event_id].template,
                "emitted": daemon.output.counts.get(event_id, 0),
                "filtered": daemon.pipeline.filtered[event_id],
                "filtered_in": daemon.filter.place(event_id),
            }
            for event_id in ids
        }

    def write_metrics(self) -> None:
        """Write the Prometheus text file where the configuration asks for one."""
        path = self._daemon.policy.settings.metrics_file
        if not path:
            return
        with contextlib.suppress(OSError):
            temporary = f"{path}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(prometheus(self.collect()))
            os.replace(temporary, path)


def rss_bytes() -> int:
    """Return this process's resident memory, proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def prometheus(snapshot: Mapping[str, Any]) -> str:
    """Return the counters as text for node_exporter's textfile collector."""
    lines = []
    for name in ("cpu_s", "rss_bytes", "processes", "ring_fill", "spooled_bytes"):
        lines.append(f"sysmonlx_{name} {snapshot[name]}")
    for record, counts in snapshot["records"].items():
        for kind in ("seen", "filtered_in_kernel", "submitted", "received"):
            lines.append(
                f'sysmonlx_records{{record="{record}",state="{kind}"}} {counts[kind]}'
            )
        for reason, count in counts["lost"].items():
            lines.append(
                f'sysmonlx_records_lost{{record="{record}",reason="{reason}"}} {count}'
            )
    for event_id, counts in snapshot["events"].items():
        for kind in ("emitted", "filtered"):
            lines.append(
                f'sysmonlx_events{{event="{event_id}",state="{kind}"}} {counts[kind]}'
            )
    return "\n".join(lines) + "\n"


def report(snapshot: Mapping[str, Any]) -> str:
    """Return the counters as a table for a person."""
    lines = [
        f"up {snapshot['uptime_s']:.0f} s, CPU {snapshot['cpu_s']:.2f} s, "
        f"memory {snapshot['rss_bytes'] / (1 << 20):.1f} MiB, "
        f"{snapshot['processes']} processes known",
        f"{'record':<24}{'seen':>12}{'discarded':>12}{'submitted':>12}{'lost':>10}",
    ]
    for name, counts in snapshot["records"].items():
        lost = sum(counts["lost"].values())
        lines.append(
            f"{name:<24}{counts['seen']:>12}{counts['filtered_in_kernel']:>12}"
            f"{counts['submitted']:>12}{lost:>10}"
        )
        why = ", ".join(f"{reason} {n}" for reason, n in counts["lost"].items())
        lines += [f"    lost: {why}"] if why else []
    lines.append(f"{'event':<36}{'emitted':>12}{'filtered':>12}  filtered in")
    for event_id, counts in snapshot["events"].items():
        lines.append(
            f"{event_id:>3} {counts['name']:<32}{counts['emitted']:>12}"
            f"{counts['filtered']:>12}  {counts['filtered_in']}"
        )
    for name in (
        "waiting_for_hash",
        "bad_records",
        "left_out",
        "spooled_bytes",
        "ring_fill",
    ):
        lines.append(f"{name}: {snapshot[name]}")
    hashes = ", ".join(f"{why} {n}" for why, n in snapshot["hashes"].items())
    lines += [f"hashes: {hashes}"] if hashes else []
    lines += [f"trouble: {each}" for each in snapshot["sinks"]["trouble"]]
    lines += [f"missing: {each}" for each in snapshot["missing"]]
    return "\n".join(lines) + "\n"
