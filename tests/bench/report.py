# SPDX-License-Identifier: MIT
"""The tables of docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.instructions import Instructions

_HEAD = """# Benchmarks

<!-- Written by `make bench`; do not edit. -->

Repeat with `make bench` as root, in nine minutes. `BENCH_SECONDS=60 make bench` takes
less and is less exact; `BENCH_PEERS=1 make bench` installs auditd and compares with it.
Other work on the machine makes all figures worse. CPU of different machines does not
compare; ratios within one run do.

A title says how records came. *Real loop*: one by one, as programs did something.
*Fed*: the ring buffer was filled with them at once, which is cheaper for each, as all
caches of the processor stay warm; it shows the work itself, and the limit.
"""


#: How figures came about: records came one by one as the kernel made them, or the ring
#: buffer was filled with them at once.
REAL_LOOP, FED = "real loop", "fed"


def median(values: Iterable[float]) -> float:
    """Return the median, 0 where there is nothing."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which so much of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> str:
    """Return one line about processor, memory, kernel and Python."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    load = os.getloadavg()[0]
    name = names[0] if names else platform.machine()
    return (
        f"{os.cpu_count()} x {name}, {memory} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; load at the start {load:.1f}"
    )


def _revision() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, check=False
    )
    return done.stdout.decode().strip() or "unknown"


def _counter() -> str:
    """Say whether instructions can be counted here."""
    counter = Instructions(os.getpid())
    counts = counter.counts()
    counter.close()
    if counts is None:
        return "this machine has no counter of them, so there are none below"
    return "counted by the processor"


class Report:
    """Collects titled tables in the order in which they are to be read."""

    def __init__(self, seconds: float) -> None:
        self._began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self._machine = machine()
        self._seconds = seconds
        self._start = time.monotonic()
        self._sections: list[str] = []

    def table(
        self,
        title: str,
        how: str,
        head: Sequence[str],
        rows: Iterable[Sequence[str]],
        kind: str = "",
    ) -> None:
        """Add a table and print it; `how` says how its figures were measured.

        `kind` is REAL_LOOP or FED where they depend on how records come.
        """
        title += f" ({kind})" if kind else ""
        lines = ["", f"## {title}", "", *_wrapped(how), ""]
        lines.append("| " + " | ".join(head) + " |")
        lines.append("| --- |" + " ---: |" * (len(head) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        self._sections.append("\n".join(lines))
        print(self._sections[-1], flush=True)

    def about(self) -> str:
        """Return what was measured where, when, and how long it took until now."""
        took_s = time.monotonic() - self._start
        return (
            f"\n* machine: {self._machine}, at the end {os.getloadavg()[0]:.1f}\n"
            f"* revision: {_revision()}, {self._began}\n"
            f"* instructions: {_counter()}\n* took {took_s:.0f} s\n"
        )

    def text(self) -> str:
        """Return the document."""
        return _HEAD + self.about() + "\n".join(self._sections) + "\n"


def _wrapped(text: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > 105:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return [*lines, line]
