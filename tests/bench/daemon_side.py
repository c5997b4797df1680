# SPDX-License-Identifier: MIT
"""What the daemon itself costs: start, memory, CPU for each event, latency."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.instructions import Instructions
from bench.producer import Producer
from bench.report import FED, REAL_LOOP, Report, median, percentile
from bench.sensor import REPOSITORY, Sensor, all_fields, configurations, with_sink
from bench.sink import Sink

from sysmonlx.enrich.host_names import OF_ALL

_PAIR, _FIELDS = "exec + exit", "all fields"
_PATH = b"/var/lib/some-service/data/file-name.txt"
_STARTS = 5
#: A second of this many rounds is planned for; slower machines take longer.
_ROUNDS_A_SECOND = 30_000
_SMALL, _LARGE = 100_000, 500_000
#: Many, since each feed waits for the end of a tick; few enough for the spool.
_GENTLE_ROUNDS = 2_000
_GENTLE_NAMES = 400
_LATENCY_RATE = 100
_USERS = 4
_REPEATS = 5
#: After so long the daemon has read what was in the ring, and written it.
_TICKS_S = 0.5
#: After so long a start has ended all that it begins; then idleness is measured.
_SETTLES_S, _IDLE_S = 6.0, 20.0


def _us(seconds: float, count: float) -> str:
    return f"{seconds / max(count, 1) * 1e6:.1f}"


class DaemonSide:
    """Measures with one daemon at a time, whose log is read by `sink`."""

    def __init__(self, directory: Path, sink: Sink, report: Report) -> None:
        self._directory = directory
        self._sink = sink
        self._report = report
        self._texts = {
            name: with_sink(text, sink.path)
            for name, text in {**configurations(), _FIELDS: all_fields()}.items()
        }

    def measure(self, seconds: float) -> None:
        """Add all tables, in about so many seconds."""
        self._starts()
        rounds = int(_ROUNDS_A_SECOND * seconds / 50)
        self._events(rounds)
        self._memory(min(1.0, seconds / 105))
        self._latency(seconds / 10)
        self._idle(max(_IDLE_S, seconds / 20))

    @contextmanager
    def _running(self, name: str) -> Iterator[Sensor]:
        sensor = Sensor(self._directory / "root", self._texts[name])
        try:
            sensor.start()
            try:
                yield sensor
            finally:
                sensor.stop()
        finally:
            sensor.remove()

    def _starts(self) -> None:
        rows = []
        for name in configurations():
            stored, anew = [], []
            sensor = Sensor(self._directory / "root", self._texts[name])
            for _ in range(_STARTS):
                stored.append(sensor.start())
                sensor.stop()
            for _ in range(2):
                anew.append(sensor.start_with_configuration())
                sensor.stop()
            sensor.remove()
            rows.append(
                (
                    name,
                    f"{min(stored):.2f}",
                    f"{median(stored):.2f}",
                    f"{median(anew):.2f}",
                )
            )
        how = (
            "From the start of the interpreter to READY=1 (all programs attached, all "
            f"processes known), {_STARTS} starts of `sysmonlx -service`, seconds; the "
            "last column reads and checks the configuration first (`-t -i FILE`)."
        )
        head = (
            "configuration",
            "stored, fastest",
            "stored, median",
            "new configuration",
        )
        self._report.table("Start", how, head, rows)

    def _events(self, rounds: int) -> None:
        rows = [
            self._fed("everything", _PAIR, 2, rounds // 3),
            self._fed("everything", "file created", 1, rounds),
            self._fed("everything", "TCP connection", 1, rounds),
            self._fed("everything", "library", 1, rounds),
            self._fed("everything", "DNS question, answered", 1, rounds // 2),
            self._fed(_FIELDS, _PAIR, 2, rounds // 3),
            self._fed(_FIELDS, "file created", 1, rounds),
            self._fed(_FIELDS, "TCP connection", 1, rounds),
            self._fed("main.xml", "file created", 0, 4 * rounds),
            self._fed("nothing", _PAIR, 0, rounds),
        ]
        how = (
            "An eBPF program fills the ring of a running daemon with records, up to "
            f"three quarters and never beyond. Best and median of {_REPEATS} times. "
            "CPU is the daemon's alone; the log socket's reader takes its own on the "
            "other core, and is the limit of the rate where it is slower. The fewest "
            "instructions of the five times, in brackets those in the kernel, do not "
            "depend on who else uses the processor. The rate has the last tick in it, "
            "that the daemon may wait for more before it reads."
        )
        head = (
            "what",
            "configuration",
            "lines",
            "CPU us, best",
            "CPU us, median",
            "instructions (kernel)",
            "a second",
            "lost",
            "reader us a line",
        )
        self._report.table("CPU of the daemon for each event", how, head, rows, FED)

    def _fed(self, name: str, what: str, lines: int, rounds: int) -> tuple[str, ...]:
        with self._running(name) as sensor:
            producer = Producer(sensor)
            producer.use(*_records(producer, what), is_of_current=what != _PAIR)
            producer.feed(2000)
            costs, rates = [], []
            counter = Instructions(sensor.pid)
            counts: list[tuple[int, int]] = []
            first = before = self._sink.settle()
            for _ in range(_REPEATS):
                cpu_s, counted = sensor.cpu_s(), counter.counts()
                took_s = producer.feed(rounds)
                after = self._sink.settle(0.1)
                costs.append((sensor.cpu_s() - cpu_s) / rounds)
                rates.append(rounds / took_s)
                counts += _each(counted, counter.counts(), rounds)
                before = after
            lost = _lost(sensor)
            counter.close()
            producer.close()
        took = before.cpu_s - first.cpu_s
        reader = _us(took, before.lines - first.lines) if lines else "-"
        return (
            what,
            name,
            str(lines),
            _us(min(costs), 1),
            _us(median(costs), 1),
            "{:,} ({:,})".format(*min(counts)) if counts else "-",
            f"{median(rates):,.0f}",
            str(lost),
            reader,
        )

    def _memory(self, share: float) -> None:
        rows = []
        with self._running("everything") as sensor:
            producer = Producer(sensor)
            producer.use(*producer.pair())
            time.sleep(1)
            rows.append(("start", *_memory_row(sensor)))
            done = 0
            for total in (_SMALL, int(_LARGE * share)):
                _feed_gently(producer, sensor, (total - done) // 2)
                done = total
                rows.append((f"{total:,} events", *_memory_row(sensor)))
            producer.close()
        with self._running(_FIELDS) as sensor:
            producer = Producer(sensor)
            _teach(producer, sensor, OF_ALL)
            time.sleep(_TICKS_S)
            what = f"all fields, {OF_ALL:,} names learnt"
            rows.append((what, *_memory_row(sensor)))
            producer.close()
        how = (
            "From smaps_rollup, MB, everything on; exec and exit events by turns, "
            "each a process of its own. Shared: libraries and interpreter (used by "
            "others too), and the ring buffer (8 MiB, once all of it has been used)."
        )
        head = ("after", "RSS", "of it anonymous", "of it files and ring")
        self._report.table("Memory", how, head, rows, FED)

    def _latency(self, seconds: float) -> None:
        with self._running("everything") as sensor:
            subprocess.run(["/bin/true"], check=True)
            self._sink.settle()
            self._sink.report(looks_for_latency=True)
            count = max(50, int(_LATENCY_RATE * seconds))
            _spawn_steadily("/bin/true", count)
            time.sleep(_TICKS_S)
            known = self._sink.report(looks_for_latency=True).latencies_ms or [0.0]
            unknown = self._unknown_images()
        del sensor
        rows = [
            (
                what,
                str(len(times)),
                f"{median(times):.1f}",
                f"{percentile(times, 99):.1f}",
                f"{max(times):.1f}",
            )
            for what, times in (
                (f"exec, {_LATENCY_RATE} a second", known),
                ("first exec of a file", unknown),
            )
        ]
        how = (
            "From just before posix_spawn() to the line in the reader's hands, ms; "
            "the fork and the exec themselves are in it. A file never seen before "
            "wakes the daemon at once, is hashed, and its line written."
        )
        head = ("what", "count", "median", "p99", "longest")
        self._report.table("Latency", how, head, rows, REAL_LOOP)

    def _unknown_images(self) -> list[float]:
        times: list[float] = []
        for number in range(20):
            image = self._directory / f"image{number}"
            image.write_bytes(Path("/bin/true").read_bytes() + bytes([number]))
            image.chmod(0o755)
            time.sleep(0.05)  # older than a tick of the file system's clock
            _spawn_steadily(os.fspath(image), 1)
            time.sleep(0.3)
            times += self._sink.report(looks_for_latency=True).latencies_ms
            image.unlink()
        return times or [0.0]

    def _idle(self, seconds: float) -> None:
        with self._running("everything") as sensor:
            time.sleep(_SETTLES_S)
            before, start = sensor.cpu_s(), time.monotonic()
            time.sleep(seconds)
            took_s = time.monotonic() - start
            used_s = sensor.cpu_s() - before
        how = (
            "Everything on, this benchmark asleep; what else the machine did is in it."
        )
        row = (
            f"{100 * used_s / took_s:.2f} %",
            f"{3600 * used_s / took_s:.1f} s",
            f"{took_s:.0f} s",
        )
        self._report.table("Idle", how, ("of a core", "an hour", "measured for"), [row])


def _records(producer: Producer, what: str) -> tuple[bytes, ...]:
    """Return what one round sends."""
    if what == _PAIR:
        return producer.pair()
    if what.startswith("DNS"):
        return producer.answered(1)
    if what.startswith("TCP"):
        return (producer.connection(),)
    return (producer.library() if what == "library" else producer.file(_PATH),)


def _teach(producer: Producer, sensor: Sensor, names: int) -> None:
    """Have so many names learnt: each answer tells one to a process and to its user.

    A user may give a quarter of them.
    """
    for number in range(0, names // 2, 2):
        uid = 1000 + number * _USERS * 2 // names
        each = (producer.answered(at, uid) for at in (number, number + 1))
        producer.use(*(record for pair in each for record in pair), is_of_current=True)
        producer.send(1)
        if number % _GENTLE_NAMES == 0:
            producer.feed(1)
            _until_written(sensor)


def _lost(sensor: Sensor) -> int:
    stats = sensor.stats()
    in_kernel = sum(sum(each["lost"].values()) for each in stats["records"].values())
    return int(in_kernel + sum(stats["sinks"]["lost"].values()))


def _each(
    before: tuple[int, int] | None, after: tuple[int, int] | None, rounds: int
) -> list[tuple[int, int]]:
    """Return what one round took, an empty list where nothing was counted."""
    if before is None or after is None:
        return []
    own, kernel = after[0] - before[0], after[1] - before[1]
    return [(own // rounds, kernel // rounds)]


def _memory_row(sensor: Sensor) -> tuple[str, ...]:
    sizes = sensor.memory_kib()
    rss, anonymous = sizes["Rss"], sizes["Anonymous"]
    return tuple(f"{kib / 1024:.1f}" for kib in (rss, anonymous, rss - anonymous))


def _feed_gently(producer: Producer, sensor: Sensor, rounds: int) -> None:
    """Feed no faster than the log is read: the spool is not the question."""
    while rounds > 0:
        producer.feed(min(rounds, _GENTLE_ROUNDS))
        rounds -= _GENTLE_ROUNDS
        _until_written(sensor)


def _until_written(sensor: Sensor) -> None:
    """Wait until no line waits."""
    while sensor.stats()["spooled_bytes"] > 0:
        time.sleep(0.005)


_SPAWN = """
import os, sys, time
image, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for _ in range(count):
    marker = f"sysmonlx-latency-{time.clock_gettime_ns(time.CLOCK_MONOTONIC)}"
    os.waitpid(os.posix_spawn(image, [image, marker], {}), 0)
    time.sleep(1 / rate)
"""


def _spawn_steadily(image: str, count: int) -> None:
    """Start a program so often, at a steady rate, from a process of its own."""
    command = [sys.executable, "-c", _SPAWN, image, str(count), str(_LATENCY_RATE)]
    subprocess.run(command, check=True, cwd=REPOSITORY)
