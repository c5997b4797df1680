# SPDX-License-Identifier: MIT
"""Every way to run a program: one event 1 and one event 5, as /proc says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from kernel.events.process.process_facts import (
    expected,
    start_ticks,
    take_apart,
    ticks,
)
from support.running import EVERYTHING, Daemon, Event

from sysmonlx.host.machine import boot_offset
from sysmonlx.host.procfs import Procfs
from sysmonlx.output.escape import visible

pytestmark = pytest.mark.kernel

ACTIONS = Path(__file__).with_name("actions_process.py")
IN_OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), EVERYTHING, "", "") as daemon:
        yield daemon


class Seen(NamedTuple):
    """A program while it ran: its event, when, and what the action printed."""

    event: Event
    window: tuple[str, str]
    output: str


class Proc(NamedTuple):
    """What /proc said of a program while it ran."""

    facts: dict[str, str]
    start_ticks: int
    parent_ticks: int


class Action:
    """Runs an action; `act` returns what was seen while the program was held."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.marker = uuid.uuid4().hex
        self._wanted = re.compile(
            rf"(sh -c read x sh|/bin/sh \S*(script|inner one two \./outer)) "
            rf"{self.marker}"
        )

    def is_wanted(self, event: Event) -> bool:
        return event["EventID"] == "1" and bool(
            self._wanted.match(event["CommandLine"])
        )

    def act(self, name: str, *before: str) -> Seen:
        return self.compare(name, *before)[0]

    def compare(
        self, name: str, *before: str, look: Callable[[int], Proc] | None = None
    ) -> tuple[Seen, Proc | None]:
        """Run an action, `look` at its program while it is held."""
        start, found = utc(), None
        process = subprocess.Popen(
            [*before, sys.executable, str(ACTIONS), name],
            cwd=self.folder,
            env={**os.environ, "MARKER": self.marker},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            event = self.daemon.wait_for(self.is_wanted)
            if look is not None:
                found = look(int(event["ProcessId"]))
        finally:
            output, _ = process.communicate()
        return Seen(event, (start, utc()), output), found

    def check(self, name: str, *before: str) -> Seen:
        """Run an action; compare every field with what /proc said meanwhile."""
        seen, found = self.compare(name, *before, look=look_at)
        assert found is not None
        event = seen.event
        facts = {name: visible(value) for name, value in found.facts.items()}
        assert without(event, *NOT_IN_PROC) == facts
        assert seen.window[0] <= event["UtcTime"] <= seen.window[1]
        offset = offset_ns(self.daemon)
        guid = take_apart(event["ProcessGuid"], offset)
        assert str(guid.tgid) == event["ProcessId"]
        assert ticks(guid.start_boot_ns) == found.start_ticks
        parent = take_apart(event["ParentProcessGuid"], offset)
        assert str(parent.tgid) == event["ParentProcessId"]
        assert ticks(parent.start_boot_ns) == found.parent_ticks
        return seen

    def events(self) -> list[Event]:
        """Return the events of the program, all of them."""
        return [event for event in self.daemon.settle() if self.is_wanted(event)]


def look_at(pid: int) -> Proc:
    facts = expected(pid)
    parent = int(facts["ParentProcessId"])
    return Proc(facts, start_ticks(pid), start_ticks(parent))


def utc() -> str:
    ns = time.time_ns()
    second = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ns // 1_000_000_000))
    return f"{second}.{ns // 1_000_000 % 1000:03d}"


@pytest.fixture
def action(watch: Daemon, tmp_path: Path) -> Action:
    return Action(watch, tmp_path)


def offset_ns(daemon: Daemon) -> int:
    return boot_offset(daemon.paths.state_dir, Procfs().boot_id(), store=False)


def without(event: Event, *names: str) -> Event:
    return {name: value for name, value in event.items() if name not in names}


NOT_IN_PROC = (
    "UtcTime",
    "ProcessGuid",
    "ParentProcessGuid",
    "LogonGuid",
    "EventRecordID",
)


ORDINARY = [
    "exec_from_thread",
    "exec_from_thread_among_many",
    "vfork",
    "posix_spawn",
    "fork_exec",
    "execveat",
    "execveat_descriptor",
    "memfd",
    "script",
    "nested_script",
    "deleted",
    "renamed",
    "symbolic_link",
    "relative",
    "deleted_folder",
    "long_folder",
    "deep_image",
    "set_user",
    "many_arguments",
    "unicode_arguments",
    "exec_chain",
    "subshell",
    "prefork_threads",
    "own_pid_namespace",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_program_is_reported_as_proc_says(name: str, action: Action) -> None:
    seen = action.check(name)
    assert seen.event["LogonGuid"][10:] == _logon_key(int(seen.event["LogonId"]))
    assert action.events() == [seen.event]
    _check_end(action.daemon, seen.event)


def _logon_key(uid: int) -> str:
    """Return the GUID after its machine id of a user without a session."""
    digits = uid.to_bytes(4, "little").hex()
    return f"0000-0000-{digits[:4]}-{digits[4:]}00000000}}"


def _check_end(daemon: Daemon, event: Event) -> None:
    ends = [
        each
        for each in daemon.settle()
        if each["EventID"] == "5" and each["ProcessId"] == event["ProcessId"]
    ]
    assert len(ends) == 1
    (end,) = ends
    wanted = ("ProcessGuid", "ProcessId", "Image", "User", "RuleName")
    assert {name: end[name] for name in wanted} == {
        name: event[name] for name in wanted
    }
    assert end["UtcTime"] >= event["UtcTime"]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("chroot", "{folder}/newroot/usr/bin/dash"),
        ("bind_mounted_file", "{folder}/mounted"),
        ("own_mount", "{folder}/mnt/folder/shell"),
    ],
)
def test_paths_lead_to_the_root_of_the_mount_namespace(
    name: str, image: str, action: Action
) -> None:
    seen = action.check(name, *IN_OWN_MOUNTS)
    assert seen.event["Image"] == image.format(folder=action.folder)
    assert action.events() == [seen.event]


