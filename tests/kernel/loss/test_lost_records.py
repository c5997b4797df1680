# SPDX-License-Identifier: MIT
"""What does not fit is counted to the last record, said, and made good."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.accounts import Stats, adds_up, lost_of, steady
from support.running import Daemon, Event, stopped
from support.watch import ACTIONS

pytestmark = pytest.mark.kernel

SMALL_RING = "<RingSize>64K</RingSize>"
LOSS = re.compile(r"(\w+): (\d+) lost \(ring full\) since \d{4}-\d\d-\d\d [\d:.]{12}")
RECORDS = {
    "process_create": "ProcessCreate",
    "process_terminate": "ProcessTerminate",
    "process_fork": "ProcessFork",
}


def run_many(count: int, marker: str) -> None:
    variables = {"COUNT": str(count), "SIZE": "300", "MARKER": marker}
    subprocess.run(
        [sys.executable, ACTIONS["actions_process.py"], "run_many"],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def lost(records: dict[str, Any]) -> Counter[str]:
    return Counter(
        {
            shown: lost_of(records[name])
            for name, shown in RECORDS.items()
            if name in records and lost_of(records[name])
        }
    )


def reported(events: list[Event]) -> Counter[str]:
    """Return the sum of all reports of losses, each of which must be well formed."""
    total: Counter[str] = Counter()
    for event in events:
        if event["EventID"] != "255" or event["ID"] == "LostHashes":
            continue
        assert event["ID"] == "LostEvents"
        for part in event["Description"].split("; "):
            found = LOSS.fullmatch(part)
            assert found, part
            total[found[1]] += int(found[2])
    return total


def creates_add_up(stats: Stats) -> bool:
    events = stats["events"]["1"]
    received = stats["records"]["process_create"]["received"]
    return bool(received == events["emitted"] + events["filtered"])


def test_burst_that_does_not_fit_is_counted_and_reported_exactly(
    daemon: Callable[..., Daemon],
) -> None:
    watch = daemon(settings=SMALL_RING)
    marker = uuid.uuid4().hex
    with stopped(watch):
        run_many(500, marker)
    watch.wait_for(lambda event: event.get("ID") == "LostEvents")
    events = watch.settle()
    stats = steady(
        watch,
        adds_up,
        creates_add_up,
        lambda stats: reported(watch.events()) == lost(stats["records"]),
    )
    seen = [event for event in events if marker in event.get("CommandLine", "")]
    assert 0 < len(seen) < 500
    assert lost(stats["records"])["ProcessCreate"] >= 500 - len(seen)
    assert len({event["ProcessGuid"] for event in seen}) == len(seen)


def test_nothing_lost_is_nothing_reported(daemon: Callable[..., Daemon]) -> None:
    watch = daemon()
    run_many(230, uuid.uuid4().hex)
    events = watch.settle()
    stats = steady(watch, adds_up)
    assert lost(stats["records"]) == Counter()
    assert [event for event in events if event["EventID"] == "255"] == []


def test_parents_are_right_after_a_loss(daemon: Callable[..., Daemon]) -> None:
    """A server whose own records were lost runs programs afterwards."""
    watch = daemon(settings=SMALL_RING)
    name = "a server " + "x" * 3000  # no room is left in the ring for a record of it
    with stopped(watch):
        run_many(500, uuid.uuid4().hex)
        server = subprocess.Popen(
            ["/bin/sh", "-s", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert server.stdin is not None
    watch.wait_for(lambda event: event.get("ID") == "LostEvents")
    marker = uuid.uuid4().hex
    server.stdin.write(f"(/bin/true {marker}; :)\n")
    server.communicate()
    events = watch.settle()
    own = [each for each in events if each.get("ProcessId") == str(server.pid)]
    (child,) = [
        each for each in events if each.get("CommandLine") == f"/bin/true {marker}"
    ]
    assert [each["EventID"] for each in own] == ["5"]
    assert own[0]["Image"] == "/usr/bin/dash"
    assert child["ParentImage"] == "/usr/bin/dash"
    assert child["ParentCommandLine"] == f"/bin/sh -s {name}"
    assert child["ParentUser"] == "root"
    (between,) = [
        each
        for each in events
        if each["EventID"] == "5" and each["ProcessId"] == child["ParentProcessId"]
    ]
    assert between["ProcessGuid"] == child["ParentProcessGuid"]
