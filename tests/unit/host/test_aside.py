# SPDX-License-Identifier: MIT
from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator

import pytest

from sysmonlx.host.aside import Aside
from sysmonlx.host.lane import (
    BUSY,
    FAILED,
    HELD,
    NO_ANSWER,
    NO_THREAD,
    Lane,
    Limits,
)
from sysmonlx.host.patience import WaitBudget

LIMITS = Limits(workers=2, threads=4, burst_s=0.05, share=0.05)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hang:
    """Calls that do not return before they are released."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._go = threading.Event()

    def __call__(self) -> str:
        self.begun.release()
        self._go.wait(30)
        return "late"

    def release(self) -> None:
        self._go.set()


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.release()


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A lane whose caller waits for its answer, however busy the machine is."""
    made = Lane("Values", LIMITS._replace(burst_s=30.0, share=1.0))
    made.begin()
    yield made
    made.end()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def soon() -> str:
    return "soon"


def begin_to_hang(lane: Lane, hang: Hang, key: Hashable) -> None:
    """Have a thread of a lane hang: a call that no thread takes in time is none."""

    def has_begun() -> bool:
        assert lane.run(hang, key) is None
        return hang.begun.acquire(blocking=False)

    until(has_begun)


def until_answered(lane: Lane, clock: Clock, key: str) -> None:
    """Ask until there is an answer: a busy machine may let a thread wait for long."""

    def is_answered() -> bool:
        clock.now += 100
        return lane.run(soon, key) == "soon"

    until(is_answered)


def fails() -> str:
    raise OSError("no")


def refuses(*_: object) -> int:
    raise RuntimeError("can't start new thread")


def test_a_call_is_made_by_another_thread(lane: Lane) -> None:
    assert lane.run(_thread.get_ident) not in (None, _thread.get_ident())
    assert lane.counts == {}


def test_what_fails_is_unknown_and_the_thread_goes_on(lane: Lane) -> None:
    assert [lane.run(fails) for _ in range(5)] == [None] * 5
    assert lane.run(soon) == "soon"
    assert lane.counts == {FAILED: 5}
    assert lane.threads == 2


def test_what_does_not_return_is_given_up_and_others_go_on(hang: Hang) -> None:
    lane = Lane("Values", LIMITS)
    lane.begin()
    assert lane.run(hang, "mallory") is None
    assert lane.counts == {NO_ANSWER: 1}
    until(lambda: lane.run(soon, "alice") == "soon")
    lane.end()


def test_whoever_hangs_gets_no_other_thread(hang: Hang) -> None:
    clock = Clock()
    lane = Lane("Values", LIMITS, clock)
    lane.begin()
    begin_to_hang(lane, hang, "mallory")
    for _ in range(100):
        assert lane.run(hang, "mallory") is None
        clock.now += 1000
    assert lane.counts[HELD] == 100
    until_answered(lane, clock, "alice")
    hang.release()
    until_answered(lane, clock, "mallory")
    lane.end()


def test_whoever_hung_is_not_waited_for_at_once_again(hang: Hang) -> None:
    clock = Clock()
    lane = Lane("Values", LIMITS, clock)
    lane.begin()
    begin_to_hang(lane, hang, "mallory")
    hang.release()
    until(lambda: not lane._held)
    assert lane.run(soon, "mallory") is None
    clock.now += 0.9
    assert lane.run(soon, "mallory") is None
    assert lane.counts[HELD] == 2
    clock.now += 0.2
    assert lane.run(soon, "mallory") in ("soon", None)  # None where it came too late
    assert lane.counts[HELD] == 2
    until_answered(lane, clock, "mallory")
    lane.end()


def test_threads_are_bounded_and_come_back(hang: Hang) -> None:
    clock = Clock()
    lane = Lane("Values", LIMITS, clock)
    lane.begin()
    for key in range(4):
        begin_to_hang(lane, hang, key)
        clock.now += 100
        lane.renew()
    before = lane.counts.copy()
    assert before[NO_ANSWER] >= 4
    for key in range(4, 20):
        assert lane.run(hang, key) is None
        clock.now += 100
        lane.renew()
    assert lane.counts - before == {BUSY: 16}
    assert lane.threads == 4
    hang.release()
    until(lambda: lane.threads == 2)
    for name in "ab":
        until_answered(lane, clock, name)
    until(lambda: (lane._live, lane._idle, lane._backlog) == (2, 2, 0))
    lane.end()


def test_the_wait_is_bounded_however_many_calls_hang(hang: Hang) -> None:
    """A wait only begins while there is time left; how late it ends is not ours."""
    start_s = time.monotonic()
    lane = Lane("Values", Limits(2, 100, 0.05, 0.05))
    lane.begin()
    while (now_s := time.monotonic()) - start_s < 0.5:
        before_s = lane.waited_s
        lane.run(hang, time.monotonic_ns())
        if lane.waited_s > before_s:
            assert before_s < 0.05 + 0.05 * (time.monotonic() - start_s), now_s
    assert lane.waited_s > 0.04
    lane.end()


