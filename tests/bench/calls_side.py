# SPDX-License-Identifier: MIT
"""Measure what single calls of others cost more, in many short loops.

`python -m bench.calls_side DIRECTORY` runs each loop of `CALLS` by turns, in a process
of its own, and prints the least processor time of one operation, ns. Whoever else uses
the machine makes most loops longer, but hardly ever all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from itertools import starmap
from pathlib import Path

from bench.report import Report, median
from bench.rules_side import program_times, program_totals
from bench.sensor import REPOSITORY, Sensor, configurations, with_settings, with_sink
from bench.sink import Sink
from bench.workloads import CALLS, Workload, run, used_s

from sysmonlx.schema.events import EVENTS

_LOOP_S = 0.012
_LOOPS = 12
_LEAST_ROUNDS = 3
_TICKS_S = 0.5
#: How long the time in programs is measured for each call, and how often at least.
_PROGRAMS_S, _LEAST_COUNT = 0.2, 40

#: Events that Sysmon has on Windows alone, by their tags.
_BEYOND = frozenset(
    {
        *("FileCreateTime", "DriverLoad", "ImageLoad", "CreateRemoteThread"),
        *("FileCreateStreamHash", "PipeEvent", "DnsQuery", "ProcessTampering"),
    }
)
#: Events of processes: they are seen in any case.
_OF_PROCESSES = frozenset({"ProcessCreate", "ProcessTerminate"})
_WHO = ("Image", "SourceImage", "ImageLoaded")
_SWITCHES = "<WriteAsCreate>true</WriteAsCreate><MassChange>true</MassChange>"

Least = dict[str, float]
"""Nanoseconds of one operation, by workload."""


def _none_of(tags: frozenset[str], switches: str = "") -> str:
    """Return a configuration whose rules want events by these tags, but match none."""
    elements = []
    for tag in dict.fromkeys(e.tag for e in EVENTS if e.tag in tags):
        fields = {f.name for e in EVENTS if e.tag == tag for f in e.fields}
        who = next((name for name in _WHO if name in fields), "")
        test = f'<{who} condition="is">/nowhere/at/all</{who}>' if who else ""
        elements.append(f'<{tag} onmatch="include">{test}</{tag}>')
    text = "".join(elements)
    text = f"<EventFiltering>{text}</EventFiltering>"
    text = f'<Sysmon schemaversion="4.90">{text}</Sysmon>'
    return with_settings(text, switches) if switches else text


def _compared() -> dict[str, str]:
    every = frozenset(event.tag for event in EVENTS if event.tag) - _OF_PROCESSES
    shipped = configurations()
    return {
        "Windows' events, none hit": _none_of(_BEYOND),
        "all events, none hit": _none_of(every, _SWITCHES),
        "main.xml": shipped["main.xml"],
        "everything": shipped["everything"],
    }


def _run(directory: Path) -> Least:
    """Run all loops in a process of its own."""
    python = sys.executable, "-P", "-m", "bench.calls_side", str(directory)
    done = subprocess.run(
        python, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY, text=True
    )
    return dict(json.loads(done.stdout))


class _Turns:
    def __init__(self, places: dict[str, Path], sink: Sink) -> None:
        self._places = places
        self._sink = sink
        self.without: list[Least] = []
        self.pairs: dict[str, list[tuple[Least, Least]]] = defaultdict(list)
        self.programs: dict[str, Least] = {}

    def round(self) -> None:
        """Run without the daemon, then with each two configurations, and again."""
        texts = list(_compared().items())
        for two in (texts[:2], texts[2:]):
            without = _run(self._places["tmpfs"])
            self.without.append(without)
            for name, text in two:
                self.pairs[name].append((without, self._with(name, text)))

    def _with(self, name: str, text: str) -> Least:
        with Sensor(
            self._places["disk"] / "sensor", with_sink(text, self._sink.path)
        ).running() as sensor:
            time.sleep(_TICKS_S)
            least = _run(self._places["tmpfs"])
            if name not in self.programs:
                with program_times():
                    self.programs[name] = self._in_programs(sensor, least)
            return least

    def _in_programs(self, sensor: Sensor, least: Least) -> Least:
        """Return the time that each operation spends in programs, ns."""
        spent: Least = {}
        for call in CALLS:
            count = max(_LEAST_COUNT, int(_PROGRAMS_S * 1e9 / least[call.name]))
            before, _ = program_totals(sensor)
            run(call, count, self._places)
            spent[call.name] = (program_totals(sensor)[0] - before) / count
        return spent

    def ratio(self, name: str, call: str) -> str:
        """Return the ratio of the least figures, and the median of those of pairs."""
        least = min(after[call] for _, after in self.pairs[name])
        ratios = [after[call] / before[call] for before, after in self.pairs[name]]
        return f"{least / self.least(call):.2f} ({median(ratios):.2f})"

    def least(self, call: str) -> float:
        """Return the least time of an operation without the daemon, ns."""
        return min(each[call] for each in self.without)


def measure(
    places: dict[str, Path], sink: Sink, report: Report, seconds: float
) -> None:
    """Take turns for so long, some at least; add the table."""
    turns, end, rounds = _Turns(places, sink), time.monotonic() + seconds, 0
    while rounds < _LEAST_ROUNDS or time.monotonic() < end:
        turns.round()
        rounds += 1
    rows = [
        (
            call.name,
            f"{turns.least(call.name) / 1000:.2f}",
            *(turns.ratio(name, call.name) for name in _compared()),
        )
        for call in CALLS
    ]
    how = (
        f"Processor time of one operation in loops of {_LOOP_S * 1000:.0f} ms, "
        f"{_LOOPS * rounds} with each configuration, by turns with loops without the "
        "daemon. A figure is the least with it as a ratio to the least without; in "
        "brackets, the median of the ratios of neighbours, which other work on the "
        "machine disturbs more. *None hit*: all is attached that rules for these "
        "events need, and no rule matches. The loops are in Python: the daemon adds "
        "the same to one of a program in C, which takes less itself."
    )
    head = ("call", "us, without", *_compared())
    report.table("What calls of others cost more", how, head, rows)
    rows = [
        (call.name, *(f"{turns.programs[n][call.name]:,.0f}" for n in _compared()))
        for call in CALLS
    ]
    how = (
        "What the kernel says of the time in the programs for each operation, ns "
        "(`kernel.bpf_stats_enabled`): other work on the machine disturbs it least. "
        "It has some 50 ns in it for each run of a program, by which the kernel "
        "measures, and lacks what the kernel takes to come to a program."
    )
    head = ("call", *_compared())
    report.table("Time in programs for calls of others", how, head, rows)


def _calibrated(workload: Workload, directory: Path) -> int:
    """Return how often a workload goes round in one loop."""
    count = 1
    while (spent_s := _spent_s(workload, count, directory)) < _LOOP_S / 4:
        count *= 4
    return max(1, int(count * _LOOP_S / spent_s))


def _spent_s(workload: Workload, count: int, directory: Path) -> float:
    begin_s = used_s()
    workload.loop(count, directory)
    return used_s() - begin_s


def main() -> None:
    """Run the loops in the directory that the command line names."""
    directory = Path(sys.argv[1])
    counts = [(call, _calibrated(call, directory)) for call in CALLS]
    least: Least = {}
    for _ in range(_LOOPS):
        spent = starmap(lambda c, n: _spent_s(c, n, directory) / n, counts)
        for (call, _), each_s in zip(counts, spent, strict=True):
            least[call.name] = min(least.get(call.name, each_s * 1e9), each_s * 1e9)
    print(json.dumps(least))


if __name__ == "__main__":
    main()
