# SPDX-License-Identifier: MIT
"""Installation against a systemctl that writes down what it is asked."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from sysmonlx.errors import InstallError
from sysmonlx.host.private_files import write_private
from sysmonlx.service import systemd
from sysmonlx.service.installed import Paths

#: As version 0.1.0 wrote it: five starts in 90 s, and no watchdog.
OLD_UNIT = Path(__file__).parents[2] / "data" / "version-0.1.0" / systemd.UNIT

SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
"$FAIL "*) echo "Job for $2 failed." >&2; exit 1;;
*LoadState*) echo loaded;;
*StatusText*) echo "${STATUS-Failed: no BTF in this kernel}";;
*ExecMainStatus*) echo "${EXIT:-0}";;
*ExecMainCode*) echo "${CODE:-1}";;
*ActiveState*) echo "${STATE:-active}";;
is-enabled*) echo "${ENABLED:-enabled}";;
--version) echo "systemd ${VERSION:-252} (252.39-1~deb12u2)";;
esac
"""


@dataclass
class Machine:
    """A root directory that passes for a machine with systemd."""

    root: Path
    calls: Path
    is_live: bool = True

    @property
    def unit_file(self) -> Path:
        return self.root / "etc/systemd/system/sysmonlx.service"

    def write(self, path: Path, data: bytes, mode: int) -> None:
        write_private(path, data, mode)

    def called(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        asked = ("show", "is-enabled", "--version")
        return [line for line in lines if not line.startswith(asked)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    root = tmp_path / "root"
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "etc/systemd/system").mkdir(parents=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL)
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAIL", "none")
    return Machine(root, tmp_path / "calls")


def test_installed_unit_is_enabled_and_started_in_this_order(machine: Machine) -> None:
    done = systemd.install_unit(machine, "/usr/local/bin/sysmonlx")
    assert machine.called() == [
        "daemon-reload",
        "enable sysmonlx.service",
        "reset-failed sysmonlx.service",
        "restart sysmonlx.service",
    ]
    assert done == [
        f"Wrote {machine.unit_file}",
        "Enabled sysmonlx.service",
        "Started sysmonlx.service",
    ]
    text = machine.unit_file.read_text()
    assert 'ExecStart="/usr/local/bin/sysmonlx" -service\n' in text
    assert "@EXEC@" not in text
    assert machine.unit_file.stat().st_mode & 0o777 == 0o644


def test_start_that_fails_is_an_error_with_the_services_reason_and_is_not_retried(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "restart")
    wanted = r"Job for sysmonlx.service failed. \(no BTF in this kernel\)"
    with pytest.raises(InstallError, match=wanted):
        systemd.install_unit(machine, "/usr/local/bin/sysmonlx")
    assert machine.called()[-1] == "stop sysmonlx.service"


def test_unit_has_growing_pauses_where_systemd_knows_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.install_unit(machine, "/usr/bin/sysmonlx")
    assert "RestartSteps" not in machine.unit_file.read_text()
    monkeypatch.setenv("VERSION", "254")
    systemd.install_unit(machine, "/usr/bin/sysmonlx")
    text = machine.unit_file.read_text()
    assert "\nRestartSec=2\nRestartSteps=4\nRestartMaxDelaySec=30\n" in text
    assert "@PAUSES@" not in text


def test_unit_sets_no_limit_to_starts(machine: Machine) -> None:
    systemd.install_unit(machine, "/usr/bin/sysmonlx")
    lines = machine.unit_file.read_text().splitlines()
    assert "StartLimitIntervalSec=0" in lines
    assert "Restart=always" in lines
    assert not [line for line in lines if line.startswith("RestartPrevent")]


@pytest.mark.parametrize(
    ("enabled", "word"), [("enabled", "enable"), ("disabled", "disable")]
)
def test_unit_is_put_back_as_it_was(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, enabled: str, word: str
) -> None:
    monkeypatch.setenv("ENABLED", enabled)
    machine.unit_file.write_bytes(OLD_UNIT.read_bytes())
    before = systemd.unit_now(machine)
    assert before.is_started
    systemd.install_unit(machine, "/usr/bin/sysmonlx")
    text = machine.unit_file.read_text()
    assert text == systemd.unit_text("/usr/bin/sysmonlx", 252)
    machine.calls.unlink()
    systemd.restore_unit(machine, before)
    assert machine.unit_file.read_bytes() == before.text
    assert machine.called() == [
        "stop sysmonlx.service",
        "daemon-reload",
        f"{word} sysmonlx.service",
    ]


@pytest.mark.parametrize(
    ("state", "is_started"),
    [
        *(("active", True), ("activating", True), ("reloading", True)),
        *(("inactive", False), ("failed", False)),
    ],
)
def test_unit_that_systemd_starts_again_counts_as_started(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, state: str, is_started: bool
) -> None:
    assert systemd.unit_now(machine) == systemd.Unit()
    machine.unit_file.write_text("x")
    monkeypatch.setenv("STATE", state)
    assert systemd.unit_now(machine).is_started is is_started


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("active", ""),
        (
            "failed",
            "The service has failed (no BTF in this kernel): -i starts it again",
        ),
        ("inactive", "The service is stopped: systemctl start sysmonlx.service"),
        ("activating", "The service is being started (no BTF in this kernel)"),
    ],
)
def test_state_is_told_as_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, state: str, text: str
) -> None:
    monkeypatch.setenv("STATE", state)
    assert systemd.state_text(machine) == text


