# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import no_bpf

from sysmonlx.host import surroundings
from sysmonlx.host.capabilities import CAP_BPF, KEPT
from sysmonlx.host.surroundings import CAP_SYS_ADMIN

REPOSITORY = Path(__file__).resolve().parents[3]


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert surroundings.why_not(True, KEPT) == ""
    assert surroundings.why_not(True, {CAP_SYS_ADMIN}) == ""
    assert surroundings.limits(True, KEPT) == []


def test_missing_capabilities_are_named_with_what_helps() -> None:
    text = surroundings.why_not(True, KEPT - {CAP_BPF})
    assert text.startswith("capabilities are missing, BPF: run it as root;")
    assert "--cap-add or securityContext.capabilities.add" in text
    assert "missing, BPF, PERFMON" in surroundings.why_not(True, set())
    (limit,) = surroundings.limits(True, {CAP_BPF})
    assert "missing, SYS_PTRACE, DAC_READ_SEARCH" in limit


def test_rootless_container_is_told_apart() -> None:
    assert "user namespace" in surroundings.why_not(False, KEPT)


def test_pid_namespace_is_told() -> None:
    (limit,) = surroundings.limits(False, KEPT)
    assert "--pid=host or hostPID" in limit


@pytest.mark.parametrize("number", [1, 38])
def test_filter_of_system_calls_is_told_with_what_helps(number: int) -> None:
    code = "from sysmonlx.host.surroundings import without_bpf; print(without_bpf())"
    result = subprocess.run(
        [
            sys.executable,
            "-P",
            no_bpf.__file__,
            str(number),
            sys.executable,
            "-P",
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
    )
    assert result.stdout.startswith("seccomp forbids bpf(2): ")
    assert "seccompProfile" in result.stdout


def test_no_filter_forbids_nothing(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nSeccomp:\t0\nThreads:\t1\n")
    assert surroundings.without_bpf(tmp_path / "status") == ""
    assert surroundings.without_bpf(tmp_path / "none") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_namespaces_are_found_by_themselves() -> None:
    code = (
        "from sysmonlx.host.surroundings import is_first;"
        "print(is_first('pid'), is_first('user'))"
    )
    for words, shown in (
        (["--pid", "--fork", "--mount-proc"], "False True"),
        (["--user", "--map-root-user"], "True False"),
    ):
        command = ["unshare", *words, sys.executable, "-P", "-c", code]
        environment = {**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)}
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
        assert result.stdout.strip() == shown