def test_budget_is_a_burst_and_a_share() -> None:
    clock = Clock()
    budget = WaitBudget(0.05, 0.1, clock)
    assert budget.left_s() == 0.05
    budget.spend(0.05)
    assert budget.left_s() == 0
    clock.now += 0.2
    assert budget.left_s() == pytest.approx(0.02)
    clock.now += 100
    assert budget.left_s() == 0.05


def test_threads_that_cannot_be_started_cost_values_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    lane = Lane("Values", LIMITS, clock)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuses)
        lane.begin()
        assert [lane.run(soon) for _ in range(100)] == [None] * 100
        assert lane.counts == {NO_THREAD: 1, BUSY: 100}
        clock.now += 1.1
        lane.renew()
        assert lane.counts[NO_THREAD] == 2
        assert not lane.post(soon, "late")
    clock.now += 1.1
    assert lane.run(soon) in ("soon", None)  # None where it came too late
    assert lane.threads == 2
    until_answered(lane, clock, "key")
    until(lambda: not lane._pending)
    lane.end()


def test_a_limit_of_memory_costs_values_alone() -> None:
    code = """
import resource, time
from sysmonlx.host.lane import NO_THREAD, Lane, Limits

lane = Lane("Values", Limits(2, 4, 5, 1))
size = int(open("/proc/self/statm").read().split()[0]) * 4096
most = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (size + 700_000, most))
lane.begin()
assert lane.run(str) is None and lane.counts[NO_THREAD] == 1, lane.counts
resource.setrlimit(resource.RLIMIT_AS, (most, most))
while lane.run(str) is None:
    time.sleep(0.05)
print(lane.threads)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("2\n", "")


def test_a_posted_call_is_made_once_and_can_come_late(hang: Hang) -> None:
    lane = Lane("Values", LIMITS)
    lane.begin()
    assert not lane.post(hang, "key")
    assert not any(lane.post(hang, "key") for _ in range(10))
    assert hang.begun.acquire(timeout=60)
    assert not hang.begun.acquire(blocking=False)
    hang.release()
    until(lambda: lane.post(soon, "key"))
    lane.end()


def test_posted_calls_that_hang_are_given_up_after_a_while(hang: Hang) -> None:
    clock = Clock()
    lane = Lane("Values", Limits(1, 3, 0.05, 0.05, queue=8), clock)
    lane.begin()
    for key in range(20):
        lane.post(hang, key, wait=False)
    assert lane.counts == {BUSY: 12}
    for _ in range(5):
        assert hang.begun.acquire(timeout=60)
        clock.now += 6
        lane.renew()
        if lane.counts[NO_ANSWER] == 3:
            break
    assert lane.counts[NO_ANSWER] == 3
    assert lane.threads == 3
    hang.release()
    until(lambda: not lane._pending)
    until(lambda: lane.threads == 1)
    until(lambda: lane.post(soon, "again"))
    lane.end()


def test_threads_share_no_descriptors(lane: Lane) -> None:
    reader, writer = os.pipe()
    try:
        seen = lane.run(lambda: os.listdir("/proc/thread-self/fd"))
        assert seen is not None
        assert not {str(reader), str(writer)} & {*seen}
        assert {int(fd) for fd in seen} <= {0, 1, 2, 3}
    finally:
        os.close(reader)
        os.close(writer)


def test_threads_take_no_signals(lane: Lane) -> None:
    def blocked() -> int:
        with open("/proc/thread-self/status", encoding="ascii") as file:
            line = next(each for each in file if each.startswith("SigBlk"))
        return int(line.split()[1], 16)

    mask = lane.run(blocked)
    assert mask is not None
    assert mask >> 14 & 1  # SIGTERM


def test_nothing_is_asked_before_the_beginning() -> None:
    lanes = Aside()
    assert lanes.threads() == 0
    assert lanes.paths.run(soon) is None
    assert lanes.losses() == {("Resolved paths", BUSY): 1}
    lanes.begin()
    assert lanes.threads() == sum(lane._limits.workers for lane in lanes.lanes)
    until(lambda: lanes.paths.run(soon) == "soon")
    lanes.end()
    until(lambda: not lanes.threads())


def test_all_lanes_together_take_a_tenth_of_the_time() -> None:
    limits = [lane._limits for lane in Aside().lanes]
    assert sum(each.share for each in limits) <= 0.1 + 1e-9
    assert sum(each.burst_s for each in limits) <= 0.1 + 1e-9
    assert sum(each.threads for each in limits) <= 32
