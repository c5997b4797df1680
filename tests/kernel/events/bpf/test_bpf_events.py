# SPDX-License-Identifier: MIT
"""eBPF programs that are loaded, with the ids the kernel gave them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon
from support.watch import PYTHON, act, watching

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root") as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("action", "name"), [("load", "fifteen_letters"), ("load_without_name", "-")]
)
def test_a_loaded_program(
    watcher: Daemon, tmp_path: Path, action: str, name: str
) -> None:
    output, (event,) = act(watcher, "actions_bpf.py", action, tmp_path)
    assert event["EventID"] == "100"
    assert event["Image"] == PYTHON
    assert event["User"] == "root"
    assert event["BpfCommand"] == "BPF_PROG_LOAD"
    assert event["BpfProgramType"] == "SOCKET_FILTER"
    assert output == f"id={event['BpfProgramId']}\n"
    assert event["BpfProgramName"] == name


def test_a_refused_program_is_no_event(watcher: Daemon, tmp_path: Path) -> None:
    _, events = act(watcher, "actions_bpf.py", "fail_to_load", tmp_path)
    assert events == []


def test_the_daemons_own_programs_are_no_events(watcher: Daemon) -> None:
    own = str(watcher.process.pid)
    assert not [each for each in watcher.settle() if each.get("ProcessId") == own]
