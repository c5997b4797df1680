# SPDX-License-Identifier: MIT
"""Budget, switched on: what a flood repeats is left out, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.accounts import Stats, adds_up, steady
from support.cpu import cpu_ns
from support.running import Daemon, Event, stopped, wait_until

pytestmark = pytest.mark.kernel

NOBODY = 65534
FILES = (
    '<FileCreate onmatch="exclude"/><ProcessCreate onmatch="exclude"/>'
    '<ProcessTerminate onmatch="include"/>'
)
SETTINGS = "<Budget>1</Budget><RingSize>1M</RingSize>"
#: On a slow disk a file takes 70 us: the ring has room for 3,000 of them.
_FLOOD_NS = 800_000_000
END = re.compile(r"FileCreate by (\S+) of nobody: all reported again; (\d+) left out")

FLOOD = """
import os
flags = os.O_CREAT | os.O_WRONLY
number = 0
while True:
    number += 1
    os.close(os.open(f'flood{number % 9}', flags, 0o600))
    os.unlink(f'flood{number % 9}')
"""


@contextmanager
def flooded(folder: Path) -> Iterator[int]:
    """Let an unprivileged user make files in one directory; yield the process id."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    process = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", FLOOD],
        cwd=folder,  # that user may not walk there
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    try:
        yield process.pid
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def budget_texts(events: list[Event]) -> list[str]:
    return [
        event["Description"]
        for event in events
        if event["EventID"] == "255" and event["ID"] == "Budget"
    ]


def test_only_what_a_flood_repeats_is_left_out(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    watch = daemon(FILES, SETTINGS)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    with flooded(tmp_path / "flood") as flood:
        leave_out(watch, flood, 1)
        before = watch.stats()
        for number in range(60):
            (quiet / str(number)).touch()
            subprocess.run(["/bin/true", f"quiet {number}"], check=True)
    stats = steady(watch, adds_up)
    events = watch.settle()
    made = {e["TargetFilename"] for e in events if e["EventID"] == "11"}
    ran = {e["CommandLine"] for e in events if e["EventID"] == "1"}
    files = {str(quiet / str(number)) for number in range(60)} - made
    programs = {f"/bin/true quiet {number}" for number in range(60)} - ran
    for missing, record in ((files, "file_create"), (programs, "process_create")):
        assert len(missing) <= ring_full(stats, record) - ring_full(before, record)
    assert stats["records"]["process_create"]["left_out"] == 0
    watch.stop()
    begun, *_, ended = budget_texts(watch.events())
    assert begun.startswith("FileCreate by ")
    assert "1 of 100 repeats reported for 10 s" in begun
    told = [END.fullmatch(text) for text in budget_texts(watch.events())]
    assert sum(int(found[2]) for found in told if found) == stats["left_out"], ended


def leave_out(watch: Daemon, flood: int, count: int) -> None:
    """Let the daemon fall behind, again and again, until `count` are left out.

    Each time it stands still while the flood uses `_FLOOD_NS` of processor time: on a
    busy machine, the ring would not fill within a fixed time.
    """

    def has_left_out() -> bool:
        until_ns = cpu_ns(flood) + _FLOOD_NS
        with stopped(watch):
            wait_until(lambda: cpu_ns(flood) >= until_ns)
        return bool(watch.stats()["left_out"] >= count)

    wait_until(has_left_out)


def ring_full(stats: Stats, record: str) -> int:
    """Return how many records of a kind were lost because the ring was full."""
    return int(stats["records"][record]["lost"].get("ring full", 0))


def test_a_new_directory_is_always_reported(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    watch = daemon(FILES, SETTINGS)
    marker = uuid.uuid4().hex
    script = FLOOD.replace(
        "    number += 1\n",
        "    number += 1\n"
        "    if not number % 1_000:\n"
        f"        os.mkdir(f'{marker}{{number}}')\n"
        f"        os.close(os.open(f'{marker}{{number}}/new', flags, 0o600))\n",
    )
    folder = tmp_path / "flood"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", script], cwd=folder)
    try:
        leave_out(watch, process.pid, 2_000)
    finally:
        process.kill()
        process.wait()
    stats = steady(watch, adds_up)
    events = watch.settle()
    made = {e["TargetFilename"] for e in events if e["EventID"] == "11"}
    wanted = {f"{each}/new" for each in folder.glob(f"{marker}*")}
    assert wanted
    assert len(wanted - made) <= ring_full(stats, "file_create")
