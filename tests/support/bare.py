# SPDX-License-Identifier: MIT
"""A bare Debian root that runs in namespaces of its own, with systemd or without."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from support.running import DEADLINE_S, REPOSITORY, wait_until

from sysmonlx.capture.kernel_facts import cgroup2_mount

ROOTS = REPOSITORY / "build" / "bare"
_SCRIPT = Path(__file__).with_name("bare_root.sh")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")
_ENTER_GROUP = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
_WITHOUT_SYSTEMD = ("sleep", "infinity")
_IS_UP = "[ -d /packages ] && [ ! -e /old/proc ]"
_BOOT = """
mkdir -p /run/systemd/system
for directory in /usr/lib/systemd/system/*.wants; do
    mount -t tmpfs -o mode=755 wants "$directory"
done
rm -rf /etc/systemd/system/*.wants
cat >/run/systemd/system/booted.target <<-END
\t[Unit]
\tWants=systemd-journald.service systemd-journald.socket
\tWants=systemd-journald-dev-log.socket rsyslog.service
END
exec /usr/lib/systemd/systemd --unit=booted.target --show-status=false
"""
EVENTS = "/var/log/events.json"
CONFIG = f"""
<Sysmon schemaversion="4.90"><EventFiltering><ProcessCreate onmatch="exclude"/>
</EventFiltering><Settings xmlns="urn:sysmonlx:settings">
<Sink kind="file" form="json">{EVENTS}</Sink><Sink kind="syslog"/></Settings></Sysmon>
"""


class Bare:
    """A machine of the same kernel; what it writes is gone with it.

    `top` is an empty directory; what lies in `top/packages` is in `/packages` there.
    `has_network`: it has that of this machine, with its name servers and the settings
    of its package manager.
    """

    def __init__(
        self,
        top: Path,
        release: str,
        *,
        systemd: bool = False,
        has_network: bool = False,
    ) -> None:
        self._namespaces = _NAMESPACES if has_network else (*_NAMESPACES, "--net")
        self._group = Path(cgroup2_mount()) / f"sysmonlx-bare-{os.getpid()}"
        self._group.mkdir()
        self._log = top / "first.log"
        (top / "machine").mkdir()
        first = ("sh", "-c", _BOOT) if systemd else _WITHOUT_SYSTEMD
        command: list[str | Path] = [
            *("setpriv", "--pdeathsig=KILL"),  # for tests that are killed
            *("unshare", *self._namespaces, "--fork", "--kill-child"),
            *("sh", _SCRIPT, top / "machine", ROOTS / release, *first),
        ]
        with open(self._log, "wb") as log:
            self._unshare = subprocess.Popen(
                ["sh", "-c", _ENTER_GROUP, self._group, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self._unshare.poll() is not None or self._is_up(systemd))
        assert self._unshare.poll() is None, self._log.read_text()
        if has_network:
            for path in (
                Path("/etc/resolv.conf"),
                *Path("/etc/apt/apt.conf.d").iterdir(),
            ):
                self._put(path)

    def _put(self, path: Path) -> None:
        """Give the machine a file of this one."""
        text = path.read_text("utf-8", "replace")
        self.must(
            "sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" >"$1"', "-", path, text
        )

    def _is_up(self, systemd: bool) -> bool:
        if not systemd:
            return self.call("sh", "-c", _IS_UP).returncode == 0
        return self.call("systemctl", "is-system-running").stdout == "running\n"

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end."""
        return subprocess.run(
            [
                *("sh", "-c", _ENTER_GROUP, self._group),
                *("nsenter", f"--target={self._first_pid()}", *self._namespaces),
                *("--root", "--wd", "env", "-i", f"PATH={_PATH}"),
                *("DEBIAN_FRONTEND=noninteractive", *words),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * DEADLINE_S,
            check=False,
        )

    def _first_pid(self) -> int:
        """Return the first process as this side sees it, 0 when there is none yet."""
        pid = self._unshare.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(children[0]) if children else 0
        return 0

    def must(self, *words: str | Path) -> str:
        """Run a command that has to work; return all that it printed."""
        result = self.call(*words)
        assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
        return result.stdout + result.stderr

    def shell(self, text: str) -> str:
        """Run a piece of shell that has to work; return all that it printed."""
        return self.must("sh", "-ec", text)

    def events(self) -> list[dict[str, str]]:
        """Return the fields of all events, with "EventID" and "EventRecordID"."""
        lines = self.shell(f"cat {EVENTS} {EVENTS}.old 2>/dev/null || :").splitlines()
        return [_event(json.loads(line)) for line in lines]

    def sees(self, marker: str) -> None:
        """Wait until a program that is started now is reported."""
        self.must("true", marker)
        wait_until(lambda: f"true {marker}" in self._command_lines())

    def _command_lines(self) -> set[str]:
        return {each.get("CommandLine", "") for each in self.events()}

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


def _event(line: dict[str, object]) -> dict[str, str]:
    """Return the values of an event wherever they stand in its JSON."""
    found: dict[str, str] = {}

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                if isinstance(each, dict | list):
                    walk(each)
                else:
                    found[str(key)] = str(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(line)
    return found
