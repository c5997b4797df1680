# SPDX-License-Identifier: MIT
"""Files that come into being and go, each action with all events of its process."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.running import Daemon, Event
from support.watch import PYTHON, act, rows, watching

pytestmark = pytest.mark.kernel

LONG = "/".join(f"{number:02}" + "x" * 248 for number in range(14)) + "/leaf"

CREATIONS: list[tuple[str, list[str]]] = [
    ("create", ["new"]),
    ("create_exclusively", ["new"]),
    ("create_by_creat", ["new"]),
    ("create_by_openat2", ["new"]),
    ("create_at_descriptor", ["sub/new"]),
    ("create_by_dots", ["new"]),
    ("create_through_link", ["sub/new"]),
    ("create_in_thread", ["new"]),
    ("create_in_child", ["new"]),
    ("create_deep", ["d/" * 60 + "leaf"]),
    ("create_long", [LONG]),
    ("create_invalid_utf8", [r"new \xff\xfe"]),
    ("create_in_chroot", ["jail/new"]),
    ("open_existing", []),
    ("fail_to_create", []),
    ("make_other_kinds", []),
    ("mknod_regular", ["new"]),
    ("mknod_without_type", ["new"]),
    ("link_unnamed", ["new"]),
    ("link", ["new"]),
    ("rename", ["new"]),
    ("rename_at_descriptors", ["sub/new"]),
    ("rename_exchange", ["old2", "old"]),
    (
        "rename_in_overlay",
        [
            "lower/low",
            "upper/up",
            *(f"merged/{each}" for each in ("low2", "up2", "up3")),
        ],
    ),
]

#: Names that led to a file for a moment, and what makes them.
HIDDEN = ["hide_by_rename", "hide_by_link"]

#: What makes files by calls that fail, which others may then write to as they are.
FAILING = ["openat", "openat2", "creat", "ring"]
FAILING += ["open"] * (os.uname().machine == "x86_64")
HIDDEN_BY_RING = ["hide_by_ring_rename", "hide_by_ring_link"]

#: What makes names of other things than files.
NO_FILES = ["rename_other_kinds", "link_other_kinds", "rename_directories"]

BY_RING: list[tuple[str, list[tuple[str, str]]]] = [
    ("create_by_ring", [("11", "new")]),
    ("create_by_ring_into_its_table", [("11", "new")]),
    ("rename_by_ring", [("11", "new")]),
    ("link_by_ring", [("11", "new")]),
    ("unlink_by_ring", [("23", "old"), ("26", "old")]),
]

#: What each removes, and what it creates first.
REMOVALS: list[tuple[str, list[str], list[str]]] = [
    ("unlink", [], ["old"]),
    ("unlink_absolute", [], ["old"]),
    ("unlink_at_descriptor", [], ["old"]),
    ("unlink_at_wide_cwd", [], ["old"]),
    ("unlink_through_link", ["sub/new"], ["sub/new"]),
    ("unlink_behind_link_and_dots", ["a/new"], ["a/new"]),
    ("unlink_hard_links", [], ["linked", "old"]),
    ("unlink_while_open", [], ["old"]),
    ("unlink_executable", [], ["program"]),
    ("unlink_other_kinds", [], ["pipe", "link"]),
    ("unlink_nothing", [], []),
    ("unlink_in_chroot", ["jail/sub/new"], ["jail/sub/new"]),
    ("overlay", ["lower/low", "upper/up"], ["merged/low", "merged/up"]),
    ("mount_namespace", ["mnt/sub/new", "mnt/sub/newer"], ["mnt/sub/newer"]),
]


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root") as daemon:
        yield daemon


@pytest.fixture(params=["/tmp", "/dev/shm"])
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of the disk's file system and one of memory, with some old files."""
    made = Path(tempfile.mkdtemp(dir=request.param))
    for name in ("old", "old2", "program"):
        (made / name).write_text(name)
    os.link(made / "old", made / "linked")
    os.chmod(made / "program", 0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize(("name", "created"), CREATIONS)
def test_creation(
    watcher: Daemon, directory: Path, name: str, created: list[str]
) -> None:
    _, events = act(watcher, "actions_file.py", name, directory)
    assert rows(events, directory) == [("11", each) for each in created]


@pytest.mark.parametrize("name", [*HIDDEN, *HIDDEN_BY_RING])
def test_a_file_whose_name_became_something_else(
    watcher: Daemon, directory: Path, name: str
) -> None:
    _, events = act(watcher, "actions_file.py", name, directory)
    found = rows(events, directory)
    assert [each for each in found if each[1].startswith("T")] == [
        ("11", f"T{number}") for number in range(40)
    ]


@pytest.mark.parametrize("call", FAILING)
def test_a_file_made_by_an_open_that_fails(
    watcher: Daemon, directory: Path, call: str
) -> None:
    name = f"fail_to_open_what_{call}_made"
    _, events = act(watcher, "actions_file.py", name, directory)
    assert rows(events, directory) == [("11", "new"), ("11", "next")]
    assert (directory / "new").exists()
    assert abs(utc(events[0], "CreationUtcTime") - utc(events[0], "UtcTime")) < 1


@pytest.mark.parametrize("name", [*NO_FILES, "name_other_kinds_by_ring"])
def test_names_of_other_things_are_no_creation(
    watcher: Daemon, directory: Path, name: str
) -> None:
    _, events = act(watcher, "actions_file.py", name, directory)
    assert events == []


def test_a_file_that_takes_the_place_of_a_pipe(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "rename_file_over_pipe", directory)
    assert ("11", "pipe") in rows(events, directory)


def test_each_call_is_judged_by_what_it_changed(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "rename_after_failures", directory)
    assert rows(events, directory) == [("11", "new")]


@pytest.mark.parametrize(("name", "created", "removed"), REMOVALS)
def test_removal_is_both_events(
    watcher: Daemon,
    directory: Path,
    name: str,
    created: list[str],
    removed: list[str],
) -> None:
    _, events = act(watcher, "actions_file.py", name, directory)
    expected = [("11", each) for each in created]
    expected += [(number, each) for each in removed for number in ("23", "26")]
    assert rows(events, directory) == expected


def test_a_removal_whose_directory_has_gone_shows_the_name_as_given(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "unlink_in_gone_directory", directory)
    assert rows(events, directory) == [
        ("11", "sub/new"),
        ("23", "sub/new"),
        ("26", "sub/new"),
    ]


def test_a_burst_is_complete_and_in_order(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, "actions_file.py", "burst", directory)
    assert rows(events, directory) == [
        (number, f"burst{each}") for each in range(200) for number in ("11", "23", "26")
    ]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is of x86")
def test_calls_of_the_32_bit_interface_are_seen(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "compat_calls", directory)
    assert rows(events, directory) == [("11", "new"), ("23", "new"), ("26", "new")]


def test_a_name_taken_over_is_a_removal_and_a_creation(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "rename_over", directory)
    assert rows(events, directory) == [("23", "old2"), ("26", "old2"), ("11", "old2")]


@pytest.mark.parametrize(("name", "expected"), BY_RING)
def test_io_uring_hides_nothing(
    watcher: Daemon, directory: Path, name: str, expected: list[tuple[str, str]]
) -> None:
    _, events = act(watcher, "actions_file.py", name, directory)
    assert rows(events, directory) == expected


def test_a_block_device_is_raw_access(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, "actions_file.py", "open_device", directory)
    assert rows(events, directory) == [("9", "/dev/loop0")]


def utc(event: Event, field: str) -> float:
    found = datetime.strptime(event[field], "%Y-%m-%d %H:%M:%S.%f")
    return found.replace(tzinfo=UTC).timestamp()


def test_fields_of_a_creation(watcher: Daemon, directory: Path) -> None:
    before = time.time()
    _, (event,) = act(watcher, "actions_file.py", "create_in_child", directory)
    (parent,) = [
        each
        for each in watcher.events()
        if each["EventID"] == "1" and each["CommandLine"].endswith(f" {directory}")
    ]
    assert event["Image"] == PYTHON
    assert event["User"] == "root"
    assert event["RuleName"] == "-"
    assert event["ProcessId"] != parent["ProcessId"]
    assert event["ProcessGuid"] != parent["ProcessGuid"]
    assert before - 0.001 <= utc(event, "UtcTime") <= time.time()
    created = utc(event, "CreationUtcTime")  # by a clock of 100 Hz or better
    assert before - 0.02 <= created <= utc(event, "UtcTime") + 0.02


@pytest.mark.parametrize("name", ["link", "rename"])
def test_a_new_name_keeps_the_time_of_creation(
    watcher: Daemon, directory: Path, name: str
) -> None:
    time.sleep(0.05)  # so that the two times differ
    _, (event,) = act(watcher, "actions_file.py", name, directory)
    age = utc(event, "UtcTime") - utc(event, "CreationUtcTime")
    assert 0.05 <= age < 20


def test_fields_of_a_deletion(watcher: Daemon, directory: Path) -> None:
    _, events = act(watcher, "actions_file.py", "unlink_executable", directory)
    for event in events:
        assert event["Image"] == PYTHON
        assert event["User"] == "root"
        assert event["Hashes"] == "-"
        assert event["IsExecutable"] in ("true", "-")
    assert [each.get("Archived") for each in events] == ["-", None]


def test_a_path_rewritten_by_another_thread_is_not_believed(
    watcher: Daemon, directory: Path
) -> None:
    _, events = act(watcher, "actions_file.py", "rewrite_while_unlinking", directory)
    assert {name for _, name in rows(events, directory)} == {"old"}
    assert len(events) == 900


def test_truncation_is_a_creation_on_request(tmp_path: Path, directory: Path) -> None:
    setting = "<TruncationAsCreate>true</TruncationAsCreate>"
    with watching(tmp_path / "root", settings=setting) as daemon:
        _, events = act(daemon, "actions_file.py", "open_existing", directory)
    assert rows(events, directory) == [("11", "old")] * 3


def test_deletion_events_have_rules_of_their_own(
    tmp_path: Path, directory: Path
) -> None:
    rules = (
        '<ProcessCreate onmatch="exclude"/><FileDelete onmatch="include">'
        '<TargetFilename condition="end with">/old</TargetFilename></FileDelete>'
        '<FileDeleteDetected onmatch="exclude">'
        '<TargetFilename condition="end with">/old</TargetFilename>'
        "</FileDeleteDetected>"
    )
    with watching(tmp_path / "root", rules) as daemon:
        _, events = act(daemon, "actions_file.py", "unlink_hard_links", directory)
    assert rows(events, directory) == [("26", "linked"), ("23", "old")]


def test_no_system_call_is_watched_for_processes_alone(tmp_path: Path) -> None:
    rules = '<ProcessCreate onmatch="exclude"/><ProcessTerminate onmatch="exclude"/>'
    with watching(tmp_path / "root", rules) as daemon:
        programs = daemon.stats()["programs"]
    assert "process_create" in programs
    assert "syscall_exit" not in programs
