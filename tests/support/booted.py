# SPDX-License-Identifier: MIT
"""This machine's files with systemd as first process, in namespaces of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lxml import etree
from support.machine import Machine
from support.running import REPOSITORY, wait_until

Event = dict[str, str]

SYSTEMD = Path("/usr/lib/systemd/systemd")
_JOURNAL = ("journalctl", "--no-pager", "--quiet", "--all", "--output=json")


class Booted(Machine):
    """Above the files of this machine; `top` is an empty directory."""

    def __init__(self, top: Path) -> None:
        super().__init__(top, "boot_systemd.sh", [REPOSITORY, sys.executable])

    def is_up(self) -> bool:
        """Tell whether systemd has started what it was to start."""
        state = self.call("systemctl", "is-system-running").stdout.strip()
        assert state != "degraded", self._log.read_text()
        return state == "running"

    def journal(self, identifier: str) -> list[str]:
        """Return all messages of a program in the journal."""
        lines = self.must(*_JOURNAL, f"--identifier={identifier}").splitlines()
        return [json.loads(line)["MESSAGE"] for line in lines]

    def events(self) -> list[Event]:
        """Return the events in the journal, with "EventID" and "EventRecordID"."""
        return [_event(line) for line in self.journal("sysmon")]

    def wait_for(self, event_id: int, **fields: str) -> Event:
        """Return the first event with these values; fail after the deadline."""
        wanted = {"EventID": str(event_id), **fields}.items()
        found: list[Event] = []

        def is_there() -> bool:
            found[:] = [each for each in self.events() if wanted <= each.items()]
            return bool(found)

        wait_until(is_there)
        return found[0]


def _event(line: str) -> Event:
    system, data = etree.fromstring(line)
    event = {str(each.get("Name")): each.text or "" for each in data}
    for name in ("EventID", "EventRecordID"):
        event[name] = system.findtext(name) or ""
    return event
