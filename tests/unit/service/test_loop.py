# SPDX-License-Identifier: MIT
"""Descriptors and their handlers, signals among them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from sysmonlx.service.loop import Loop
from sysmonlx.service.signals import Signals


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def signals() -> Iterator[Signals]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    made = Signals()
    yield made
    made.close()
    for number, handler in before:
        signal.signal(number, handler)


def test_handler_is_called_when_its_descriptor_is_readable(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    read: list[bytes] = []
    loop.handle(reader, lambda: read.append(os.read(reader, 9)))
    loop.wait(0)
    assert read == []
    os.write(writer, b"x")
    loop.wait(5)
    assert read == [b"x"]


def test_forgotten_handler_is_called_no_more(loop: Loop, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    called: list[int] = []
    loop.handle(reader, lambda: called.append(1))
    os.write(writer, b"x")
    loop.forget(reader)
    loop.wait(0)
    assert called == []


def test_handler_that_forgets_another_ends_it_at_once(loop: Loop) -> None:
    """Both were ready: the descriptor of the second may be another one's by now."""
    ends = [os.pipe(), os.pipe()]
    first, second = (reader for reader, _ in ends)
    called: list[int] = []

    def forget(own: int, other: int) -> None:
        called.append(own)
        loop.forget(other)

    loop.handle(first, lambda: forget(first, second))
    loop.handle(second, lambda: forget(second, first))
    for _, writer in ends:
        os.write(writer, b"x")
    loop.wait(5)
    assert len(called) == 1
    for fds in ends:
        for fd in fds:
            os.close(fd)


def test_wait_ends_when_a_sink_takes_more(loop: Loop, pipe: tuple[int, int]) -> None:
    _, writer = pipe
    assert loop.wait(60, [writer])
    assert loop.wait(0, [writer])  # registered for one wait alone
    assert not loop.wait(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_that_asks_for_the_end_wakes_the_loop(
    loop: Loop, signals: Signals, number: signal.Signals
) -> None:
    drained: list[bool] = []

    def drain() -> None:
        signals.drain()
        drained.append(True)

    loop.handle(signals.fileno(), drain)
    os.kill(os.getpid(), number)
    loop.wait(60)
    assert (signals.is_stop, signals.take_hang_up(), drained) == (True, False, [True])
    loop.wait(0)
    assert drained == [True]


def test_hang_up_is_taken_once(signals: Signals) -> None:
    assert not signals.take_hang_up()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.take_hang_up()
    assert not signals.take_hang_up()
    assert not signals.is_stop


def test_late_signal_ends_nothing(signals: Signals) -> None:
    other = Signals()
    other.close()
    os.kill(os.getpid(), signal.SIGTERM)
    assert other.is_stop
    assert signal.set_wakeup_fd(-1) == -1
