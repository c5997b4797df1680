# SPDX-License-Identifier: MIT
"""What a program of actions has done, for the test beside it; see `support.ways`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from support.running import Daemon, Event
from support.watch import ACTIONS, ENVIRONMENT, PYTHON


class Done(NamedTuple):
    """What was done: process of each way, and all events."""

    pids: dict[str, str]
    events: list[Event]
    daemon: Daemon

    def pid(self, name: str) -> str:
        """Return the process of one way; the test is skipped where there is none."""
        if self.pids[name] == "unable":
            pytest.skip(f"this machine does not let one do it: {name}")
        return self.pids[name]

    def of(self, name: str) -> list[Event]:
        """Return the events of one way, in order."""
        pid = self.pid(name)
        return [each for each in self.events if each["ProcessId"] == pid]


def do_all(daemon: Daemon, actions: str, folder: Path, *words: str) -> Done:
    """Have a program of actions do all its ways in a folder, in front of a daemon.

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
    pids = dict(line.split() for line in ran.stdout.splitlines())
    events = [each for each in daemon.settle() if "ProcessId" in each]
    return Done(pids, events, daemon)
