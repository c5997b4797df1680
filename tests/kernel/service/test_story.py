# SPDX-License-Identifier: MIT
"""An attack, read off the log alone: one chain from the download to code in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.running import Daemon, Event, tree

pytestmark = pytest.mark.kernel

ACTIONS = Path(__file__).with_name("actions_story.py")
TESTS = Path(__file__).parents[2]
RULES = "".join(
    f'<{tag} onmatch="exclude"/>'
    for tag in (
        *("ProcessCreate", "NetworkConnect", "FileCreate", "DnsQuery"),
        *("ProcessTampering", "ProcessTerminate"),
    )
)
LOOKUP = "<DnsLookup>true</DnsLookup>"


def one(events: list[Event], **values: str) -> Event:
    """Return the only event with these values."""
    (found,) = (e for e in events if all(e.get(k) == v for k, v in values.items()))
    return found


class Story(NamedTuple):
    """What was done: the shell that did it, where, and the events of its tree."""

    pid: str
    place: str
    events: list[Event]

    def of(self, process: Event) -> list[Event]:
        """Return the events of one program."""
        guid = process["ProcessGuid"]
        return [each for each in self.events if each.get("ProcessGuid") == guid]


@pytest.fixture
def story(daemon: Callable[..., Daemon]) -> Story:
    for each in ("wget", "setpriv"):
        if not shutil.which(each):
            pytest.skip(f"there is no {each}")
    watch = daemon(RULES, "", LOOKUP)
    words = [sys.executable, "-P", os.fspath(ACTIONS)]
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pid, place = done.stdout.splitlines()[-2:]
    return Story(pid, place, tree(watch.settle(), int(pid)))


def test_an_attack_is_one_chain(story: Story) -> None:
    shell = one(story.events, EventID="1", ProcessId=story.pid)
    assert shell["User"] == "nobody"
    told = [shell, *check_download(story, shell)]
    sudo, update = check_rise(story, shell)
    told += [sudo, update, *check_calls(story, update), *check_hiding(story, update)]
    times = [each["UtcTime"] for each in told]
    assert times == sorted(times)
    numbers = [int(each["EventRecordID"]) for each in told]
    assert numbers == sorted(numbers)


def check_download(story: Story, shell: Event) -> list[Event]:
    """See the program that fetched, and its events, in their order."""
    events = story.events
    wget = one(
        events, EventID="1", ParentProcessGuid=shell["ProcessGuid"], Image=wget_()
    )
    of_wget = story.of(wget)
    got = one(of_wget, EventID="3")
    assert (got["DestinationIp"], got["DestinationPort"]) == ("127.0.0.1", "8000")
    file = one(of_wget, EventID="11")
    assert file["TargetFilename"] == f"{story.place}/update"
    return [wget, file, got]


def check_rise(story: Story, shell: Event) -> tuple[Event, Event]:
    """See how the shell's program became root's; return sudo and that program."""
    place, events = story.place, story.events
    sudo = one(events, EventID="1", Image=f"{place}/sudo")
    assert sudo["User"] == "nobody"
    assert sudo["ParentProcessGuid"] == shell["ProcessGuid"]
    update = one(
        events, EventID="1", ProcessId=sudo["ProcessId"], User="root", Image=py()
    )
    assert "./update" in update["CommandLine"]
    assert update["ParentProcessGuid"] == shell["ProcessGuid"]
    return sudo, update


def check_calls(story: Story, update: Event) -> list[Event]:
    """See whom the program asked and called, and what it left."""
    of_update = story.of(update)
    asked = one(of_update, EventID="22")
    assert (asked["QueryName"], asked["QueryStatus"]) == ("c2.a.test", "0")
    assert asked["QueryResults"] == "::ffff:192.0.2.1;"
    called = one(of_update, EventID="3", Protocol="tcp")
    assert (called["DestinationIp"], called["DestinationPort"]) == ("192.0.2.1", "4444")
    assert called["DestinationHostname"] == "c2.a.test"
    assert called["User"] == asked["User"] == "root"
    dropped = one(of_update, EventID="11")
    assert dropped["TargetFilename"] == f"{story.place}/dropped"
    return [asked, called, dropped]


def check_hiding(story: Story, update: Event) -> list[Event]:
    """See what the program became: an image in memory, under another name."""
    events = story.events
    memory = one(events, EventID="25")
    assert memory["Type"] == "Fileless (memfd)"
    assert memory["ProcessId"] == update["ProcessId"]
    last = one(events, EventID="1", ProcessGuid=memory["ProcessGuid"])
    assert last["Image"] == "/memfd:update (deleted)"
    assert (last["CommandLine"], last["User"]) == ("kworker", "root")
    assert last["ParentProcessGuid"] == update["ParentProcessGuid"]
    return [last, memory]


def wget_() -> str:
    return os.path.realpath(shutil.which("wget") or "")


def py() -> str:
    return os.path.realpath(sys.executable)
