# SPDX-License-Identifier: MIT
"""The counters as text for Prometheus, by its text-based exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ : each metric has its help
and its type before its samples, which stand together. Names by the naming practices:
`_total` for a counter, base units (seconds, bytes, ratio) at the end of the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from sysmonlx.service.snapshot import EventTerms, RecordTerms, Snapshot

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


class Metric(NamedTuple):
    """One metric with all its samples; `name` has no prefix."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Iterable[Sample]


def prometheus(snapshot: Snapshot) -> str:
    """Return the counters as text for node_exporter's textfile collector."""
    metrics = (
        *_of_the_daemon(snapshot),
        *_of_records(snapshot["records"]),
        *_of_events(snapshot["events"]),
        *_of_lines(snapshot),
    )
    return "".join(f"{line}\n" for each in metrics for line in _metric_lines(each))


def _metric_lines(metric: Metric) -> Iterator[str]:
    name = f"sysmonlx_{metric.name}"
    yield f"# HELP {name} {metric.help}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, value in metric.samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _escaped(text: str) -> str:
    """Return the value of a label; bytes that are no UTF-8 become "?"."""
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode()


def _of_the_daemon(snapshot: Snapshot) -> Iterator[Metric]:
    yield Metric(
        "cpu_seconds_total",
        "counter",
        "Processor time that the daemon used.",
        _one(snapshot["cpu_s"]),
    )
    yield Metric(
        "resident_memory_bytes",
        "gauge",
        "Resident memory of the daemon.",
        _one(snapshot["rss_bytes"]),
    )
    yield Metric(
        "processes",
        "gauge",
        "Processes that the daemon knows.",
        _one(snapshot["processes"]),
    )
    yield Metric(
        "ring_fill_ratio",
        "gauge",
        "Share of the ring buffer that is full, 0 to 1.",
        _one(snapshot["ring_fill"]),
    )
    yield Metric(
        "gaps",
        "gauge",
        "Sums of counters that do not hold; 0 when each record is accounted for.",
        _one(len(snapshot["gaps"])),
    )


def _of_records(records: Mapping[str, RecordTerms]) -> Iterator[Metric]:
    def states() -> Iterator[Sample]:
        for record, each in records.items():
            for state, count in (
                ("seen", each["seen"]),
                ("filtered_in_kernel", each["filtered_in_kernel"]),
                ("left_out", each["left_out"]),
                ("submitted", each["submitted"]),
                ("received", each["received"]),
            ):
                yield {"record": record, "state": state}, count

    def pending() -> Iterator[Sample]:
        for record, each in records.items():
            yield {"record": record, "state": "under_way"}, each["under_way"]
            yield {"record": record, "state": "in_ring"}, each["in_ring"]

    yield Metric(
        "records_total", "counter", "Records of the kernel, by state.", states()
    )
    yield Metric(
        "records_pending",
        "gauge",
        "Records that are being made, and records in the ring buffer.",
        pending(),
    )
    yield Metric(
        "records_lost_in_kernel_total",
        "counter",
        "Records that the kernel could not submit, by reason.",
        _by_reason("record", {name: each["lost"] for name, each in records.items()}),
    )
    yield Metric(
        "records_lost_in_daemon_total",
        "counter",
        "Records that the daemon received and could not use, by reason.",
        _by_reason(
            "record", {name: each["lost_here"] for name, each in records.items()}
        ),
    )


def _of_events(events: Mapping[str, EventTerms]) -> Iterator[Metric]:
    def states() -> Iterator[Sample]:
        for event_id, each in events.items():
            if "received" in each:
                yield {"event": event_id, "state": "received"}, each["received"]
            yield {"event": event_id, "state": "emitted"}, each["emitted"]
            yield {"event": event_id, "state": "filtered"}, each["filtered"]

    yield Metric("events_total", "counter", "Events by state.", states())
    yield Metric(
        "events_waiting",
        "gauge",
        "Events that wait for a hash.",
        [
            ({"event": event_id}, each["waiting"])
            for event_id, each in events.items()
            if "waiting" in each
        ],
    )
    yield Metric(
        "records_without_event_total",
        "counter",
        "Received records that are no event of this id, by reason.",
        _by_reason("event", {key: e.get("no_event", {}) for key, e in events.items()}),
    )
    yield Metric(
        "events_lost_total",
        "counter",
        "Events that could not be made or written, by reason.",
        _by_reason("event", {key: e.get("lost", {}) for key, e in events.items()}),
    )


def _of_lines(snapshot: Snapshot) -> Iterator[Metric]:
    lines = snapshot["lines"]
    yield Metric(
        "lines_total",
        "counter",
        "Lines for destinations, by state.",
        [
            ({"state": "due"}, lines["due"]),
            ({"state": "delivered"}, lines["delivered"]),
        ],
    )
    yield Metric(
        "lines_spooled",
        "gauge",
        "Lines that wait for a destination.",
        _one(lines["spooled"]),
    )
    yield Metric(
        "spooled_bytes",
        "gauge",
        "Size of the lines that wait for a destination.",
        _one(snapshot["spooled_bytes"]),
    )
    yield Metric(
        "lines_lost_total",
        "counter",
        "Lines that no destination took, by reason.",
        [({"reason": why}, count) for why, count in lines["lost"].items()],
    )


def _one(value: float) -> list[Sample]:
    return [({}, value)]


def _by_reason(label: str, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Sample]:
    for name, reasons in counts.items():
        for reason, count in reasons.items():
            yield {label: name, "reason": reason}, count
