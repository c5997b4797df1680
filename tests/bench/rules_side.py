# SPDX-License-Identifier: MIT
"""Rules in the kernel: what a file event costs that they discard there."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.report import Report, median
from bench.sensor import MAIN_XML, Sensor, with_settings, with_sink
from bench.sink import Sink
from bench.workloads import BY_NAME, run

from sysmonlx.schema.options import SHIPPED

_WORKLOAD = BY_NAME["create, unlink (tmpfs)"]
_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
_FIRST_COUNT, _LEAST_ROUNDS = 2000, 3
_RUN_S = 0.15
_TICKS_S = 0.5

_SYSMON = (
    '<Sysmon schemaversion="4.90"><EventFiltering>'
    '<ProcessCreate onmatch="include"/><ProcessTerminate onmatch="include"/>'
    "{}</EventFiltering></Sysmon>"
)
#: Four kinds of conditions by turns, none of which holds for the workload.
_KINDS = (
    ("begin with", "/srv/service{}/conf/"),
    ("end with", ".extension{}"),
    ("contains", "/secret{}/"),
    ("is", "/etc/service{}.conf"),
)
_CONDITIONS = 500


def _wanting(tags: tuple[str, ...], conditions: str) -> str:
    """Return a configuration in which these events need one of the conditions."""
    elements = [f'<{tag} onmatch="include">{conditions}</{tag}>' for tag in tags]
    return _SYSMON.format("".join(elements))


def with_rules(text: str) -> str:
    """Return a configuration that reports what rules of Sigma hit, too."""
    return with_settings(text, f'<Rules action="include">{rules_path()}</Rules>')


def rules_path() -> str:
    """Return the folder of public rules that is named, or the rules that come along."""
    return os.environ.get("SYSMONLX_SIGMA_RULES") or SHIPPED


def _many() -> str:
    parts = []
    for number in range(_CONDITIONS):
        condition, text = _KINDS[number % len(_KINDS)]
        value = text.format(number)
        parts.append(
            f'<TargetFilename condition="{condition}">{value}</TargetFilename>'
        )
    return "".join(parts)


def configurations() -> dict[str, str]:
    """Return configurations that want none of the files, each for its own reason.

    Where a deletion is known by the caller's string alone, no path decides it.
    """
    image = '<Image condition="end with">/curl</Image>'
    path = '<TargetFilename condition="begin with">/etc/</TargetFilename>'
    both = ("FileCreate", "FileDeleteDetected")
    return {
        "both, by image": _wanting(both, image),
        "both, by path": _wanting(both, path),
        "creation, by path": _wanting(both[:1], path),
        "creation, main.xml": MAIN_XML.read_text("utf-8"),
        f"creation, {_CONDITIONS} conditions": _wanting(both[:1], _many()),
        "creation, rules of Sigma": with_rules(_wanting(both, "")),
    }


class _Found(NamedTuple):
    """Of one turn: the rate as a part of that without, and what the programs did."""

    rate: float
    programs_ns: float
    discarded: float


@contextmanager
def program_times() -> Iterator[None]:
    """Let the kernel measure programs meanwhile, which slows them down."""
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)


class _Turns:
    def __init__(self, places: dict[str, Path], sink: Sink) -> None:
        self._places = places
        self._sink = sink
        first = run(_WORKLOAD, _FIRST_COUNT, places)
        self._count = max(_FIRST_COUNT, int(_FIRST_COUNT * _RUN_S / first.wall_s))

    def _wall_s(self) -> float:
        return run(_WORKLOAD, self._count, self._places).wall_s

    def turn(self, text: str) -> _Found:
        """Run the workload without the daemon, then with it, then measured."""
        without_s = self._wall_s()
        text = with_sink(text, self._sink.path)
        with Sensor(self._places["disk"] / "sensor", text).running() as sensor:
            run(_WORKLOAD, 1, self._places)
            time.sleep(_TICKS_S)
            rate = without_s / self._wall_s()
            with program_times():
                before = program_totals(sensor)
                self._wall_s()
                after = program_totals(sensor)
            spent_ns, discarded = (b - a for a, b in zip(before, after, strict=True))
            return _Found(rate, spent_ns / self._count, discarded / self._count)


def program_totals(sensor: Sensor) -> tuple[int, int]:
    """Return nanoseconds in programs, and records discarded in the kernel, so far."""
    stats = sensor.stats()
    spent = sum(each["run_time_ns"] for each in stats["programs"].values())
    records = stats["records"].values()
    return spent, sum(each["filtered_in_kernel"] for each in records)


def measure(
    places: dict[str, Path], sink: Sink, report: Report, seconds: float
) -> None:
    """Take turns for so long, three at least; add the table."""
    turns, end = _Turns(places, sink), time.monotonic() + seconds
    found: dict[str, list[_Found]] = defaultdict(list)
    number = 0
    while number < _LEAST_ROUNDS or time.monotonic() < end:
        for name, text in configurations().items():
            found[name].append(turns.turn(text))
        number += 1
    rows = []
    for name, each in found.items():
        rates, spent, discarded = zip(*each, strict=True)
        rows.append(
            (
                name,
                f"{discarded[0]:.2f}",
                f"{min(spent):,.0f}",
                f"{median(spent):,.0f}",
                f"{max(rates):.2f}",
                f"{median(rates):.2f}",
            )
        )
    how = (
        f"Creating and deleting one file on tmpfs, {number} turns with each "
        "configuration, each next to one without; none of the files is wanted. What "
        "the kernel says of the time in the programs (`kernel.bpf_stats_enabled`, in a "
        "run of its own, since it takes time itself), and the rate as a part of that "
        "without. Whatever is not discarded there is filtered by the daemon."
    )
    head = (
        "wanted, and why not",
        "discarded in the kernel, each",
        "ns in programs, least",
        "ns, median",
        "rate, best",
        "rate, median",
    )
    report.table("Rules in the kernel", how, head, rows)
