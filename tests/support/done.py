# SPDX-License-Identifier: MIT
"""What a program of actions has done, for the test beside it; see `support.ways`."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from support.running import Daemon, Event


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
