# SPDX-License-Identifier: MIT
"""A real daemon on the running kernel, with its own root, for one test."""

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
from typing import Any

import pytest

from sysmonlx import control
from sysmonlx.capture import OBJECT
from sysmonlx.state import ROOT_VARIABLE, Paths

REPOSITORY = Path(__file__).resolve().parents[2]
#: How often the end is marked anew within the deadline.
_MARKS = 4
#: Programs that tests run find their neighbours; the daemon has a path of its own.
os.environ["PYTHONPATH"] = os.fspath(REPOSITORY / "tests")
DEADLINE_S = float(os.environ.get("SYSMONLX_TEST_DEADLINE", "60"))

Event = dict[str, str]
"""Field names to texts, with "EventID" and "EventRecordID"."""

EVERYTHING = """
    <ProcessCreate onmatch="exclude"/>
    <ProcessTerminate onmatch="exclude"/>
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root or BTF where they are missing; CI makes that a failure."""
    reason = _why_not()
    if not reason:
        return
    for item in items:
        if "kernel" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not() -> str:
    required = "kernel" in os.environ.get("SYSMONLX_REQUIRE", "")
    if required:
        return ""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel gives no BTF"
    return "" if OBJECT.exists() else f"{OBJECT} is not built: make bpf"


class Daemon:
    """A daemon in the foreground that writes JSON lines to a file below `root`."""

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

    def start(self) -> None:
        """Start in the foreground and wait until it captures."""
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

    def request(self, **message: Any) -> dict[str, Any]:
        """Ask the daemon over its control socket."""
        return control.request(self.paths.control_socket, message)

    def stats(self) -> dict[str, Any]:
        """Return the counters of the daemon."""
        return dict(self.request(do="stats")["stats"])

    def events(self) -> list[Event]:
        """Return all events written so far."""
        if self.log.exists():
            with open(self.log, "rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._offset += whole
            self._events += map(_event, data[:whole].splitlines())
        return self._events

    def wait_for(
        self, wanted: Callable[[Event], bool], timeout_s: float = DEADLINE_S
    ) -> Event:
        """Return the first event that is `wanted`; fail after the deadline."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        while time.monotonic() < deadline:
            events = self.events()
            for event in events[seen:]:
                if wanted(event):
                    return event
            seen = len(events)
            if self.process.poll() is not None:
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
        deadline = time.monotonic() + DEADLINE_S
        while self.stats()["waiting_for_hash"]:
            assert time.monotonic() < deadline, "events still wait for hashes"
            time.sleep(0.02)
        self._mark()
        return self.events()

    def _mark(self) -> None:
        """Run a program and wait for its event; again when a full ring lost it."""
        for _ in range(_MARKS):
            marker = uuid.uuid4().hex
            subprocess.run(["/bin/true", marker], check=True)
            with contextlib.suppress(AssertionError):
                self.wait_for(
                    lambda event: marker in event.get("CommandLine", ""),  # noqa: B023 - used at once
                    DEADLINE_S / _MARKS,
                )
                return
        raise AssertionError("no program that marks the end was reported")

    def run(
        self, command: Sequence[str | bytes], **options: Any
    ) -> tuple[int, list[Event]]:
        """Run a command to its end; return its pid and the events of its tree."""
        process = subprocess.Popen(command, **options)
        process.communicate()
        return process.pid, tree(self.settle(), process.pid)


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


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon with rules (XML of event elements)."""
    started: list[Daemon] = []

    def start(rules: str = EVERYTHING, settings: str = "", options: str = "") -> Daemon:
        root = tmp_path / f"root{len(started)}"
        root.mkdir(mode=0o700)
        made = Daemon(root, rules, settings, options)
        started.append(made)
        made.start()
        return made

    yield start
    for each in started:
        each.stop()
