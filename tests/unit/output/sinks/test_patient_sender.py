# SPDX-License-Identifier: MIT
"""A thread sends what a short queue does not take: all of it, in order, once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sysmonlx.output.sinks import syslog
from sysmonlx.output.sinks.patient_sender import MOST, STOP_S, PatientSender
from sysmonlx.output.sinks.syslog import SyslogSink

WALL_S = 1767607205
#: More messages than any socket here takes unread: unix(7); systemd sets 512.
QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
MANY = QUEUE + 200


class LogDaemon:
    """A log daemon's end, read by a thread where it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.fspath(path))
        self.messages: list[bytes] = []
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()

    def read(self, count: int, pause_s: float = 0.0) -> None:
        """Begin to read so many messages, or until `join` and none is left."""
        self.socket.settimeout(0.02)

        def run() -> None:
            while len(self.messages) < count:
                try:
                    self.messages.append(self.socket.recv(1 << 16))
                except TimeoutError:
                    if self._ends.is_set():
                        return
                time.sleep(pause_s)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def join(self) -> list[bytes]:
        """Return what was read, after all of it, and what is left in the queue."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(60)
            assert not self._thread.is_alive()
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.messages.append(self.socket.recv(1 << 16))
        return [each.partition(b"sysmon: ")[2] for each in self.messages]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[LogDaemon]:
    made = LogDaemon(tmp_path / "log")
    yield made
    made.socket.close()


@pytest.fixture
def sink(daemon: LogDaemon) -> Iterator[SyslogSink]:
    made = SyslogSink(os.fspath(daemon.path))
    yield made
    made.close(0)


def numbered(start: int, end: int) -> list[bytes]:
    return [b"%08d" % number for number in range(start, end)]


def settle(sink: SyslogSink) -> None:
    """Send aside until nothing waits."""
    end_s = time.monotonic() + 60
    while sink.spooled:
        sink.send_aside()
        time.sleep(0.001)
        sink.flush()
        assert time.monotonic() < end_s


def test_all_is_sent_in_order_while_more_is_written(
    daemon: LogDaemon, sink: SyslogSink
) -> None:
    daemon.read(3 * MANY)
    for start in range(0, 3 * MANY, 50):
        sink.write(numbered(start, min(3 * MANY, start + 50)), WALL_S)
        sink.send_aside()
    settle(sink)
    assert daemon.join() == numbered(0, 3 * MANY)
    assert (sink.delivered, sink.lost, sink.spooled_bytes) == (3 * MANY, 0, 0)


def test_who_hands_over_does_not_wait_and_sends_nothing_meanwhile(
    daemon: LogDaemon, sink: SyslogSink
) -> None:
    sink.write(numbered(0, MANY), WALL_S)
    begin_s = time.thread_time()
    sink.send_aside()
    assert sink.is_sent_aside
    assert not sink.wants_writable()
    sink.write(numbered(MANY, MANY + 1), WALL_S)
    assert time.thread_time() - begin_s < 0.05
    daemon.read(MANY + 1, pause_s=0.0005)
    settle(sink)
    assert daemon.join() == numbered(0, MANY + 1)


def test_stalled_log_ends_the_call_and_nothing_is_counted_twice(
    daemon: LogDaemon, sink: SyslogSink
) -> None:
    sink.write(numbered(0, MANY), WALL_S)
    taken = sink.delivered
    for _ in range(3):
        sink.send_aside()
        end_s = time.monotonic() + STOP_S
        while sink.is_sent_aside and time.monotonic() < end_s:
            time.sleep(0.005)
            sink.flush()
        assert (sink.delivered, sink.spooled) == (taken, MANY - taken)
    assert len(daemon.join()) == taken


def test_close_in_the_middle_counts_exactly(daemon: LogDaemon) -> None:
    sink = SyslogSink(os.fspath(daemon.path))
    sink.write(numbered(0, MOST), WALL_S)
    daemon.read(QUEUE + 50, pause_s=0.002)
    sink.send_aside()
    time.sleep(0.02)
    begin_s = time.monotonic()
    sink.close(0.01)
    assert time.monotonic() - begin_s < 0.01 + STOP_S + 5
    assert sink.delivered + sink.lost == MOST
    assert daemon.join() == numbered(0, sink.delivered)


def test_lines_in_hand_are_not_given_up_by_a_full_spool(daemon: LogDaemon) -> None:
    sink = SyslogSink(os.fspath(daemon.path), spool_limit_bytes=100 * 36)
    sink.write(numbered(0, MANY), WALL_S)
    sink.send_aside()
    sink.write(numbered(MANY, MANY + 100), WALL_S)
    kept = sink.delivered + sink.spooled
    daemon.read(kept)
    settle(sink)
    assert daemon.join() == numbered(0, kept)
    assert sink.delivered + sink.lost == MANY + 100
    sink.close(0)


def test_log_that_comes_anew_meanwhile_gets_the_rest(
    daemon: LogDaemon, sink: SyslogSink
) -> None:
    sink.write(numbered(0, MANY), WALL_S)
    taken = sink.delivered
    sink.send_aside()
    daemon.socket.close()
    daemon.path.unlink()
    heir = LogDaemon(daemon.path)
    sink.reopen()
    heir.read(MANY - taken)
    settle(sink)
    assert heir.join() == numbered(taken, MANY)
    assert sink.trouble == ""
    heir.socket.close()


def test_without_a_thread_the_caller_goes_on_as_before(
    daemon: LogDaemon, sink: SyslogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> PatientSender:
        raise OSError("no thread can be started")

    monkeypatch.setattr(syslog, "PatientSender", none)
    sink.write(numbered(0, MANY), WALL_S)
    sink.send_aside()
    assert not sink.is_sent_aside
    assert sink.wants_writable()
    daemon.read(MANY)
    settle(sink)
    assert daemon.join() == numbered(0, MANY)
