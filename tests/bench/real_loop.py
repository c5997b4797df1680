# SPDX-License-Identifier: MIT
"""What the daemon costs where programs really start and end, at a steady rate.

Records come when they come, the reader pauses between its looks, and the caches of the
processor are cold after each: a ring that is filled at once shows nothing of that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import REAL_LOOP, Report, median
from bench.sensor import REPOSITORY, Sensor, rules, with_sink
from bench.sink import DEFAULT_QUEUE, SYSTEMD_QUEUE, Sink

_TRUE = Path("/bin/true")
_REPEATS = 3
_DEADLINE_S = 30.0
#: No more starts a second while the images become known.
_GENTLE_RATE = 300
#: What is in the ring and in the spool has been written after so long.
_SETTLE_S = 0.5
#: A figure says nothing where the loop was much slower than was asked for.
_LEAST_SHARE = 0.9

#: Starts images by turns, so many a second and so many in all; prints the seconds.
_LOOP = """
import os, sys, time
rate, count, images = float(sys.argv[1]), int(sys.argv[2]), sys.stdin.read().split()
begin = time.monotonic()
for number in range(count):
    image = images[number % len(images)]
    os.waitpid(os.posix_spawn(image, [image], {}), 0)
    time.sleep(max(0.0, begin + (number + 1) / rate - time.monotonic()))
print(time.monotonic() - begin)
"""


@dataclass(frozen=True)
class Case:
    """A loop: starts a second, how many images by turns, and the log socket's queue."""

    rate: int
    images: int
    queue: int


CASES = (
    Case(600, 1, SYSTEMD_QUEUE),
    Case(100, 1, SYSTEMD_QUEUE),
    Case(600, 1000, SYSTEMD_QUEUE),
    Case(600, 1, DEFAULT_QUEUE),
    Case(100, 1, DEFAULT_QUEUE),
)


@dataclass
class Taken:
    """What each run of a case took: microseconds a pair, wakes and pairs a second."""

    us: list[float] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    lost: int = 0


def measure(directory: Path, report: Report, seconds: float) -> None:
    """Add the table, in about so many seconds."""
    each_s = max(1.0, seconds / len(CASES) / _REPEATS - _SETTLE_S)
    taken = {case: Taken() for case in CASES}
    with _images(directory, max(case.images for case in CASES)) as images:
        for queue in dict.fromkeys(case.queue for case in CASES):
            cases = [case for case in CASES if case.queue == queue]
            with _running(directory, queue) as sensor:
                _make_known(sensor, images)
                for _ in range(_REPEATS):
                    for case in cases:
                        _run(sensor, case, images, each_s, taken[case])
    rows = [_row(case, found) for case, found in taken.items()]
    how = (
        "One process starts programs at a steady rate, waits for each, and both its "
        "events are written. CPU is the daemon's alone, all of it, for one exec and "
        f"exit; best and median of {_REPEATS} runs by turns. The log socket's queue "
        f"holds {SYSTEMD_QUEUE} lines where systemd has set that, {DEFAULT_QUEUE} by "
        "the kernel's default, as in containers. Wakes: how often a second the daemon "
        "began to run. Images that go by turns are copies of one program, all known."
    )
    head = (
        *("exec + exit a second", "images", "log queue", "CPU us, best"),
        *("CPU us, median", "wakes a second", "lost"),
    )
    report.table("Starts and ends of programs", how, head, rows, REAL_LOOP)


def _row(case: Case, taken: Taken) -> tuple[str, ...]:
    reached = median(taken.pairs)
    rate = str(case.rate)
    if reached < case.rate * _LEAST_SHARE:
        rate += f" (reached {reached:.0f})"
    return (
        *(rate, f"{case.images:,}", str(case.queue)),
        *(f"{min(taken.us):.1f}", f"{median(taken.us):.1f}"),
        *(f"{median(taken.wakes):.0f}", str(taken.lost)),
    )


@contextmanager
def _images(directory: Path, count: int) -> Iterator[list[str]]:
    """Yield the paths of so many program files, each another one."""
    place = directory / "images"
    place.mkdir()
    data, paths = _TRUE.read_bytes(), []
    for number in range(count):
        path = place / f"image{number}"
        path.write_bytes(data + number.to_bytes(4, "big"))
        path.chmod(0o755)
        paths.append(os.fspath(path))
    try:
        yield paths
    finally:
        for each in paths:
            os.unlink(each)
        place.rmdir()


@contextmanager
def _running(directory: Path, queue: int) -> Iterator[Sensor]:
    sink = Sink(directory / f"log{queue}.sock", queue)
    text = with_sink(rules(("ProcessCreate", "ProcessTerminate")), sink.path)
    try:
        with Sensor(directory / "real-loop", text).running() as sensor:
            yield sensor
    finally:
        sink.close()


def _make_known(sensor: Sensor, images: Sequence[str]) -> None:
    """Run every image twice: the first time for its hash."""
    for _ in range(2):
        _spawn(_GENTLE_RATE, len(images), images)
        end = time.monotonic() + _DEADLINE_S
        while sensor.stats()["waiting_for_hash"] and time.monotonic() < end:
            time.sleep(0.05)


def _spawn(rate: float, count: int, images: Sequence[str]) -> float:
    """Start so many programs; return the seconds that it took."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOP, str(rate), str(count)],
        check=True,
        cwd=REPOSITORY,
        input="\n".join(images),
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)


def _run(
    sensor: Sensor, case: Case, images: list[str], seconds: float, taken: Taken
) -> None:
    before, lost = _emitted(sensor)
    time.sleep(_SETTLE_S)
    wakes, cpu_s = sensor.wakes(), sensor.cpu_s()
    some = images[: case.images] if case.images > 1 else [os.fspath(_TRUE)]
    count = int(case.rate * seconds)
    took_s = _spawn(case.rate, count, some)
    time.sleep(_SETTLE_S)
    wakes, cpu_s = sensor.wakes() - wakes, sensor.cpu_s() - cpu_s
    after, lost_now = _emitted(sensor)
    taken.us.append(cpu_s / max(count, after - before) * 1e6)
    taken.wakes.append(wakes / took_s)
    taken.pairs.append(count / took_s)
    taken.lost += lost_now - lost


def _emitted(sensor: Sensor) -> tuple[int, int]:
    """Return how many starts of programs were told, and what was lost, so far."""
    stats = sensor.stats()
    in_kernel = sum(sum(each["lost"].values()) for each in stats["records"].values())
    return stats["events"]["1"]["emitted"], in_kernel + sum(
        stats["sinks"]["lost"].values()
    )
