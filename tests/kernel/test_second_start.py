# SPDX-License-Identifier: MIT
"""Later starts take the programs as the kernel took them at the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sysmonlx.capture import Capture
from sysmonlx.hooks import ALL_HOOKS
from sysmonlx.preparedobject import PreparedObject

pytestmark = pytest.mark.kernel


@contextmanager
def started(keep_in: Path) -> Iterator[Capture]:
    """A capture of everything, as a daemon starts it."""
    capture = Capture(1 << 20, 1 << 16, keep_in=keep_in)
    try:
        capture.load(ALL_HOOKS)
        capture.attach_processes()
        capture.want(ALL_HOOKS)
        capture.keep()
        yield capture
    finally:
        capture.close()


def state(capture: Capture) -> tuple[object, ...]:
    """What must not depend on how programs were loaded."""
    maps = {
        name: (each.max_entries, each.value_bytes)
        for name, each in capture.maps.items()
        if name != "records" or each.max_entries
    }
    return capture.attached(), capture.missing, maps


def is_by_plan(capture: Capture) -> bool:
    return all(isinstance(each, PreparedObject) for each in capture._objects)


def test_second_start_is_the_first_without_libbpf(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    with started(kept) as first:
        assert not is_by_plan(first)
        expected = state(first)
    assert kept.stat().st_mode & 0o777 == 0o600
    with started(kept) as second:
        assert is_by_plan(second)
        assert state(second) == expected
        pids = {record.tgid for record in second.scan(lambda tgid: b"")}
        assert {os.getpid(), os.getppid()} <= pids
        before = second.counts()["process_create"].seen
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        assert second.counts()["process_create"].seen > before
        assert second.ring.read()


def test_programs_wanted_later_join_those_by_plan(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    few = Capture(1 << 20, 1 << 16, keep_in=kept)
    few.load()
    few.keep()
    few.close()
    with started(kept) as capture:
        assert not is_by_plan(capture)
        expected = state(capture)
    with started(kept) as again:
        assert is_by_plan(again)
        assert state(again) == expected


def test_plan_that_the_kernel_refuses_is_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    with started(kept) as first:
        expected = state(first)
        plans = first._kept.plans
        wrong = plans.programs["process_fork"]._replace(code=bytes(16))
        plans.programs["process_fork"] = wrong
        first._kept.write()
    with started(kept) as second:
        assert not is_by_plan(second)
        assert state(second) == expected
    with started(kept) as third:
        assert is_by_plan(third)
        assert state(third) == expected
