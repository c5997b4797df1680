# SPDX-License-Identifier: MIT
"""What a program of actions has done, for the test beside it; see `support.ways`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support.running import Daemon, Event
from support.watch import ACTIONS, ENVIRONMENT, PYTHON, watching


class Done(NamedTuple):
    """What was done: process of each way, all events, and the folder it was done in."""

    pids: dict[str, str]
    events: list[Event]
    daemon: Daemon
    folder: Path

    def pid(self, name: str) -> str:
        """Return the process of one way; the test is skipped where there is none."""
        if self.pids[name] == "unable":
            pytest.skip(f"this machine does not let one do it: {name}")
        return self.pids[name]

    def of(self, name: str) -> list[Event]:
        """Return the events of one way, in order."""
        pid = self.pid(name)
        return [each for each in self.events if each["ProcessId"] == pid]


def run_actions(actions: str, folder: Path, *words: str) -> list[str]:
    """Run a program of actions in a folder to its end; return the lines that it says.

    `actions` is the name of its file; `words` are its arguments behind the folder.
    """
    ran = subprocess.run(
        [PYTHON, os.fspath(ACTIONS[actions]), os.fspath(folder), *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def do_all(daemon: Daemon, actions: str, folder: Path, *words: str) -> Done:
    """Have a program of actions do all its ways in a folder, in front of a daemon.

    The process of a way is the one that its first line names.
    """
    pids: dict[str, str] = {}
    for line in run_actions(actions, folder, *words):
        name, pid = line.split()
        pids.setdefault(name, pid)
    events = [each for each in daemon.settle() if "ProcessId" in each]
    return Done(pids, events, daemon, folder)


@contextmanager
def all_done(
    folders: pytest.TempPathFactory,
    actions: str,
    rules: str,
    settings: str = "",
    words: Sequence[str] = (),
) -> Iterator[Done]:
    """Start a daemon with these rules and have a program of actions do all its ways.

    Every user may enter the folder: some ways give up their rights first.
    """
    folder = folders.mktemp("ways")
    folder.chmod(0o755)
    with watching(folders.mktemp("daemon") / "root", rules, settings) as daemon:
        yield do_all(daemon, actions, folder, *words)
