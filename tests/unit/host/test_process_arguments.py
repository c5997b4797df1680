# SPDX-License-Identifier: MIT
"""Arguments of others: a FIFO in place of /proc/PID/cmdline hangs whoever opens it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.host import process_arguments
from sysmonlx.host.process_arguments import (
    HUNG_LIMIT,
    HUNG_LIMIT_OF_USER,
    LIMIT_BYTES,
    CommandLines,
    Job,
)

LONG_S = 60.0
#: A worker that is at one process for this time, in seconds, is given up. A busy one
#: may be kept from running for longer than the 10 ms of reality.
STALL_S = 0.3


@pytest.fixture(autouse=True)
def workers_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_arguments, "_STALL_S", STALL_S)


class FakeProc:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, tgid: int, args: bytes) -> None:
        (self.root / str(tgid)).mkdir()
        (self.root / str(tgid) / "cmdline").write_bytes(args)

    def add_hanging(self, tgid: int) -> None:
        (self.root / str(tgid)).mkdir()
        os.mkfifo(self.root / str(tgid) / "cmdline")

    def release(self, tgid: int, args: bytes) -> None:
        (self.root / str(tgid) / "cmdline").write_bytes(args)


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


@pytest.fixture
def lines(proc: FakeProc) -> Iterator[CommandLines]:
    made = CommandLines(os.fspath(proc.root))
    yield made
    made.close()


def job(tgid: int, uid: int = 0) -> Job:
    return Job(b"image of %d" % tgid, tgid, uid)


def answers(lines: CommandLines, count: int) -> dict[bytes, bytes]:
    """Return so many answers, waiting as long as it takes."""
    found: dict[bytes, bytes] = {}
    deadline_s = time.monotonic() + LONG_S
    while len(found) < count and time.monotonic() < deadline_s:
        lines.wait(0.05)
        found.update(lines.answers())
    return found


def test_arguments_are_read(proc: FakeProc, lines: CommandLines) -> None:
    proc.add(1, b"init\0")
    proc.add(2, b"x" * LIMIT_BYTES + b"yz\0")
    lines.ask([job(1), job(2), job(3)])
    lines.wait(LONG_S)
    assert dict(lines.answers()) == {
        job(1).key: b"init\0",
        job(2).key: b"x" * LIMIT_BYTES + b"y",
        job(3).key: b"",
    }


def test_one_that_hangs_is_answered_when_it_can_be(
    proc: FakeProc, lines: CommandLines
) -> None:
    proc.add_hanging(1)
    proc.add(2, b"two\0")
    lines.ask([job(1), job(2)])
    begin_s = time.monotonic()
    lines.wait(LONG_S)
    assert time.monotonic() - begin_s < LONG_S / 2
    assert lines.answers() == [(job(2).key, b"two\0")]
    assert (lines.hung, lines.given_up) == (1, 1)
    lines.ask([job(1)])  # it is under way
    proc.release(1, b"one\0")
    assert answers(lines, 1) == {job(1).key: b"one\0"}
    assert lines.hung == 0


def test_one_user_cannot_take_the_workers_of_all(
    proc: FakeProc, lines: CommandLines
) -> None:
    hanging = range(10, 30)
    for tgid in hanging:
        proc.add_hanging(tgid)
    proc.add(2, b"two\0")
    lines.ask([*(job(tgid, uid=1000) for tgid in hanging), job(2)])
    lines.wait(LONG_S)
    assert lines.answers() == [(job(2).key, b"two\0")]
    assert lines.hung == HUNG_LIMIT_OF_USER
    for tgid in hanging[:HUNG_LIMIT_OF_USER]:
        proc.release(tgid, b"done\0")
    assert len(answers(lines, HUNG_LIMIT_OF_USER)) == HUNG_LIMIT_OF_USER


def test_workers_are_bounded_and_come_back(
    proc: FakeProc, lines: CommandLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_arguments, "_STALL_S", 0.01)  # none is to be in time
    hanging = range(100, 100 + HUNG_LIMIT + 5)
    for tgid in hanging:
        proc.add_hanging(tgid)
    proc.add(2, b"two\0")
    others = set(threading.enumerate())  # one of another test may end meanwhile
    lines.ask([job(tgid, uid=tgid) for tgid in hanging])
    lines.wait(LONG_S)
    assert lines.hung == HUNG_LIMIT
    assert len(set(threading.enumerate()) - others) == HUNG_LIMIT
    lines.ask([job(2)])
    lines.wait(LONG_S)
    assert lines.answers() == []
    for tgid in hanging[:HUNG_LIMIT]:
        proc.release(tgid, b"done\0")
    assert len(answers(lines, HUNG_LIMIT)) == HUNG_LIMIT
    lines.ask([job(2)])
    assert answers(lines, 1) == {job(2).key: b"two\0"}


def test_without_a_thread_it_is_asked_again(
    proc: FakeProc, lines: CommandLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(2, b"two\0")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        lines.ask([job(2)])
        lines.wait(LONG_S)
        assert lines.answers() == []
    lines.ask([job(2)])
    assert answers(lines, 1) == {job(2).key: b"two\0"}
