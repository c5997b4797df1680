# SPDX-License-Identifier: MIT
"""Processor time of another process, and the time that a thread of ours sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_CPUCLOCK_SCHED = 2


def cpu_ns(pid: int) -> int:
    """Return the processor time of all threads of a process, ended ones included.

    It is read from the process's clock: clock_getcpuclockid(3), whose number is made as
    in <linux/posix-timers.h>.

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)


def slept_s(act: Callable[[], object]) -> float:
    """Return for how many seconds this thread waited for somebody else in a call.

    A busy machine lets a thread run slowly, or wait for a processor; neither counts.
    """
    begun_ns, before_ns = time.monotonic_ns(), _runnable_ns()
    act()
    passed_ns = time.monotonic_ns() - begun_ns
    return (passed_ns - (_runnable_ns() - before_ns)) / 1e9


def _runnable_ns() -> int:
    """Return how long this thread has run, and has waited for a processor, in ns.

    Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat.
    """
    ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return int(ran) + int(waited)
