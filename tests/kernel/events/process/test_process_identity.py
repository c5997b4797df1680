# SPDX-License-Identifier: MIT
"""Many processes: each reported once, each with its own GUID, for ever the same."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from kernel.events.process.process_facts import (
    command_line,
    start_ticks,
    take_apart,
    ticks,
)
from support.running import EVERYTHING, Daemon, Event

from sysmonlx.host.machine import boot_offset
from sysmonlx.host.procfs import Procfs

pytestmark = pytest.mark.kernel

ACTIONS = Path(__file__).with_name("actions_process.py")


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    ring = "<RingSize>64M</RingSize>"  # holds all, however late the daemon may read
    with Daemon(tmp_path_factory.mktemp("daemon"), EVERYTHING, ring, "") as daemon:
        yield daemon


def run_action(name: str, **variables: str) -> tuple[int, list[str]]:
    """Run an action; return its pid and the pids that it printed, in order."""
    process = subprocess.Popen(
        [sys.executable, str(ACTIONS), name],
        env={**os.environ, "MARKER": "unused", **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate()
    assert process.returncode == 0
    return process.pid, output.split()


def of_parent(events: list[Event], pid: int) -> Event:
    (event,) = [
        each
        for each in events
        if each["EventID"] == "1" and each["ProcessId"] == str(pid)
    ]
    return event


def ends_after(events: list[Event], event: Event) -> list[Event]:
    """Return the ends of processes since a program began."""
    since = event["UtcTime"]
    return [
        each for each in events if each["EventID"] == "5" and each["UtcTime"] >= since
    ]


def ends_of_children(watch: Daemon, pid: int, pids: Sequence[str]) -> list[Event]:
    """Return the ends of children of a program that ran nothing themselves."""
    events, wanted = watch.settle(), {*pids}
    parent = of_parent(events, pid)
    return [
        each
        for each in ends_after(events, parent)
        if each["ProcessId"] in wanted and each["Image"] == parent["Image"]
    ]


@pytest.mark.parametrize("size", [60, 3000, 12000])
def test_each_of_2300_programs_is_reported_once(watch: Daemon, size: int) -> None:
    marker = uuid.uuid4().hex
    pid, pids = run_action("run_many", COUNT="2300", SIZE=str(size), MARKER=marker)
    events = watch.settle()
    parent = of_parent(events, pid)
    own = [each for each in events if marker in each.get("CommandLine", "")]
    own.sort(key=lambda each: pids.index(each["ProcessId"]))  # others overtake a hash
    assert [each["ProcessId"] for each in own] == pids
    lines = [f"true {f'{marker} {number} '.ljust(size, 'y')}" for number in range(2300)]
    assert [each["CommandLine"] for each in own] == lines
    constant = {
        **{"Image": "/usr/bin/true", "User": "root", "ParentProcessId": str(pid)},
        "ParentProcessGuid": parent["ProcessGuid"],
        "ParentImage": parent["Image"],
        "ParentCommandLine": parent["CommandLine"],
        "ParentUser": "root",
    }
    assert [each for each in own if not constant.items() <= each.items()] == []
    guids = {each["ProcessGuid"] for each in own}
    assert len(guids) == 2300
    ends = Counter(
        (each["ProcessGuid"], each["ProcessId"], each["Image"], each["User"])
        for each in ends_after(events, parent)
        if each["ProcessGuid"] in guids
    )
    assert ends == Counter(
        (each["ProcessGuid"], each["ProcessId"], "/usr/bin/true", "root")
        for each in own
    )


def test_thousands_of_forks_have_guids_of_their_own(watch: Daemon) -> None:
    pid, pids = run_action("fork_many", COUNT="3000")
    ends = ends_of_children(watch, pid, pids)
    assert Counter(each["ProcessId"] for each in ends) == Counter(pids)
    assert len({each["ProcessGuid"] for each in ends}) == 3000
    assert {each["User"] for each in ends} == {"root"}


def test_threads_of_a_process_end_it_once(watch: Daemon) -> None:
    pid, pids = run_action("end_with_threads", COUNT="230")
    ends = ends_of_children(watch, pid, pids)
    assert Counter(each["ProcessId"] for each in ends) == Counter(pids)


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[str]]:
    """A shell older than any daemon that runs what it is told."""
    with subprocess.Popen(
        ["/bin/sh", "-s", "older", "<&>"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()


def tell(shell: subprocess.Popen[str], command: str) -> None:
    """Let the shell run a command, and wait for its end."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{command}\necho done\n")
    shell.stdin.flush()
    assert shell.stdout.readline() == "done\n"


