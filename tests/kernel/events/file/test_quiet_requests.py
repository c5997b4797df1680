# SPDX-License-Identifier: MIT
"""io_uring requests that ask for no completion entry: each that succeeds is told."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon
from support.watch import (
    ACTIONS,
    ENVIRONMENT,
    FILE_RULES,
    PYTHON,
    act,
    rows,
    watching,
)

pytestmark = pytest.mark.kernel

SCRIPT = "actions_quiet.py"
KINDS = [
    *("single", "batch", "polled", "polled_batch", "deferred", "cooperative"),
    *("in_worker", "linked"),
]
PREPARED = [("11", "from"), ("11", "gone")]
DONE = [
    *(("11", "made"), ("11", "to"), ("11", "linked")),
    *(("23", "gone"), ("26", "gone")),
    ("9", "/dev/loop0"),
]
#: Within this time a request is told whose thread does not come back, in seconds.
SWEPT_S = 10.0


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root", FILE_RULES) as daemon:
        if "quiet_requests_sweep" not in daemon.stats()["attached"]:
            pytest.skip("this kernel does not tell how such requests end")
        yield daemon


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_without_entries(watcher: Daemon, directory: Path, kind: str) -> None:
    (directory / "old").touch()
    _, events = act(watcher, SCRIPT, kind, directory)
    assert sorted(rows(events, directory)) == sorted([*PREPARED, *DONE])


def test_many_requests_under_way(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, SCRIPT, "many", directory)
    expected = [("11", f"T{number}") for number in range(200)]
    assert sorted(rows(events, directory)) == sorted(expected)


def test_a_request_that_failed_is_no_event(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, SCRIPT, "in_turns", directory)
    expected = [("11", f"T{number}") for number in range(40)]
    assert sorted(rows(events, directory)) == sorted(expected)


def test_a_ring_that_is_never_entered_again(watcher: Daemon, directory: Path) -> None:
    command = [PYTHON, str(ACTIONS[SCRIPT]), "never_come_back", os.fspath(directory)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            event = watcher.wait_for(
                lambda each: each.get("TargetFilename") == f"{directory}/to", SWEPT_S
            )
        finally:
            process.kill()
    assert event["ProcessId"] == str(process.pid)
    made = f"{directory}/made"
    watcher.wait_for(lambda each: each.get("TargetFilename") == made, SWEPT_S)


def test_requests_that_have_ended_take_no_room(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, SCRIPT, "many_rings", directory)
    expected = [("11", f"{name}{number}") for name in "xy" for number in range(1100)]
    assert sorted(rows(events, directory)) == sorted(expected)


def test_requests_that_failed_take_no_room(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, SCRIPT, "fail_often", directory)
    assert rows(events, directory) == [("9", "/dev/loop0")]


def test_a_process_that_runs_another_image(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, SCRIPT, "run_another_image", directory)
    images = [each["Image"] for each in events if each["EventID"] == "9"]
    assert images == [PYTHON]


def test_a_process_that_ends_at_once(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, SCRIPT, "exit_at_once", directory)
    expected = [("11", "from")]
    if (directory / "to").exists():
        expected.append(("11", "to"))
    assert rows(events, directory) == expected


def test_nothing_is_lost_or_left(watcher: Daemon) -> None:
    stats = watcher.stats()
    assert stats["unproven_requests"] == 0
    assert stats["gaps"] == []
    for record in ("file_create", "file_delete", "raw_access_read"):
        assert stats["records"][record]["lost"] == {}


def test_what_nothing_proves_is_told(watcher: Daemon, directory: Path) -> None:
    act(watcher, SCRIPT, "hold_more_than_a_share", directory)
    assert watcher.stats()["unproven_requests"] >= 44
    told = watcher.wait_for(lambda each: each.get("ID") == "LostEvents")
    assert "Results of io_uring requests" in told["Description"]