@pytest.mark.parametrize(
    ("name", "image", "cwd"),
    [
        ("memfd", "/memfd:in memory (deleted)", "{folder}"),
        ("deleted", "{folder}/gone (deleted)", "{folder}"),
        ("renamed", "{folder}/after", "{folder}"),
        ("symbolic_link", "{folder}/real/shell", "{folder}"),
        ("relative", "/usr/bin/dash", "/usr"),
        ("deleted_folder", "/usr/bin/dash", "{folder}/folder (deleted)"),
        ("nested_script", "/usr/bin/dash", "{folder}"),
    ],
)
def test_image_and_folder_are_the_real_ones(
    name: str, image: str, cwd: str, action: Action
) -> None:
    seen = action.act(name)
    assert seen.event["Image"] == image.format(folder=action.folder)
    assert seen.event["CurrentDirectory"] == cwd.format(folder=action.folder)


def test_user_without_a_name_is_a_hyphen(action: Action) -> None:
    seen = action.act("set_user")
    assert (seen.event["User"], seen.event["LogonId"]) == ("-", "54321")
    (end,) = [
        event
        for event in action.daemon.settle()
        if event["EventID"] == "5" and event["ProcessGuid"] == seen.event["ProcessGuid"]
    ]
    assert end["User"] == "-"


@pytest.mark.parametrize("name", ["double_fork", "double_fork_long_ago", "sibling"])
def test_parent_is_who_forked_though_it_has_ended(name: str, action: Action) -> None:
    _is_parent(action, name, seen := action.act(name))
    _is_guid_of_end(action, seen)


def test_parent_is_the_program_that_forked(action: Action) -> None:
    seen = action.act("parent_of_other_programs")
    _is_parent(action, "parent_of_other_programs", seen)
    pid = seen.event["ParentProcessId"]
    later = [e for e in action.daemon.settle() if e.get("ProcessId") == pid]
    assert [(e["EventID"], e["Image"]) for e in later[:2]] == [
        ("1", os.path.realpath("/bin/sh")),
        ("1", os.path.realpath("/bin/sleep")),
    ]
    assert seen.event["ParentProcessGuid"] not in {e["ProcessGuid"] for e in later}


def _is_parent(action: Action, name: str, seen: Seen) -> None:
    """Our own program has forked the process, under the pid that it printed."""
    assert seen.event["ParentProcessId"] == seen.output.strip()
    assert seen.event["ParentImage"] == os.path.realpath(sys.executable)
    assert seen.event["ParentCommandLine"] == f"{sys.executable} {ACTIONS} {name}"
    assert seen.event["ParentUser"] == "root"


@pytest.mark.parametrize("name", ["subshell", "prefork_threads"])
def test_process_that_only_forked_has_image_and_guid(name: str, action: Action) -> None:
    seen = action.act(name)
    assert seen.event["ParentProcessId"] == seen.output.strip()
    _is_guid_of_end(action, seen)


def _is_guid_of_end(action: Action, seen: Seen) -> None:
    """The parent ran no program of its own, so only its end tells its GUID."""
    events = action.daemon.settle()
    pid = seen.event["ParentProcessId"]
    own = [
        event
        for event in events
        if event.get("ProcessId") == pid and event["UtcTime"] >= seen.window[0]
    ]
    assert [event["EventID"] for event in own] == ["5"]
    assert own[0]["ProcessGuid"] == seen.event["ParentProcessGuid"]
    assert own[0]["Image"] == seen.event["ParentImage"]
    assert own[0]["User"] == "root"


def test_every_image_of_a_process_has_its_own_guid(action: Action) -> None:
    seen = action.act("exec_chain")
    events = action.daemon.settle()
    pid = seen.event["ProcessId"]
    own = [
        event
        for event in events
        if event.get("ProcessId") == pid and event["UtcTime"] >= seen.window[0]
    ]
    images = [(event["EventID"], event["Image"]) for event in own]
    assert images == [
        ("1", "/usr/bin/bash"),
        ("1", "/usr/bin/dash"),
        ("1", "/usr/bin/dash"),
        ("5", "/usr/bin/dash"),
    ]
    guids = [event["ProcessGuid"] for event in own]
    assert len(set(guids)) == 3
    assert guids[2] == guids[3]
    parts = [take_apart(guid) for guid in guids[:3]]
    assert parts[1] == replace(parts[0], exec_id=parts[0].exec_id + 1)
    assert parts[2] == replace(parts[0], exec_id=parts[0].exec_id + 2)
    parents = {event["ParentProcessGuid"] for event in own[:3]}
    assert len(parents) == 1


def test_process_ends_once_whichever_thread_is_last(
    watch: Daemon, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ACTIONS), "leader_first"],
        env={**os.environ, "MARKER": "unused"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    before = [
        event
        for event in watch.settle()
        if event["EventID"] == "5" and event["ProcessId"] == str(process.pid)
    ]
    process.communicate(b"x")
    assert process.returncode == 7
    own = [
        event for event in watch.settle() if event.get("ProcessId") == str(process.pid)
    ]
    assert before == []
    assert [event["EventID"] for event in own] == ["1", "5"]
    assert own[0]["ProcessGuid"] == own[1]["ProcessGuid"]
