# SPDX-License-Identifier: MIT
"""What machines do all day, for QUIET_S seconds, in front of the rules that come along.

Packages are installed, programs built, jobs run, and somebody logs in, in a root of its
own. What descends from these counts, and what others do on this machine is told. The
last line is a summary. The program ends with 1 where a rule of level high or critical
hit, or ten rules an hour.
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

from support.rule_actions import Done, run_scripts
from support.running import Event, wait_until
from support.watch import watching

from sysmonlx.capture.kernel_facts import cgroup2_mount
from sysmonlx.rules.sigma.pack import LEVELS

QUIET_S = float(os.environ.get("QUIET_S", "3600"))
HERE = Path(__file__).parent
#: Of events other than 1 nothing but hits is reported.
ELEMENTS = '<ProcessCreate onmatch="exclude"/><ProcessTerminate onmatch="include"/>'
SETTINGS = '<Rules action="include">shipped</Rules>'
#: Part of the command line of what starts the jobs.
_DRIVER = "exec(json.loads("
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


def work(top: Path, group: Path, until_s: float) -> list[Done]:
    """Do the jobs again and again; return all that were done."""
    setup, found = (HERE / "setup.sh").read_text("utf-8"), list[Done]()
    rounds = 0
    while not rounds or time.monotonic() < until_s:
        rounds += 1
        place = top / f"round{rounds}"
        place.mkdir()
        with open(group / "cgroup.procs", "wb", buffering=0) as joins:
            done = run_scripts(place, setup, jobs(), group=joins.fileno())
        print(f"quiet: round {rounds}: {' '.join(e.rule for e in done)}", flush=True)
        found += done
    return found


def descendants(events: Sequence[Event], done: Sequence[Done]) -> set[str]:
    """Return the ProcessGuid of each program that the jobs led to."""
    pids, parents, found = {str(each.pid) for each in done}, {}, set[str]()
    for event in events:
        if event["EventID"] == "1":
            parents[event["ProcessGuid"]] = event["ParentProcessGuid"]
            if event["ProcessId"] in pids and _DRIVER in event["ParentCommandLine"]:
                found.add(event["ProcessGuid"])
    more = found
    while more:
        more = {guid for guid, parent in parents.items() if parent in found} - found
        found |= more
    return found


def hits_of(
    events: Sequence[Event], mine: set[str]
) -> tuple[Counter[tuple[str, str]], int]:
    """Return (level, title) of the hits of the work, and how many others had."""
    found: Counter[tuple[str, str]] = Counter()
    others = 0
    for event in events:
        names = _HIT.findall(event.get("RuleNames", ""))
        guid = event.get("ProcessGuid", event.get("SourceProcessGUID", ""))
        if guid not in mine:
            others += len(names)
            continue
        found.update((level, title) for title, level in names)
        for title, level in names:
            print(f"quiet: {level}: {title}: {_told(event)}")
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
            done = work(top, group, begun_s + QUIET_S)
            events = daemon.settle()
            stats = daemon.stats()
    mine = descendants(events, done)
    hits, others = hits_of(events, mine)
    by_level = Counter(level for level, _ in hits.elements())
    passed_s = time.monotonic() - begun_s
    is_calm = by_level["high"] + by_level["critical"] == 0
    is_calm &= by_level.total() < _TOO_MANY * max(1.0, passed_s / 3600)
    complaints = {(e.rule, line) for e in done for line in e.complaint.splitlines()}
    for rule, line in sorted(complaints)[:40]:
        print(f"quiet: {rule} said: {line[:200]}")
    lost = sum(sum(each["lost"].values()) for each in stats["records"].values())
    counts = ", ".join(f"{by_level[level]} {level}" for level in reversed(LEVELS))
    print(
        f"quiet: {'calm' if is_calm else 'FAILED'}, {passed_s:.0f} s,"
        f" {len(mine)} programs,"
        f" {by_level.total()} hits: {counts}; {others} hits of others on this machine,"
        f" lost {lost}, gaps {stats['gaps']}"
    )
    return 0 if is_calm else 1


if __name__ == "__main__":
    sys.exit(main())