def become_bash(shell: subprocess.Popen[str]) -> None:
    """Exec once more; a line behind this one would be lost in the shell's buffer."""
    assert shell.stdin is not None
    shell.stdin.write("exec /bin/bash -s\n")
    shell.stdin.flush()


def child_of(daemon: Daemon, shell: subprocess.Popen[str]) -> Event:
    marker = uuid.uuid4().hex
    tell(shell, f"/bin/true {marker}")
    return daemon.wait_for(
        lambda event: event.get("CommandLine") == f"/bin/true {marker}"
    )


def test_parent_older_than_the_daemon_is_known(
    shell: subprocess.Popen[str], daemon: Callable[..., Daemon]
) -> None:
    watch = daemon()
    event = child_of(watch, shell)
    assert event["ParentProcessId"] == str(shell.pid)
    assert event["ParentImage"] == "/usr/bin/dash"
    assert event["ParentCommandLine"] == "/bin/sh -s older <&>"
    assert event["ParentUser"] == "root"
    offset = boot_offset(watch.paths.state_dir, Procfs().boot_id(), store=False)
    guid = take_apart(event["ParentProcessGuid"], offset)
    assert guid.tgid == shell.pid
    assert ticks(guid.start_boot_ns) == start_ticks(shell.pid)
    shell.communicate()
    end = watch.wait_for(
        lambda each: each["EventID"] == "5" and each["ProcessId"] == str(shell.pid)
    )
    assert end["ProcessGuid"] == event["ParentProcessGuid"]
    assert end["Image"] == "/usr/bin/dash"


def test_guid_is_the_same_whichever_way_it_is_learnt(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    first = daemon()
    with subprocess.Popen(
        ["/bin/sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        become_bash(shell)
        first.wait_for(
            lambda each: (
                each["EventID"] == "1"
                and each["Image"] == "/usr/bin/bash"
                and each["ProcessId"] == str(shell.pid)
            )
        )
        learnt = [
            each["ProcessGuid"]
            for each in first.settle()
            if each["EventID"] == "1" and each["ProcessId"] == str(shell.pid)
        ]
        seen = child_of(first, shell)
        first.stop()
        first.log.rename(tmp_path / "before")
        second = Daemon(first.root, EVERYTHING, "", "")
        second.start()
        try:
            scanned = child_of(second, shell)
            shell.communicate()
            end = second.wait_for(
                lambda each: (
                    each["EventID"] == "5" and each["ProcessId"] == str(shell.pid)
                )
            )
        finally:
            second.stop()
    assert len(set(learnt)) == 2
    assert seen["ParentProcessGuid"] == learnt[-1]
    assert scanned["ParentProcessGuid"] == learnt[-1]
    assert end["ProcessGuid"] == learnt[-1]
    assert int(scanned["EventRecordID"]) > int(seen["EventRecordID"])


def test_every_process_of_the_machine_is_known(
    daemon: Callable[..., Daemon],
) -> None:
    """Children of every kind of running process: here, of a many-threaded one."""
    code = (
        "import subprocess, sys, threading\n"
        "for _ in range(23):\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    work = threading.Thread(target=subprocess.run, args=(line.split(),))\n"
        "    work.start(); work.join(); print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "\n\t"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        watch = daemon()
        marker = uuid.uuid4().hex
        server.stdin.write(f"/bin/true {marker}\n")
        server.stdin.flush()
        assert server.stdout.readline() == "done\n"
        event = watch.wait_for(
            lambda each: each.get("CommandLine") == f"/bin/true {marker}"
        )
        assert event["ParentProcessId"] == str(server.pid)
        assert event["ParentCommandLine"] == command_line(server.pid)
        server.communicate()
