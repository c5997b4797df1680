# SPDX-License-Identifier: MIT
"""Storms, and a fault every few seconds, for SOAK_S seconds: does all hold at the end?

SOAK_SEED repeats a run, as far as its work and faults go. The last line is a summary;
the program ends with 1 where anything does not hold.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from soak.log import Log
from support.accounts import Stats, adds_up, steady
from support.cpu import cpu_ns
from support.fuse import NOBODY, hung_mount
from support.installed import Installation, removed_afterwards
from support.running import wait_until
from support.storms import Weather, check, counted_losses, emitted

from sysmonlx.capture.kernel_facts import cgroup2_mount
from sysmonlx.errors import CaptureError

SOAK_S = float(os.environ.get("SOAK_S", "1200"))
SEED = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 1_000_000)))
#: A round: one fault, one look at the counters, one question of judgement.
_ROUND_S, _ROTATE_S, _STORM_S = 3.0, 20.0, 30.0
_IDLE_S, _IDLE_SHARE = 20.0, 0.001
#: Of the machine's own work while nothing of ours goes on; more makes nobody idle.
_IDLE_RECORDS = 200
_GROWTH, _GROWTH_BYTES = 1.1, 4 << 20


class Soak:
    """One long run; `failures` are what did not hold."""

    def __init__(self, place: Installation, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.chance = Random(SEED)
        self.weather = Weather(place, folder, self.chance)
        self.log = Log(place)
        self.expected: dict[str, str] = {}
        self.memory: list[int] = []
        self.looks = self.faults = 0
        self.failures: list[str] = []
        self.unavailable: list[str] = []

    def run(self) -> Stats:
        """Let it storm; return the counters of the end."""
        begun_s, rotated_s = time.monotonic(), time.monotonic()
        faults = [*self.weather.faults, *self._more_faults()]
        storms: list[subprocess.Popen[bytes]] = []
        before: Stats | None = None
        while (left_s := begun_s + SOAK_S - time.monotonic()) > 0:
            storms = [each for each in storms if each.poll() is None]
            if len(storms) < 2:
                storms.append(self.weather.storm(min(_STORM_S, left_s)))
            round_s = time.monotonic() + _ROUND_S
            self.chance.choice(faults)()
            self.faults += 1
            self.judge()
            before = self.look(before)
            if time.monotonic() > rotated_s + _ROTATE_S:
                rotated_s = time.monotonic()
                self.log.take()
                self._tell(rotated_s - begun_s)
            time.sleep(max(0.0, round_s - time.monotonic()))
        for each in storms:
            each.wait()
        return steady(self.place, adds_up)

    def _tell(self, passed_s: float) -> None:
        """Say how far the run is, and what did not hold so far."""
        print(
            f"soak: {passed_s:.0f} of {SOAK_S:.0f} s, {self.faults} faults, memory"
            f" {self.memory[-1] / (1 << 20):.1f} MiB, {len(self.failures)} failures",
            *self.failures[-1:],
            file=sys.stderr,
            flush=True,
        )

    def look(self, before: Stats | None) -> Stats:
        """Compare the counters of this moment."""
        stats = self.place.stats()
        self.looks += 1
        self.memory.append(stats["rss_bytes"])
        try:
            check(stats, before)
        except AssertionError as error:
            self.failures.append(f"look {self.looks}: {error}")
        return stats

    def judge(self) -> None:
        """Do what the rules in force judge by their own name."""
        mark = f"judged-{uuid.uuid4().hex}-7"
        self.expected[mark] = self.weather.rules
        subprocess.run(["/bin/true", mark], check=True)
        path = self.weather.work / mark
        path.touch()
        path.unlink()

    def _more_faults(self) -> Iterator[Callable[[], None]]:
        yield self.hang
        try:
            self._cgroup = _hierarchy_that_limits_threads() / f"soak-{os.getpid()}"
            self._cgroup.mkdir()
            (self._cgroup / "cgroup.procs").write_text(str(self.place.pid))
            (self._cgroup / "pids.max").write_text("max")
            yield self.allow_no_threads
        except (OSError, CaptureError) as error:
            self.unavailable.append(f"a limit of threads ({error})")

    def hang(self) -> None:
        """Let a user work on a file system that never answers root."""
        with hung_mount(self.folder / f"hung{self.faults}") as place:
            script = (
                f"cd {place} && cp /bin/true prog && mv prog other && ./other {place}"
                f" ; mkdir dir && mv other dir/it && rm dir/it"
            )
            process = subprocess.Popen(
                ["/bin/sh", "-c", script],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                stderr=subprocess.DEVNULL,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
        process.wait()

    def allow_no_threads(self) -> None:
        """Let the daemon start no thread for a moment."""
        limit = self._cgroup / "pids.max"
        limit.write_text((self._cgroup / "pids.current").read_text())
        time.sleep(1)
        limit.write_text("max")

    def end(self, stats: Stats) -> None:
        """Compare the counters of the end with the log."""
        self._hold("events and losses stand in the log", self._is_logged(stats))
        now = self.place.stats()
        self._hold("no event is there twice", self.log.counts <= emitted(now))
        self._hold("no loss is told twice", self.log.told <= counted_losses(now))
        self._hold("nothing is left out", not stats["left_out"] and not self.log.budget)
        self._hold("no errors", not self.log.errors)
        wrong = [
            (mark, names, self.expected[mark])
            for mark, names in self.log.judged.items()
            if names - {self.expected[mark]}
        ]
        self._hold(f"0 wrong judgements, {wrong[:3]}", not wrong)
        self._hold("judgements were seen", len(self.log.judged) > 0)
        quarter = len(self.memory) // 4
        early, late = self.memory[quarter : 2 * quarter], self.memory[-quarter:]
        if quarter:
            limit = max(early) * _GROWTH + _GROWTH_BYTES
            self._hold("memory is flat", max(late) <= limit)

    def _is_logged(self, stats: Stats) -> bool:
        """Wait until the log has these events, and these losses told."""

        def is_there() -> bool:
            self.log.take()
            return self.log.counts >= emitted(stats) and (
                self.log.told >= counted_losses(stats)
            )

        try:
            wait_until(is_there)
        except AssertionError:
            return False
        return True

    def idle(self) -> float:
        """Return which share of a core the daemon takes when nothing is done."""
        self.place.stats()
        time.sleep(3)
        before, begun = cpu_ns(self.place.pid), self.place.stats()
        time.sleep(_IDLE_S)
        share = (cpu_ns(self.place.pid) - before) / (_IDLE_S * 1e9)
        done = _received(self.place.stats()) - _received(begun)
        told = f"idle takes {share:.3%} of a core, with {done} records of the machine"
        if done > _IDLE_RECORDS:
            self.unavailable.append(told)
        else:
            self._hold(told, share < _IDLE_SHARE)
        return share

    def _hold(self, what: str, holds: bool) -> None:
        if not holds:
            self.failures.append(f"does not hold: {what}")

    def summary(self, stats: Stats, share: float) -> str:
        """Return all figures in one line."""
        received = _received(stats)
        seen = sum(each["seen"] for each in stats["records"].values())
        return (
            f"soak: {'FAILED' if self.failures else 'passed'}, seed {SEED},"
            f" {SOAK_S:.0f} s, {seen} records seen, {received} received,"
            f" {counted_losses(stats)} lost and counted, {self.looks} looks at the"
            f" counters, {self.faults} faults, {len(self.expected)} questions of"
            f" judgement, {len(self.log.judged)} answered, memory"
            f" {max(self.memory) / (1 << 20):.1f} MiB at most,"
            f" {self.memory[-1] / (1 << 20):.1f} at last, idle {share:.3%} of a core"
        )

    def clean(self) -> None:
        """Remove what this run has made beside its folder."""
        with contextlib.suppress(AttributeError, OSError):
            self._cgroup.rmdir()


def _hierarchy_that_limits_threads() -> Path:
    """Return the mount of the cgroup hierarchy that may have the controller pids."""
    of_version_1 = Path("/sys/fs/cgroup/pids")
    return of_version_1 if of_version_1.is_dir() else Path(cgroup2_mount())


def _received(stats: Stats) -> int:
    return sum(each["received"] for each in stats["records"].values())


def main() -> int:
    """Run it; return 1 where anything did not hold."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        root.mkdir(mode=0o700)
        folder = Path(name) / "weather"
        folder.mkdir()
        os.chmod(name, 0o755)
        place = Installation(root)
        soak = Soak(place, folder)
        with soak.weather.begun(ring="1M"), removed_afterwards(place):
            stats = soak.run()
            soak.end(stats)
            share = soak.idle()
        soak.clean()
    for line in soak.failures:
        print(line)
    for line in soak.unavailable:
        print(f"not tried: {line}")
    print(soak.summary(stats, share))
    return bool(soak.failures)


if __name__ == "__main__":
    sys.exit(main())
