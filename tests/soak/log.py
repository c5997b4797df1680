# SPDX-License-Identifier: MIT
"""The log of a long run: counted and thrown away piece by piece."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

from support.installed import Installation
from support.running import Event, wait_until
from support.storms import told_losses


class Log:
    """What the log of an installation says; it is rotated, so that the disk lasts."""

    def __init__(self, place: Installation) -> None:
        self._place = place
        self._old = Path(f"{place.log}.old")
        self.counts: Counter[str] = Counter()
        """Events by event id."""
        self.told = 0
        """Losses that events 255 told of."""
        self.budget = 0
        """Events 255 that told of sampling: none is switched on."""
        self.errors: list[str] = []
        """What events 255 told of errors in the program."""
        self.judged: dict[str, set[str]] = {}
        """Names of rules by the mark in the text of an event."""

    def take(self) -> None:
        """Read what was written since, after the daemon has begun another file."""
        os.rename(self._place.log, self._old)
        os.kill(self._place.pid, signal.SIGHUP)
        wait_until(self._place.log.exists)
        with open(self._old, "rb") as file:
            for line in file:
                self._count(line)
        self._old.unlink()

    def _count(self, line: bytes) -> None:
        raw = json.loads(line)["Event"]
        event_id, data = str(raw["System"]["EventID"]), raw["EventData"]
        self.counts[event_id] += 1
        if event_id == "255":
            self._note({"EventID": "255", **data})
        elif b"judged-" in line:
            text = f"{data.get('CommandLine', '')} {data.get('TargetFilename', '')}"
            for word in text.replace("/", " ").split():
                if word.startswith("judged-"):
                    self.judged.setdefault(word, set()).add(str(data["RuleName"]))

    def _note(self, event: Event) -> None:
        self.told += told_losses([event])
        self.budget += event["ID"] == "Budget"
        if event["ID"] in ("Error", "Failure"):
            self.errors.append(event["Description"])
