# SPDX-License-Identifier: MIT
"""The real program with its own root: installed, updated, removed by its switches."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.running import DEADLINE_S, EVERYTHING, Daemon

from sysmonlx.host.lock import daemon_pid
from sysmonlx.service.installed import ROOT_VARIABLE, Paths


class Installation(Daemon):
    """A root directory and the program's answers; the daemon is a process of its own.

    Events are read as those of `Daemon`.
    """

    def __init__(self, root: Path, rules: str = EVERYTHING, settings: str = "") -> None:
        super().__init__(root, rules, settings, "")

    def call(
        self, *words: str, cwd: Path | None = None, prefix: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end with these words, without its banner."""
        return subprocess.run(
            [*prefix, sys.executable, "-P", "-m", "sysmonlx", "-nologo", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3 * DEADLINE_S,
            cwd=cwd,
            check=False,
        )

    def install(self) -> None:
        """Install with the configuration of this root; it has to work."""
        result = self.call("-accepteula", "-i", os.fspath(self.config))
        assert result.returncode == 0, result.stderr
        self.follow()

    def follow(self) -> None:
        """Take the running daemon for the process that is waited for."""
        self.process = _Running(self.pid)  # type: ignore[assignment]  # poll() only

    @property
    def pid(self) -> int:
        """The daemon's process id, 0 when none runs."""
        return daemon_pid(self.paths.pid_file)

    @property
    def keeper(self) -> int:
        """The process id of who starts the daemon again, 0 when there is none."""
        return daemon_pid(self.paths.keeper_file)

    def terminate(self) -> None:
        """Stop the daemon as a service manager would, and wait for its end."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid)
        assert self.states()[-1] == "Stopped"

    def configurations(self) -> list[tuple[str, str]]:
        """Return name and hash of every configuration that was put in force."""
        return [
            (event["Configuration"], event["ConfigurationFileHash"])
            for event in self.events()
            if event["EventID"] == "16"
        ]

    def states(self) -> list[str]:
        """Return what the daemon said of its state."""
        return [each["State"] for each in self.events() if each["EventID"] == "4"]


class _Running:
    """Enough of a Popen to see whether a process that is no child of ours lives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.stderr = io.BytesIO(b"it was a daemon")

    def poll(self) -> int | None:
        """Return None while it lives."""
        return None if is_alive(self._pid) else 0


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


def end_of(pid: int, timeout_s: float = DEADLINE_S) -> bool:
    """Wait until a process that is no child of ours has ended; False: it has not."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


@contextmanager
def removed_afterwards(made: Installation) -> Iterator[Installation]:
    """Leave no daemon behind, whatever a test did to it."""
    try:
        yield made
    finally:
        for pid in (made.keeper, made.pid):  # the keeper would start another
            if pid:
                os.kill(pid, signal.SIGKILL)
                assert end_of(pid)


def daemons_below(root: Path) -> list[int]:
    """Return every daemon that has this root, by its environment; no keeper."""
    keeper = daemon_pid(Paths(root).keeper_file)
    wanted = f"{ROOT_VARIABLE}={root}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != keeper:
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"-service" in command and wanted in variables:
                found.append(int(name))
    return found


def stored(paths: Paths) -> dict[str, bytes]:
    """Return all that an installation stores, by name."""
    files = (paths.config_file, paths.policy_file, paths.command_line_file)
    return {path.name: path.read_bytes() for path in files if path.exists()}
