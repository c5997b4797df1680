# SPDX-License-Identifier: MIT
"""A full log socket wakes the daemon no more often than an empty one would."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sysmonlx.output.dispatch import Output
from sysmonlx.output.lines import Lines
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.render import Renderer
from sysmonlx.policy import Settings, SinkChoice
from sysmonlx.service.flushing import Flushing
from sysmonlx.service.loop import Loop

#: More messages than the socket takes unread, unix(7), but far from a full spool.
MANY = 3 * int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 50


class CountedLoop(Loop):
    """A loop that knows how often it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout_s: float, writable: Iterable[int] = ()) -> bool:
        self.waits.append(timeout_s)
        return super().wait(timeout_s, list(writable))


class Stage:
    """An output whose log daemon reads when it is told to."""

    def __init__(self, path: Path, spool_limit_bytes: int = 8 << 20) -> None:
        self.log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log.bind(os.fspath(path))
        self.loop = CountedLoop()
        self.output = Output(RecordIds(None))
        choice = SinkChoice("syslog", "xml", os.fspath(path))
        settings = Settings(sinks=(choice,), spool_limit_bytes=spool_limit_bytes)
        self.output.configure(settings, lambda _: Renderer("xml", "h", 1, 1, 0))
        self.flushing = Flushing(self.loop, self.output)

    def fill(self) -> None:
        lines = Lines.of([b"%d" % number for number in range(MANY)])
        self.output._channels[0].sink.write_framed(lines)

    def close(self) -> None:
        self.output.close(0)
        self.log.close()
        self.loop.close()

    def read(self, count: int) -> None:
        for _ in range(count):
            self.log.recv(1 << 16)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "log")
    yield made
    made.close()


def test_what_waits_is_written_within_one_wait(stage: Stage) -> None:
    stage.fill()
    reader = threading.Thread(target=stage.read, args=(MANY,))
    reader.start()
    while stage.output.spooled():
        stage.flushing.wait(0.05)
    reader.join(60)
    assert stage.output.delivered() == MANY


def test_who_sleeps_is_not_woken_for_what_a_thread_sends(stage: Stage) -> None:
    stage.fill()
    reader = threading.Thread(target=stage.read, args=(MANY,))
    reader.start()
    waits = 0
    while stage.output.spooled():
        stage.flushing.wait(0.2)
        waits += 1
    reader.join(60)
    assert stage.output.delivered() == MANY
    assert len(stage.loop.waits) <= 2 * waits + 1  # a second look when time is up


def test_a_stalled_log_daemon_is_tried_less_and_less_often(stage: Stage) -> None:
    stage.fill()
    cpu_s = time.thread_time()
    for _ in range(6):
        stage.flushing.wait(0.05)
    assert len(stage.loop.waits) <= 16
    assert time.thread_time() - cpu_s < 0.05


def test_nothing_that_waits_is_one_wait(stage: Stage) -> None:
    stage.flushing.wait(0.01)
    assert stage.loop.waits == [0.01]


def test_what_is_readable_ends_the_wait(stage: Stage) -> None:
    stage.fill()
    reader, writer = os.pipe()
    called: list[int] = []
    stage.loop.handle(reader, lambda: called.append(1))
    os.write(writer, b"x")
    stage.flushing.wait(10)
    assert called == [1]
    os.close(reader)
    os.close(writer)


def test_a_filling_spool_is_written_as_soon_as_there_is_room(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "log", spool_limit_bytes=1000)
    stage.fill()
    (fd,) = stage.output.pressing()
    stage.log.recv(1 << 16)
    stage.flushing.wait(10)
    assert stage.loop.waits == [pytest.approx(10, abs=9)]
    assert fd >= 0
    stage.close()
