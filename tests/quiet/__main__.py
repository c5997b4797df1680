# SPDX-License-Identifier: MIT
"""What machines do all day, for QUIET_S seconds, in front of the rules that come along.

Packages are installed, programs built, jobs run, and somebody logs in, in a root of its
own and a control group by which these events are known. The last line is a summary. The
program ends with 1 where a rule of level high or critical hit, or ten rules an hour.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.rule_actions import run_scripts
from support.running import Event, wait_until
from support.watch import watching

from sysmonlx.capture.kernel_facts import cgroup2_mount
from sysmonlx.rules.sigma.pack import LEVELS

QUIET_S = float(os.environ.get("QUIET_S", "3600"))
HERE = Path(__file__).parent
#: Nothing but hits is reported; what marks the end of a run is.
ELEMENTS = (
    '<ProcessCreate onmatch="include"><Image condition="image">true</Image>'
    '</ProcessCreate><ProcessTerminate onmatch="include"/>'
)
SETTINGS = '<Rules action="include">shipped</Rules><Fields>CgroupPath</Fields>'
#: Hits in one hour, or a part of one, that are too many.
_TOO_MANY = 10
_HIT = re.compile(r"sigma=(.*?),level=(\w+)")


def jobs() -> list[tuple[str, str, str]]:
    """Return name, kind and script of each job."""
    text = re.sub(r"(?m)^#.*\n", "", (HERE / "jobs.txt").read_text("utf-8"))
    parts = re.split(r"(?m)^\[(\w+)\]\n", text)[1:]
    return [(name, "job", script) for name, script in zip(*[iter(parts)] * 2)]  # noqa: B905 - pairs


@contextmanager
def control_group() -> Iterator[Path]:
    """Make a control group for the work; it goes when the last process has."""
    group = Path(cgroup2_mount()) / f"sysmonlx-quiet-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def work(top: Path, group: Path, until_s: float) -> list[str]:
    """Do the jobs again and again; return what they complained of."""
    setup, complaints = (HERE / "setup.sh").read_text("utf-8"), []
    rounds = 0
    while not rounds or time.monotonic() < until_s:
        rounds += 1
        place = top / f"round{rounds}"
        place.mkdir()
        with open(group / "cgroup.procs", "wb", buffering=0) as joins:
            done = run_scripts(place, setup, jobs(), group=joins.fileno())
        print(
            f"quiet: round {rounds}: {', '.join(each.rule for each in done)}",
            flush=True,
        )
        if rounds == 1:
            complaints += [
                f"{e.rule}: {line}" for e in done for line in e.complaint.splitlines()
            ]
    return complaints


def hits_of(
    events: Sequence[Event], group: Path
) -> tuple[Counter[tuple[str, str]], int]:
    """Return (level, title) of the hits of the work, and how many others had."""
    found: Counter[tuple[str, str]] = Counter()
    others = 0
    for event in events:
        names = _HIT.findall(event.get("RuleNames", ""))
        if event.get("CgroupPath", "").endswith(group.name):
            found.update((level, title) for title, level in names)
            for title, level in names:
                print(f"quiet: {level}: {title}: {_told(event)}")
        else:
            others += len(names)
    return found, others


def _told(event: Event) -> str:
    names = ("Image", "CommandLine", "TargetFilename", "ParentImage", "DestinationIp")
    shown = [
        event[each] for each in (*names, "QueryName") if event.get(each, "-") != "-"
    ]
    return " | ".join(shown)[:300]


def main() -> int:
    """Run, and print the summary."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name, control_group() as group:
        top = Path(name)
        with watching(top / "root", ELEMENTS, SETTINGS) as daemon:
            complaints = work(top, group, begun_s + QUIET_S)
            hits, others = hits_of(daemon.settle(), group)
            stats = daemon.stats()
    seen = sum(each["seen"] for each in stats["records"].values())
    by_level = Counter(level for level, _ in hits.elements())
    passed_s = time.monotonic() - begun_s
    is_calm = by_level["high"] + by_level["critical"] == 0
    is_calm &= by_level.total() < _TOO_MANY * max(1.0, passed_s / 3600)
    for each in complaints[:40]:
        print(f"quiet: said: {each[:200]}")
    counts = ", ".join(f"{by_level[level]} {level}" for level in reversed(LEVELS))
    print(
        f"quiet: {'calm' if is_calm else 'FAILED'}, {passed_s:.0f} s, {seen} records,"
        f" {by_level.total()} hits: {counts}; {others} hits of others on this machine,"
        f" gaps {stats['gaps']}"
    )
    return 0 if is_calm else 1


if __name__ == "__main__":
    sys.exit(main())
