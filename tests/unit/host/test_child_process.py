# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.leftovers import nothing_stays_open

from sysmonlx.host import child_process
from sysmonlx.host.child_process import Child, TooLargeError

LIMIT = 1 << 20
DEADLINE_S = 20.0


@contextmanager
def child(work: Callable[[], bytes], limit_bytes: int = LIMIT) -> Iterator[Child]:
    made = Child(work, limit_bytes)
    try:
        yield made
    finally:
        made.end()


def hang() -> bytes:
    time.sleep(3600)
    raise AssertionError


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_answer_comes_when_it_is_whole() -> None:
    data = os.urandom(LIMIT - 1)
    with child(lambda: data) as made:
        pid = made.pid
        assert made.wait(DEADLINE_S) == (data, 0)
        assert not is_alive(pid)


def test_nobody_waits_for_a_child_that_has_nothing_yet() -> None:
    with child(hang) as made:
        pid = made.pid
        assert made.take() is None
        assert not select.select([made], [], [], 0)[0]
    assert not is_alive(pid)


def test_child_that_is_stopped_is_ended_all_the_same() -> None:
    with child(hang) as made:
        pid = made.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            made.wait(0.05)
    assert not is_alive(pid)


def test_child_that_was_killed_says_so() -> None:
    with child(hang) as made:
        os.kill(made.pid, signal.SIGKILL)
        assert made.wait(DEADLINE_S) == (b"", -signal.SIGKILL)


def test_child_that_does_not_end_in_time_is_waited_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_process, "_END_S", -1.0)
    with child(hang) as made:
        pid = made.pid
        monkeypatch.setattr(os, "kill", lambda *_: None)  # the kernel lets it wait
    monkeypatch.undo()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with child(lambda: b"next") as made:
        assert made.wait(DEADLINE_S) == (b"next", 0)
    assert not is_alive(pid)


def test_answer_has_a_limit() -> None:
    with child(lambda: bytes(LIMIT), LIMIT - 1) as made, pytest.raises(TooLargeError):
        made.wait(DEADLINE_S)


def test_child_has_nothing_of_its_parent() -> None:
    def open_files() -> bytes:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        actions = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
        assert (mask, actions) == (set(), [signal.SIG_DFL] * 2)
        return ",".join(os.listdir("/proc/self/fd")).encode()

    reader, writer = os.pipe()
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with child(open_files) as made:
            data, status = made.wait(DEADLINE_S)
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(reader)
        os.close(writer)
    assert status == 0, data
    others = set(map(int, data.split(b","))) - {0, 1, 2}
    assert len(others) == 2  # its pipe, and the directory that it lists


def test_child_ends_with_its_parent() -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        made = Child(hang, LIMIT)
        os.write(writer, f"{made.pid}\n".encode())
        time.sleep(3600)
        os._exit(0)
    with os.fdopen(reader) as file:
        grandchild = int(file.readline())
    os.close(writer)
    pidfd = os.pidfd_open(grandchild)
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert select.select([pidfd], [], [], DEADLINE_S)[0]
    finally:
        os.close(pidfd)


def test_without_a_process_nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fail)
    with nothing_stays_open(), pytest.raises(BlockingIOError):
        Child(bytes, LIMIT)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), child_process.NO_MEMORY),
        (ValueError("no"), child_process.FAILED),
    ],
)
def test_failure_of_the_work_is_a_status(error: Exception, status: int) -> None:
    def fail() -> bytes:
        raise error

    with child(fail) as made:
        assert made.wait(DEADLINE_S).status == status
