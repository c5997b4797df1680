# SPDX-License-Identifier: MIT
"""This machine's files with systemd as first process, in namespaces of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from lxml import etree
from support.running import DEADLINE_S, REPOSITORY, wait_until

from sysmonlx.capture.kernel_facts import cgroup2_mount

Event = dict[str, str]

SYSTEMD = Path("/usr/lib/systemd/systemd")
_SCRIPT = Path(__file__).with_name("boot_systemd.sh")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")
_ENTER_GROUP = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
_JOURNAL = ("journalctl", "--no-pager", "--quiet", "--all", "--output=json")


class Booted:
    """A machine whose processes are of the same kernel; what it writes is gone with it.

    `top` is an empty directory.

    Raises:
        OSError: no control groups of version 2 can be made.
    """

    def __init__(self, top: Path) -> None:
        self._group = Path(cgroup2_mount()) / f"sysmonlx-test-{os.getpid()}"
        self._group.mkdir()
        self._log = top / "systemd.log"
        (top / "machine").mkdir()
        command: list[str | Path] = [
            *("setpriv", "--pdeathsig=KILL"),  # for tests that are killed
            *("unshare", *_NAMESPACES, "--fork", "--kill-child"),
            *("sh", _SCRIPT, top / "machine", REPOSITORY, sys.executable),
        ]
        with open(self._log, "wb") as log:
            self._unshare = subprocess.Popen(
                ["sh", "-c", _ENTER_GROUP, self._group, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_running(self) -> None:
        """Return when systemd has started what it was to start."""
        has_ended = self._unshare.poll
        wait_until(lambda: has_ended() is not None or self._is_running())
        assert has_ended() is None, self._log.read_text()

    def _is_running(self) -> bool:
        state = self.call("systemctl", "is-system-running").stdout.strip()
        assert state != "degraded", self._log.read_text()
        return state == "running"

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end."""
        return subprocess.run(
            [
                *("sh", "-c", _ENTER_GROUP, self._group),
                *("nsenter", f"--target={self._first_pid()}", *_NAMESPACES),
                *("--root", "--wd", "env", "-i", f"PATH={_PATH}", *words),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def _first_pid(self) -> int:
        """Return the first process as this side sees it, 0 when there is none yet."""
        pid = self._unshare.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def must(self, *words: str | Path) -> str:
        """Run a command that has to work; return what it printed."""
        result = self.call(*words)
        assert result.returncode == 0, f"{words}: {result.stderr}{result.stdout}"
        return result.stdout

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

    def end(self) -> None:
        """End all its processes and remove what it had of the control groups."""
        if self._unshare.poll() is None:
            os.kill(self._first_pid() or self._unshare.pid, signal.SIGKILL)
        self._unshare.wait()
        groups = [Path(path) for path, _, _ in os.walk(self._group, topdown=False)]
        wait_until(lambda: all(map(_is_removed, groups)))


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):  # busy, until the last process is gone
        group.rmdir()
    return not group.exists()


def _event(line: str) -> Event:
    system, data = etree.fromstring(line)
    event = {str(each.get("Name")): each.text or "" for each in data}
    for name in ("EventID", "EventRecordID"):
        event[name] = system.findtext(name) or ""
    return event
