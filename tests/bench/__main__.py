# SPDX-License-Identifier: MIT
"""`make bench`: everything measured once, printed and written to docs/benchmarks.md."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import (
    calls_side,
    daemon_side,
    peers,
    real_loop,
    rules_side,
    sigma_side,
    workload_side,
)
from bench.report import Report
from bench.sensor import REPOSITORY
from bench.sink import Sink

DOCUMENT = Path(os.environ.get("BENCH_OUTPUT", REPOSITORY / "docs/benchmarks.md"))
_SECONDS = 420.0
#: Parts of the time; the workloads get what is left.
_REAL_LOOP_SHARE, _DAEMON_SHARE, _CALLS_SHARE = 0.16, 0.2, 0.16
_RULES_SHARE, _SIGMA_SHARE = 0.05, 0.03


@contextmanager
def _places() -> Iterator[dict[str, Path]]:
    """Yield a directory in memory and one on disk; both are removed."""
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    disk = REPOSITORY / "build"
    disk.mkdir(exist_ok=True)
    made = {
        "tmpfs": Path(tempfile.mkdtemp(prefix="sysmonlx-bench-", dir=memory)),
        "disk": Path(tempfile.mkdtemp(prefix="bench-", dir=disk)),
    }
    try:
        yield made
    finally:
        for each in made.values():
            shutil.rmtree(each, ignore_errors=True)


def main() -> int:
    """Run the benchmark; BENCH_SECONDS is how long it may take."""
    if os.geteuid() != 0:
        print("make bench needs root", file=sys.stderr)
        return 1
    seconds = float(os.environ.get("BENCH_SECONDS", _SECONDS))
    end = time.monotonic() + seconds
    report = Report(seconds)
    with _places() as places:
        real_loop.measure(places["disk"], report, seconds * _REAL_LOOP_SHARE)
        sink = Sink(places["disk"] / "log.sock")
        try:
            bench = daemon_side.DaemonSide(places["disk"], sink, report)
            bench.measure(seconds * _DAEMON_SHARE)
            calls_side.measure(places, sink, report, seconds * _CALLS_SHARE)
            rules_side.measure(places, sink, report, seconds * _RULES_SHARE)
            sigma_side.measure(places["disk"], sink, report, seconds * _SIGMA_SHARE)
            if os.environ.get("BENCH_PEERS") == "1":
                peers.install()
            workload_side.measure(places, sink, report, end)
        finally:
            sink.close()
    print(report.about())
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(report.text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
