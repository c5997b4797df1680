# SPDX-License-Identifier: MIT
"""A bare Debian root that runs in namespaces of its own, with systemd or without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.machine import NAMESPACES, Machine
from support.running import DEADLINE_S, REPOSITORY, wait_until

ROOTS = REPOSITORY / "build" / "bare"
RELEASES = os.environ.get("RELEASES", "bookworm trixie").split()
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


def root_named(name: str) -> Path:
    """Return the root of this name; skip the test where make could not make it."""
    if not (ROOTS / f"{name}.stamp").exists():
        pytest.skip(f"no root {name}: mmdebstrap could not make it")
    return ROOTS / name


class Bare(Machine):
    """Above the files of a root below `ROOTS`, whose name is `root`.

    `top` is an empty directory; what lies in `top/packages` is in `/packages` there.
    The test is skipped where the root could not be made.
    `has_network`: it has that of this machine, with its name servers and the settings
    of its package manager.
    """

    environment = ("DEBIAN_FRONTEND=noninteractive",)
    deadline_s = 4 * DEADLINE_S

    def __init__(
        self,
        top: Path,
        root: str,
        *,
        systemd: bool = False,
        has_network: bool = False,
    ) -> None:
        self._has_systemd = systemd
        first = ("sh", "-c", _BOOT) if systemd else _WITHOUT_SYSTEMD
        namespaces = NAMESPACES if has_network else (*NAMESPACES, "--net")
        super().__init__(top, "bare_root.sh", [root_named(root), *first], namespaces)
        self.wait_until_up()
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

    def is_up(self) -> bool:
        """Tell whether the root is entered, and systemd has started what it was to."""
        if not self._has_systemd:
            return self.call("sh", "-c", _IS_UP).returncode == 0
        return self.call("systemctl", "is-system-running").stdout == "running\n"

    def must(self, *words: str | Path) -> str:
        """Run a command that has to work; return its output and its errors."""
        result = self.checked(*words)
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
