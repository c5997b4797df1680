# SPDX-License-Identifier: MIT
"""Processes that reach into others, each action with all events of its process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon, tree
from support.watch import PYTHON, act, watching

pytestmark = pytest.mark.kernel

CAT = os.path.realpath("/bin/cat")
ALL, READ, WRITE, DUPLICATE = "0x1fffff", "0x10", "0x28", "0x40"

ACTIONS: list[tuple[str, list[str]]] = [
    ("attach", [ALL]),
    ("seize", [ALL]),
    ("attach_from_thread", [ALL]),
    ("fail_to_attach", []),
    ("traceme", []),
    ("copy_from", [READ]),
    ("copy_to", [WRITE]),
    ("copy_nothing", []),
    ("copy_own", []),
    ("copy_while_tracing", [ALL]),
    ("take_descriptor", [DUPLICATE]),
    ("read_memory", [READ]),
    ("write_memory", [WRITE]),
    ("read_and_write_memory", ["0x38"]),
    ("read_memory_of_thread", [READ]),
    ("look_only", []),
]


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root") as daemon:
        yield daemon


@pytest.mark.parametrize(("name", "granted"), ACTIONS)
def test_access(watcher: Daemon, tmp_path: Path, name: str, granted: list[str]) -> None:
    _, events = act(watcher, "actions_access.py", name, tmp_path)
    assert [each["EventID"] for each in events] == ["10"] * len(granted)
    assert [each["GrantedAccess"] for each in events] == granted
    for event in events:
        (source,) = _creations(watcher, event["SourceProcessId"])
        (target,) = _creations(watcher, event["TargetProcessId"])
        assert event["SourceProcessGUID"] == source["ProcessGuid"]
        assert event["SourceImage"] == PYTHON
        assert event["SourceUser"] == "root"
        assert event["TargetProcessGUID"] == target["ProcessGuid"]
        assert event["TargetImage"] == target["Image"] == CAT
        assert event["TargetUser"] == "root"
        assert event["CallTrace"] == "-"


def _creations(daemon: Daemon, pid: str) -> list[dict[str, str]]:
    found = [
        each
        for each in daemon.events()
        if each["EventID"] == "1" and each["ProcessId"] == pid
    ]
    return found[-1:]


def test_the_thread_that_attached_is_named(watcher: Daemon, tmp_path: Path) -> None:
    _, (event,) = act(watcher, "actions_access.py", "attach_from_thread", tmp_path)
    assert event["SourceThreadId"] != event["SourceProcessId"]


def test_ids_of_a_pid_namespace_are_told_apart(watcher: Daemon, tmp_path: Path) -> None:
    action = "attach_in_pid_namespace"
    output, (event,) = act(watcher, "actions_access.py", action, tmp_path)
    first, _, second = output.split()
    assert event["SourceProcessId"] == first
    assert event["TargetProcessId"] == second
    assert event["TargetImage"] == PYTHON


@pytest.mark.parametrize(
    ("command", "granted"),
    [
        (["strace", "-o", "/dev/null", "/bin/true"], {ALL}),
        (["gdb", "-batch", "-ex", "run", "/bin/true"], {"0x38"}),
    ],
)
def test_debuggers_are_told_with_the_rights_that_they_take(
    watcher: Daemon, command: list[str], granted: set[str]
) -> None:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    process = subprocess.run(
        ["/bin/sh", "-c", 'echo $$; exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    pid = int(process.stdout.split()[0])
    events = [
        each for each in tree(watcher.settle(), pid) if each["EventID"] not in "15"
    ]
    assert {each["EventID"] for each in events} == {"10"}
    assert {each["GrantedAccess"] for each in events} == granted
    assert {each["SourceImage"] for each in events} == {os.path.realpath(program)}
