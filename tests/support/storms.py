# SPDX-License-Identifier: MIT
"""Storms of work, faults meanwhile, and the accounts that have to hold all the time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from support.accounts import Stats, is_closed
from support.installed import Installation
from support.running import Event

_ACTIONS = Path(__file__).parents[1] / "kernel" / "loss" / "actions_storm.py"
_LOSS = re.compile(r"(.+?): (\d+) lost \((.+?)\) since \d{4}-\d\d-\d\d [\d:.]{12}")

#: The field of each event that is never empty, by which a set of rules takes all.
_ANY = {
    "ProcessCreate": "Image",
    "ProcessTerminate": "Image",
    "NetworkConnect": "Image",
    "FileCreate": "TargetFilename",
    "FileDelete": "TargetFilename",
    "FileDeleteDetected": "TargetFilename",
    "ProcessAccess": "SourceImage",
}


def taking(name: str, *tags: str, text: str = "/") -> str:
    """Return rules that report events of these tags alone, as those of `name`."""
    wanted = tags or tuple(_ANY)
    return "".join(
        f'<{tag} onmatch="include">'
        + (
            f'<{field} name="{name}" condition="contains">{text}</{field}>'
            if tag in wanted
            else ""
        )
        + f"</{tag}>"
        for tag, field in _ANY.items()
    )


#: Sets of rules that judge differently, in turn put in force; each names its events.
RULE_SETS = {
    "all": taking("all"),
    "programs": taking("programs", "ProcessCreate", "ProcessTerminate"),
    "files": taking("files", "FileCreate", "FileDelete", text="7"),
    "detected": taking("detected", "FileDeleteDetected", "ProcessAccess"),
    "hashes": taking("hashes").replace(
        '<ProcessCreate onmatch="include"><Image name="hashes" condition="contains">/'
        "</Image>",
        '<ProcessCreate onmatch="include"><Hashes name="hashes" condition="contains">='
        "</Hashes>",
    ),
}


class Weather:
    """An installation with sinks that fail, and the faults that come over it."""

    def __init__(self, place: Installation, folder: Path, chance: Random) -> None:
        self.place, self.folder, self.chance = place, folder, chance
        self.work = folder / "work"
        self.work.mkdir()
        self.fifo, self.disk = folder / "fifo", folder / "disk"
        os.mkfifo(self.fifo)
        self.disk.mkdir()
        self.rules = "all"
        self.faults: list[Callable[[], None]] = [
            self.freeze,
            self.change_rules,
            self.read_fifo,
            self.make_room,
            self.reopen,
        ]

    @contextlib.contextmanager
    def begun(self, ring: str = "64K") -> Iterator[None]:
        """Mount the disk that is too small, and install."""
        size = ["-o", "size=256k"]
        subprocess.run(["mount", "-t", "tmpfs", *size, "none", self.disk], check=True)
        self._settings = (
            f"<RingSize>{ring}</RingSize><SpoolLimit>64K</SpoolLimit>"
            f'<Sink kind="file" form="xml">{self.fifo}</Sink>'
            f'<Sink kind="file" form="json">{self.disk}/full.json</Sink>'
        )
        try:
            self._write("all")
            self.place.install()
            yield
        finally:
            subprocess.run(["umount", "-l", self.disk], check=True)

    def storm(self, seconds: float) -> subprocess.Popen[bytes]:
        """Begin a storm of its own."""
        seed = str(self.chance.randrange(1 << 30))
        return subprocess.Popen(
            [sys.executable, _ACTIONS, str(seconds), seed, os.fspath(self.work)]
        )

    def _write(self, rules: str) -> None:
        self.place.write_config(RULE_SETS[rules], self._settings)
        self.rules = rules

    def freeze(self) -> None:
        """Let the daemon stand still, so that the ring buffer is full."""
        os.kill(self.place.pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.05, 0.4))
        os.kill(self.place.pid, signal.SIGCONT)

    def change_rules(self) -> None:
        """Put another set of rules in force."""
        self._write(self.chance.choice(sorted(RULE_SETS)))
        result = self.place.call("-c", os.fspath(self.place.config))
        assert result.returncode == 0, result.stderr

    def read_fifo(self) -> None:
        """Let a reader come, take some lines, and go."""
        fd = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            deadline = time.monotonic() + self.chance.uniform(0.1, 1.2)
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 1 << 16)
                time.sleep(0.01)
        finally:
            os.close(fd)

    def make_room(self) -> None:
        """Empty the disk."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.disk / "full.json", 0)

    def reopen(self) -> None:
        """Let the sinks be opened anew, as after rotation."""
        os.kill(self.place.pid, signal.SIGHUP)


def check(stats: Stats, before: Stats | None) -> None:
    """Compare the counters of one moment with each other and with earlier ones."""
    assert is_closed(stats), stats["gaps"]
    for name, counts in stats["records"].items():
        assert counts["under_way"] >= 0, (name, counts)
        assert counts["in_ring"] >= 0, (name, counts)
    assert stats["left_out"] == 0
    if before is not None:
        for name, counts in before["records"].items():
            for term in ("seen", "submitted", "received", "filtered_in_kernel"):
                assert stats["records"][name][term] >= counts[term], (name, term)
        for event_id, counts in before["events"].items():
            for term in ("emitted", "filtered"):
                assert stats["events"][event_id][term] >= counts[term], event_id


def emitted(stats: Stats) -> Counter[str]:
    """Return the events that the daemon says that it emitted, by event id."""
    return +Counter({e: each["emitted"] for e, each in stats["events"].items()})


def in_log(events: list[Event]) -> Counter[str]:
    """Return the events that stand in the log, by event id."""
    return Counter(event["EventID"] for event in events)


def counted_losses(stats: Stats) -> int:
    """Return all losses that the counters of the daemon name."""
    lost = [each["lost"] for each in stats["records"].values()]
    lost += [each["lost_here"] for each in stats["records"].values()]
    lost += [each.get("lost", {}) for each in stats["events"].values()]
    lost += [stats["lines"]["lost"]]
    lost += [stats["unknown_values"]]  # event 255 tells of them as well
    missed: int = sum(each["missed"] for each in stats["programs"].values())
    return missed + sum(sum(each.values()) for each in lost)


def told_losses(events: list[Event]) -> int:
    """Return the sum of all losses that events 255 told of."""
    total = 0
    for event in events:
        if event["EventID"] == "255" and event["ID"] == "LostEvents":
            for part in event["Description"].split("; "):
                found = _LOSS.fullmatch(part)
                assert found, part
                total += int(found[2])
    return total
