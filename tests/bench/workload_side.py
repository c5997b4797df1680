# SPDX-License-Identifier: MIT
"""What the machine pays: workloads without and with the daemon, by turns."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

from bench import peers
from bench.report import Report, median
from bench.sensor import Sensor, configurations, with_sink
from bench.sink import Sink
from bench.workloads import Cost, Workload, run, usable

_WITHOUT = "without"
#: Turns of one round: each configuration runs next to a run without.
_TURNS = (0, _WITHOUT, 1, 2, _WITHOUT, 3)
_SHORTEST_S = 0.02
#: The build takes as long as all others together.
_BUILD_EVERY = 3
#: One round alone says little: what else the machine does is in it.
_FEWEST_ROUNDS = 3
#: After so long the daemon has read what was in the ring.
_TICKS_S = 0.5

Costs = dict[str, list[tuple[Cost, Cost]]]
"""Pairs (without, with) by configuration."""

Used = tuple[float, int, int]
"""CPU seconds of the daemon, events emitted, events filtered by it."""


class _Bench:
    def __init__(self, places: dict[str, Path], sink: Sink, names: list[str]) -> None:
        self._places = places
        self._sink = sink
        self._names = names
        self._texts = configurations()
        self.workloads = usable()
        self.counts: dict[str, int] = {}
        self.costs: dict[str, Costs] = {
            w.name: defaultdict(list) for w in self.workloads
        }
        self.daemon: dict[tuple[str, str], list[tuple[float, int, int]]] = defaultdict(
            list
        )

    def calibrate(self, seconds_each: float) -> None:
        """Choose how often each workload goes round to take so long."""
        for workload in self.workloads:
            if workload.share > 1:
                self.counts[workload.name] = workload.minimum
                continue
            count = workload.minimum
            while (cost := run(workload, count, self._places)).wall_s < _SHORTEST_S:
                count *= 4
            scaled = count * seconds_each * workload.share / cost.wall_s
            self.counts[workload.name] = max(workload.minimum, int(scaled))

    def round(self, number: int, *, builds: bool) -> None:
        """One turn of everything; the order of the configurations moves on."""
        chosen = [w for w in self.workloads if builds or w.share <= 1]
        names = [self._names[(at + number) % len(self._names)] for at in range(4)]
        done: list[tuple[str, dict[str, Cost]]] = []
        for turn in _TURNS:
            name = turn if isinstance(turn, str) else names[turn]
            done.append((name, self._turn(name, chosen)))
        for at, partner in ((0, 1), (2, 1), (3, 4), (5, 4)):
            name, costs = done[at]
            for workload in chosen:
                pair = done[partner][1][workload.name], costs[workload.name]
                self.costs[workload.name][name].append(pair)

    def _turn(self, name: str, chosen: list[Workload]) -> dict[str, Cost]:
        if name == _WITHOUT:
            return {w.name: self._run(w) for w in chosen}
        if name == peers.AUDITD:
            with peers.auditd():
                return {w.name: self._run(w) for w in chosen}
        sensor = Sensor(
            self._places["disk"] / "sensor",
            with_sink(self._texts[name], self._sink.path),
        )
        try:
            sensor.start()
            for workload in chosen:  # their programs are hashed now, not while measured
                run(workload, 1, self._places)
            time.sleep(_TICKS_S)
            return {w.name: self._watched(w, name, sensor) for w in chosen}
        finally:
            sensor.stop()
            sensor.remove()

    def _run(self, workload: Workload) -> Cost:
        return run(workload, self.counts[workload.name], self._places)

    def _watched(self, workload: Workload, name: str, sensor: Sensor) -> Cost:
        stats, used_s = _totals(sensor), sensor.cpu_s()
        cost = self._run(workload)
        time.sleep(_TICKS_S)
        used_s, after = sensor.cpu_s() - used_s, _totals(sensor)
        emitted, filtered = (b - a for a, b in zip(stats, after, strict=True))
        self.daemon[name, workload.name].append((used_s, emitted, filtered))
        return cost


def _totals(sensor: Sensor) -> tuple[int, int]:
    """Return how many events were emitted, and filtered in user space, so far."""
    events = sensor.stats()["events"].values()
    return sum(e["emitted"] for e in events), sum(e["filtered"] for e in events)


def measure(places: dict[str, Path], sink: Sink, report: Report, end: float) -> None:
    """Take turns until `end` (monotonic), a few at least; add the tables."""
    names = list(configurations())
    if peers.is_wanted():
        names.append(peers.AUDITD)
    bench = _Bench(places, sink, names)
    left_s = end - time.monotonic()
    bench.calibrate(max(0.02, left_s / 1000))
    number = 0
    longest_s = {True: 0.0, False: 0.0}  # of rounds with the build, and without
    start = time.monotonic()
    while number < _FEWEST_ROUNDS or start + longest_s[False] < end:
        is_turn = number % _BUILD_EVERY == 0
        builds = is_turn and (not number or start + longest_s[True] < end)
        bench.round(number, builds=builds)
        took_s, start = time.monotonic() - start, time.monotonic()
        longest_s[builds] = max(longest_s[builds], took_s)
        number += 1
    _add_tables(report, bench, names, number)


def _add_tables(report: Report, bench: _Bench, names: list[str], rounds: int) -> None:
    head = ("workload", "us each, without", *names)
    how = (
        f"Each workload in a process of its own, {rounds} rounds (the build in some), "
        "without and with the daemon next to each other in time; the median "
        "of the pairs' ratios. CPU is that of the workload and its children; the "
        "daemon's is in the next table. "
    )
    for title, of in (("CPU", "cpu_s"), ("wall time", "wall_s")):
        rows = [
            (
                w.name,
                _without(bench.costs[w.name], of),
                *(_ratio(bench.costs[w.name][name], of) for name in names),
            )
            for w in bench.workloads
        ]
        report.table(f"Workloads: {title} with the daemon, as a ratio", how, head, rows)
    head = ("workload", *names)
    rows = [
        (w.name, *(_added_ns(bench.costs[w.name][name]) for name in names))
        for w in bench.workloads
    ]
    how = "The same as ns of CPU that one operation takes more."
    report.table("Workloads: CPU added to each operation", how, head, rows)
    rows = [
        (w.name, *(_of_daemon(bench, name, w) for name in names))
        for w in bench.workloads
    ]
    how = (
        "Median us of the daemon's CPU for each operation of the workload, and in "
        "brackets the events emitted + filtered in user space for each."
    )
    report.table("Workloads: CPU of the daemon", how, head, rows)


def _without(costs: Costs, of: str) -> str:
    every = [getattr(a, of) / a.count for pairs in costs.values() for a, _ in pairs]
    return f"{median(every) * 1e6:.2f}"


def _ratio(pairs: list[tuple[Cost, Cost]], of: str) -> str:
    ratios = [getattr(b, of) / max(getattr(a, of), 1e-9) for a, b in pairs]
    return f"{median(ratios):.2f}" if ratios else "-"


def _added_ns(pairs: list[tuple[Cost, Cost]]) -> str:
    added = [(b.cpu_s / b.count - a.cpu_s / a.count) * 1e9 for a, b in pairs]
    return f"{median(added):+,.0f}" if added else "-"


def _of_daemon(bench: _Bench, name: str, workload: Workload) -> str:
    found = bench.daemon.get((name, workload.name), [])
    if not found:
        return "-"
    count = bench.counts[workload.name]
    used = median(used_s for used_s, _, _ in found) / count * 1e6
    emitted = median(emitted for _, emitted, _ in found) / count
    filtered = median(filtered for _, _, filtered in found) / count
    return f"{used:.2f} ({emitted:.1f} + {filtered:.1f})"
