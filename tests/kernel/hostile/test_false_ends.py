# SPDX-License-Identifier: MIT
"""The end of a call or a request that is not told as usual, or that is a lie."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel.hostile.actions_false_ends import DATAGRAMS, RING_ROUNDS
from support.running import Daemon, Event
from support.watch import FILE_RULES, act, rows, watching

pytestmark = pytest.mark.kernel

SCRIPT = "actions_false_ends.py"
RULES = FILE_RULES + "".join(
    f'<{tag} onmatch="exclude"/>'
    for tag in ("NetworkConnect", "CreateRemoteThread", "ProcessTampering")
)
IS_X86 = os.uname().machine == "x86_64"


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root", RULES) as daemon:
        if "io_uring_name_overflowed" not in daemon.stats()["attached"]:
            pytest.skip("io_uring is not watched here")
        yield daemon


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of the disk's file system."""
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def of_action(daemon: Daemon, name: str, directory: Path) -> list[Event]:
    return act(daemon, SCRIPT, name, directory)[1]


DELETED = [("23", "z"), ("26", "z")]
BEYOND_QUEUE: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "files_beyond_queue",
        [
            *(("11", each) for each in ("x", "y", "z", "new", "renamed", "linked")),
            *DELETED,
        ],
    ),
    ("many_beyond_queue", [("11", f"new{number}") for number in range(RING_ROUNDS)]),
    ("failed_beyond_queue", [("11", "new")]),
    ("device_beyond_queue", [("9", "/dev/loop0")]),
    ("read_late", [("11", "new")]),
]


@pytest.mark.parametrize(("name", "expected"), BEYOND_QUEUE)
def test_full_queue_of_a_ring_hides_nothing(
    watcher: Daemon, directory: Path, name: str, expected: list[tuple[str, str]]
) -> None:
    found = rows(of_action(watcher, name, directory), directory)
    assert sorted(found) == sorted(expected)


def test_rights_of_a_ring_make_no_name_wrong(watcher: Daemon, directory: Path) -> None:
    found = rows(of_action(watcher, "with_rights_of_the_ring", directory), directory)
    named = sorted(name for _, name in found if "/T" in name)
    assert named == sorted(f"da/T{number}" for number in range(RING_ROUNDS))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("accepted_beyond_queue", 1),
        ("accepted_by_one_number", 4),
        ("accepted_among_many", 3),
    ],
)
def test_each_accepted_connection_is_an_event(
    watcher: Daemon, directory: Path, name: str, count: int
) -> None:
    events = of_action(watcher, name, directory)
    assert [each["Initiated"] for each in events].count("false") == count


def test_tree_that_is_mounted_nowhere_has_no_names_of_the_system(
    watcher: Daemon, directory: Path
) -> None:
    name = "tree_that_is_mounted_nowhere"
    output, events = act(watcher, SCRIPT, name, directory)
    (start,) = [
        each
        for each in watcher.events()
        if each["EventID"] == "1" and each["ProcessId"] in output.split()
    ]
    assert start["Image"] == "+/usr/bin/dpkg"
    names = [each for _, each in rows(events, directory)]
    assert names == ["tree/usr/bin/dpkg", "+/etc/made", "+/etc/renamed"]


def test_program_over_another_has_its_name_and_own_hashes(
    watcher: Daemon, directory: Path
) -> None:
    output, _ = act(watcher, SCRIPT, "program_over_another", directory)
    started = [
        each
        for each in watcher.events()
        if each["EventID"] == "1" and each["ProcessId"] in output.split()
    ]
    if not started:
        pytest.skip("users may make no user namespaces here")
    digest = hashlib.sha256((directory / "own").read_bytes()).hexdigest()
    assert started[-1]["Image"] == "/usr/bin/dpkg"
    assert started[-1]["Hashes"] == f"SHA256={digest}"


def test_datagrams_whose_senders_are_forgotten_are_counted(
    watcher: Daemon, directory: Path
) -> None:
    before = lost(watcher)
    events = of_action(watcher, "datagrams_among_many", directory)
    told = [each["Initiated"] for each in events].count("false")
    assert told + lost(watcher) - before == DATAGRAMS
    assert watcher.stats()["gaps"] == []


def lost(daemon: Daemon) -> int:
    return sum(daemon.stats()["records"]["network_connect"]["lost"].values())


# --- calls that never ran


@pytest.mark.skipif(not IS_X86, reason="numbers of calls are those of x86-64")
@pytest.mark.parametrize("name", ["names_by_filter", "name_by_tracer"])
def test_name_of_a_call_that_never_ran_is_not_told(
    watcher: Daemon, directory: Path, name: str
) -> None:
    events = of_action(watcher, name, directory)
    found = rows([each for each in events if "TargetFilename" in each], directory)
    assert found[0] == ("11", "there")
    assert {path for _, path in found[1:]} == {"-"}, "an event names a file"


@pytest.mark.skipif(not IS_X86, reason="numbers of calls are those of x86-64")
def test_filter_hides_no_name(watcher: Daemon, directory: Path) -> None:
    found = rows(of_action(watcher, "names_behind_filter", directory), directory)
    made, taken = ("x", "y", "z"), [("23", "x"), ("26", "x")]
    assert sorted(found) == sorted([*(("11", each) for each in made), *taken])


@pytest.mark.skipif(not IS_X86, reason="numbers of calls are those of x86-64")
@pytest.mark.parametrize(
    "name", ["reach_by_filter", "reach_by_listener", "image_by_filter"]
)
def test_reach_of_a_call_that_never_ran_is_no_event(
    watcher: Daemon, directory: Path, name: str
) -> None:
    assert of_action(watcher, name, directory) == []
