# SPDX-License-Identifier: MIT
"""A daemon for a whole test module, and how its file tests run their actions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.running import Daemon, Event

#: Programs that do what a test expects, by file name; they lie beside their test.
ACTIONS = {each.name: each for each in Path(__file__).parents[1].rglob("actions_*.py")}
PYTHON = os.path.realpath(sys.executable)
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

FILE_RULES = "".join(
    f'<{tag} onmatch="exclude"/>'
    for tag in (
        "ProcessCreate",
        "FileCreate",
        "FileDelete",
        "FileDeleteDetected",
        "RawAccessRead",
        "ProcessAccess",
        "eBPFEvent",
    )
)


@contextmanager
def watching(
    root: Path, rules: str = FILE_RULES, settings: str = ""
) -> Iterator[Daemon]:
    """Run a daemon with these rules."""
    root.mkdir(mode=0o700)
    daemon = Daemon(root, rules, settings, "")
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def act(
    daemon: Daemon, script: str, name: str, directory: Path
) -> tuple[str, list[Event]]:
    """Run one action to its end; return what it printed and its events but 1 and 5."""
    process = subprocess.Popen(
        [PYTHON, os.fspath(ACTIONS[script]), name, os.fspath(directory)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate()
    assert process.returncode == 0
    pids = {str(process.pid), *output.split()}
    events = [each for each in daemon.settle() if _actor(each) in pids]
    return output, [each for each in events if each["EventID"] not in ("1", "5")]


def _actor(event: Event) -> str:
    return event.get("ProcessId", event.get("SourceProcessId", ""))


def rows(events: Sequence[Event], directory: Path) -> list[tuple[str, str]]:
    """Return (EventID, file name below `directory` or whole) of file events."""
    prefix = f"{directory}/"
    return [
        (
            each["EventID"],
            (each.get("TargetFilename") or each["Device"]).removeprefix(prefix),
        )
        for each in events
    ]
