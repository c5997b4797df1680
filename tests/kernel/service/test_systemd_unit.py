# SPDX-License-Identifier: MIT
"""What systemd itself says of the unit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sysmonlx.host import capabilities
from sysmonlx.service import systemd

#: Tenths, as systemd-analyze(1) takes them. RestrictSUIDSGID would make it 32, but it
#: refuses openat2(2), without which programs that end at once have no hash.
EXPOSURE_LIMIT = 34

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    program = tmp_path / "a program%h$x"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / systemd.UNIT
    path.write_text(systemd.unit_text(str(program)))
    return path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, words)]
    environment = dict(os.environ, LC_ALL="C", SYSTEMD_PAGER="")
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False
    )


def test_systemd_has_nothing_to_remark(unit: Path) -> None:
    result = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (result.stderr, result.stdout, result.returncode) == ("", "", 0)


def test_unit_that_is_wrong_would_be_remarked(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    result = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert "NoNewPrivilege" in result.stderr


def test_exposure_stays_low(unit: Path) -> None:
    threshold = f"--threshold={EXPOSURE_LIMIT}"
    result = analyze("security", "--offline=true", "--no-pager", threshold, unit)
    assert "overall exposure level" in result.stdout.lower()
    assert result.returncode == 0, result.stdout


def test_nothing_refuses_openat2_behind_the_filter(unit: Path) -> None:
    """systemd answers it with ENOSYS where RestrictSUIDSGID= is on."""
    assert not re.search(r"^RestrictSUIDSGID=", unit.read_text(), re.MULTILINE)


def test_service_may_keep_what_the_daemon_keeps_and_no_more(unit: Path) -> None:
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", unit.read_text(), re.MULTILINE)
    names = {name for line in lines for name in line.split()}
    numbers = {
        name: getattr(capabilities, name)
        for name in dir(capabilities)
        if name.startswith("CAP_")
    }
    assert names == set(numbers)
    assert set(numbers.values()) == capabilities.KEPT


@pytest.mark.parametrize(
    "call",
    [
        *("bpf", "capset", "perf_event_open", "openat", "eventfd2", "prlimit64"),
        *("prctl", "setsid", "timerfd_create", "pidfd_open", "pidfd_send_signal"),
        *("unshare", "wait4", "kill", "fallocate", "openat2", "statx", "close_range"),
        "open_by_handle_at",
    ],
)
def test_system_calls_that_we_need_are_let_through(unit: Path, call: str) -> None:
    lines = re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE)
    allowed: set[str] = set()
    for line in lines:
        calls = expand(line.removeprefix("~").split())
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    assert call in allowed


def expand(names: list[str]) -> set[str]:
    """Replace groups such as "@system-service" by their members."""
    calls: set[str] = set()
    for name in names:
        if name.startswith("@"):
            lines = analyze("syscall-filter", name).stdout.splitlines()[1:]
            calls |= expand([line.strip() for line in lines if "#" not in line])
        else:
            calls.add(name)
    return calls