@pytest.mark.parametrize(
    ("status", "code", "exit_status", "text"),
    [
        ("a.xml (3 event rules)", "2", "9", " (ended by signal 9)"),
        ("", "1", "200", " (exit status 200: see systemd.exec(5))"),
        ("a.xml (3 event rules)", "1", "0", ""),
        ("Failed: no BTF", "1", "12", " (no BTF)"),
    ],
)
def test_how_a_service_ended_is_told(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    code: str,
    exit_status: str,
    text: str,
) -> None:
    for name, value in (("STATUS", status), ("CODE", code), ("EXIT", exit_status)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE", "failed")
    assert systemd.state_text(machine) == (
        f"The service has failed{text}: -i starts it again"
    )


def test_systemctl_that_is_missing_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InstallError, match=r"systemctl daemon-reload: .*No such file"):
        systemd.install_unit(machine, "/usr/local/bin/sysmonlx")


def test_another_root_gets_the_unit_and_systemd_is_left_alone(
    machine: Machine,
) -> None:
    paths = Paths(machine.root)
    assert not systemd.systemd_is_running(paths)
    done = systemd.install_unit(paths, "/usr/bin/sysmonlx")
    assert done == [f"Wrote {paths.unit_file}"]
    assert systemd.remove_unit(paths) == [f"Removed {paths.unit_file}"]
    assert systemd.remove_unit(paths) == []
    assert machine.called() == []


def test_machine_without_systemd_gets_nothing(tmp_path: Path) -> None:
    assert systemd.install_unit(Paths(tmp_path), "/usr/bin/sysmonlx") == []
    assert list(tmp_path.iterdir()) == []


def test_removal_undoes_the_installation_and_says_so(machine: Machine) -> None:
    systemd.install_unit(machine, "/usr/local/bin/sysmonlx")
    machine.calls.unlink()
    assert systemd.remove_unit(machine) == [
        "Stopped sysmonlx.service",
        "Disabled sysmonlx.service",
        f"Removed {machine.unit_file}",
    ]
    assert machine.called() == [
        "stop sysmonlx.service",
        "disable sysmonlx.service",
        "daemon-reload",
        "reset-failed sysmonlx.service",
    ]
    assert not machine.unit_file.exists()


def test_removal_that_fails_keeps_the_unit(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.install_unit(machine, "/usr/local/bin/sysmonlx")
    monkeypatch.setenv("FAIL", "stop")
    with pytest.raises(InstallError, match="systemctl stop"):
        systemd.remove_unit(machine)
    assert machine.unit_file.exists()


@pytest.mark.parametrize("path", ["sysmonlx", "", "/a\nExecStart=/bin/sh", "/\udcff"])
def test_program_that_systemd_could_not_start_is_refused(path: str) -> None:
    with pytest.raises(InstallError, match="as a service"):
        systemd.unit_text(path)


@pytest.mark.parametrize("abstract", [False, True])
def test_notification_reaches_the_manager(tmp_path: Path, abstract: bool) -> None:
    name = f"\0{tmp_path}" if abstract else str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": name.replace("\0", "@")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(5)
        assert systemd.notify("READY=1\nSTATUS=on", environment)
        assert manager.recv(100) == b"READY=1\nSTATUS=on"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nonexistent/socket"])
def test_manager_that_does_not_listen_is_no_error(address: str) -> None:
    assert not systemd.notify("READY=1", {"NOTIFY_SOCKET": address})
    assert not systemd.notify("READY=1", {})


def received(manager: socket.socket) -> list[bytes]:
    """Return all that was sent so far."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(1000, socket.MSG_DONTWAIT))
    return found


class Clock:
    """The time of the main loop, which goes on when it is told to."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def test_beats_are_sent_at_half_of_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "time", clock := Clock())
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        allowed_us = 400_000
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": str(allowed_us)}
        reports = systemd.Reports(environment)
        times = []
        for _ in range(1100):
            reports.beat()
            times += [clock.now_s] * len(received(manager))
            clock.now_s += 0.001
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert gaps == pytest.approx([allowed_us / 2e6] * 5, abs=0.002)
        reports.status("a\nWATCHDOG=1  b")
        reports.status("a\nWATCHDOG=1  b")
        assert received(manager) == [b"STATUS=a WATCHDOG=1 b"]


def test_nobody_hears_beats_who_wants_none(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        systemd.Reports({"NOTIFY_SOCKET": name}).beat()
        assert received(manager) == []


def test_manager_that_stalls_does_not_stall_us(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(environment["NOTIFY_SOCKET"])
        sent = [systemd.notify("WATCHDOG=1", environment) for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_watchdog_interval_is_half_of_what_is_allowed(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert systemd.watchdog_interval_s(environment) == interval_s
