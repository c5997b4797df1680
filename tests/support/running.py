# SPDX-License-Identifier: MIT
"""A real daemon on the running kernel, with its own root."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from support import kept_programs

from sysmonlx.service import control
from sysmonlx.service.installed import ROOT_VARIABLE, Paths

REPOSITORY = Path(__file__).resolve().parents[2]
#: Marks of the end that are made within the deadline, one after the other.
_MARKS = 4
#: Programs that tests run find their neighbours; the daemon has a path of its own.
os.environ["PYTHONPATH"] = os.fspath(REPOSITORY / "tests")
DEADLINE_S = float(os.environ.get("SYSMONLX_TEST_DEADLINE", "60"))

Event = dict[str, str]
"""Field names to texts, with "EventID" and "EventRecordID"."""

#: Nothing is sampled, however busy the machine is.
UNLIMITED = "<Budget>0</Budget>"

EVERYTHING = """
    <ProcessCreate onmatch="exclude"/>
    <ProcessTerminate onmatch="exclude"/>
"""


def wait_until(done: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fail after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Daemon:
    """A daemon in the foreground that writes JSON lines to a file below `root`.

    All events are wanted, unless the settings have a budget of their own. Its programs
    are loaded as at a second start, but where `is_first_start` is set.
    """

    is_first_start = False

    def __init__(self, root: Path, rules: str, settings: str, options: str) -> None:
        self.root = root
        self.paths = Paths(root)
        self.log = root / "events.json"
        self.config = root / "test.xml"
        self._offset = 0
        self._events: list[Event] = []
        self.environment = {
            **os.environ,
            ROOT_VARIABLE: os.fspath(root),
            "PYTHONPATH": os.fspath(REPOSITORY),
        }
        self.write_config(rules, settings, options)

    def write_config(self, rules: str, settings: str = "", options: str = "") -> None:
        """Write the configuration: these event elements, options and settings."""
        settings += "" if "<Budget" in settings else UNLIMITED
        self.config.write_text(
            '<Sysmon schemaversion="4.90">'
            f"{options}<EventFiltering>{rules}</EventFiltering>"
            '<Settings xmlns="urn:sysmonlx:settings">'
            f'<Sink kind="file" form="json">{self.log}</Sink>{settings}'
            "</Settings></Sysmon>"
        )

    def command(self, *words: str) -> list[str]:
        """Return the command that runs the program with these words."""
        return [sys.executable, "-P", "-m", "sysmonlx", *words]

    def told(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the program with these words to its end, and return what it told."""
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            check=False,
            text=True,
        )

    def start(self) -> None:
        """Start in the foreground and wait until it captures."""
        if not self.is_first_start:
            kept_programs.put(self.paths)
        self.process = subprocess.Popen(
            self.command("-accepteula", "-t", "-i", os.fspath(self.config)),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.wait_for(lambda event: event.get("State") == "Started")

    def stop(self) -> None:
        """End the daemon as a service manager would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def __enter__(self) -> Self:
        """Start it; it ends with the block, whatever happens there."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def request(self, **message: Any) -> dict[str, Any]:
        """Ask the daemon over its control socket."""
        return control.request(self.paths.control_socket, message)

    def stats(self) -> dict[str, Any]:
        """Return the counters of the daemon."""
        return dict(self.request(do="stats")["stats"])

    def events(self) -> list[Event]:
        """Return all events written so far."""
        if self.log.exists():
            self._read(self.log)
        return self._events

    def read_rotated(self, path: Path) -> None:
        """Read the rest of what was the log, and then the new one from its start."""
        self._read(path)
        self._offset = 0

    def _read(self, path: Path) -> None:
        with open(path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        self._events += map(_event, data[:whole].splitlines())

    def wait_for(
        self, wanted: Callable[[Event], bool], timeout_s: float = DEADLINE_S
    ) -> Event:
        """Return the first event that is `wanted`; fail after the deadline."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        while time.monotonic() < deadline:
            has_ended = self.process.poll() is not None
            events = self.events()
            for event in events[seen:]:
                if wanted(event):
                    return event
            seen = len(events)
            if has_ended:
                assert self.process.stderr is not None
                text = self.process.stderr.read().decode()
                raise AssertionError(f"the daemon ended: {text}")
            time.sleep(0.02)
        raise AssertionError(f"no such event among {seen}")

    def settle(self) -> list[Event]:
        """Wait until everything done before this call is written; return all events.

        The ring buffer keeps order, so a last program marks the end; what waits for a
        hash is asked for, and written before a program that starts later.
        """
        self._mark()
        wait_until(lambda: not self.stats()["waiting_for_hash"])
        self._mark()
        return self.events()

    def _mark(self) -> None:
        """Run a program and wait for its event; again when a full ring lost it."""
        for _ in range(_MARKS):
            marker = uuid.uuid4().hex
            subprocess.run(["/bin/true", marker], check=True)
            try:
                self.wait_for(
                    lambda event: marker in event.get("CommandLine", ""),  # noqa: B023 - used at once
                    DEADLINE_S / _MARKS,
                )
                return
            except AssertionError:
                if self.process.poll() is not None:
                    raise
        raise AssertionError("no program that marks the end was reported")

    def run(
        self, command: Sequence[str | bytes], **options: Any
    ) -> tuple[int, list[Event]]:
        """Run a command to its end; return its pid and the events of its tree."""
        process = subprocess.Popen(command, **options)
        process.communicate()
        return process.pid, tree(self.settle(), process.pid)


@contextlib.contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """Keep the daemon from reading."""
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def _event(line: bytes) -> Event:
    raw = json.loads(line)["Event"]
    event = {name: _text(value) for name, value in raw["EventData"].items()}
    event["EventID"] = str(raw["System"]["EventID"])
    event["EventRecordID"] = str(raw["System"]["EventRecordID"])
    return event


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def tree(events: Sequence[Event], pid: int) -> list[Event]:
    """Return the events of a process and of all its descendants that ran a program.

    An event may overtake its parent's (that waits for a hash): all are read first.
    """
    parents = {
        event["ProcessId"]: event["ParentProcessId"]
        for event in events
        if event["EventID"] == "1"
    }
    pids = {str(pid)}
    while True:
        more = {child for child, parent in parents.items() if parent in pids} - pids
        if not more:
            break
        pids |= more
    return [
        event
        for event in events
        if event.get("ProcessId", event.get("SourceProcessId")) in pids
    ]
