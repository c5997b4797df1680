# SPDX-License-Identifier: MIT
"""How the ring buffer is read: in batches, with pauses, and through shortages."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.service.reader import QUIET_LOOKS, SHORT_TICK_S, SOON_S, Reader

#: `enum reader_pause` in ebpf/emit/ring.bpf.h.
ASKED, LOOKS_SOON, PAUSES, SLEEPS = range(4)
STATES = ("READER_IS_ASKED", "READER_LOOKS_SOON", "READER_PAUSES", "READER_SLEEPS")
TICK_S = 0.2

#: Records of a batch: at most, and where each takes long.
BATCH, LEAST_BATCH = 256, 16


class FakeParts:
    """A ring buffer, and counts of what the reader does with its records."""

    def __init__(self) -> None:
        self.records = 0
        self.error: Exception | None = None
        self.renewed = 0
        self.taken: list[int] = []
        self.noted: list[Exception] = []
        self.pause = PAUSES
        self.is_moving = False
        self.capture = SimpleNamespace(
            ring=self,
            pauses={name: number for number, name in enumerate(STATES)},
            variable=lambda name: {"reader_pause": self.pause}[name],
            set_variable=self.set_variable,
        )
        self.clocks_set = 0
        self.context = SimpleNamespace(
            renew=self.renew,
            set_clock=self.set_clock,
            settings=SimpleNamespace(read_interval_ms=200),
        )
        self.health = SimpleNamespace(peak_fill=0.0)
        self.output = SimpleNamespace(
            flush=lambda: None, is_moving=lambda: self.is_moving
        )
        self.programs = SimpleNamespace(is_due=False, is_waiting=False)
        self.pipeline = SimpleNamespace(
            take=lambda records: self.taken.append(len(records)),
            held=0,
            account=SimpleNamespace(note=self.noted.append),
        )

    def fill(self) -> float:
        return self.records / 10_000

    def read(self, limit: int) -> list[bytes]:
        if self.error is not None:
            raise self.error
        count = min(limit, self.records)
        self.records -= count
        return [b""] * count

    def set_clock(self, offset_ns: int) -> None:
        self.clocks_set += 1

    def renew(self) -> None:
        self.renewed += 1

    def set_variable(self, name: str, value: int) -> None:
        assert name == "reader_pause"
        self.pause = value


@pytest.fixture
def parts() -> FakeParts:
    return FakeParts()


@pytest.fixture
def made(parts: FakeParts, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr("time.sleep", lambda _: None)
    fake: Any = parts
    return Reader(fake)


def test_all_is_taken_in_one_turn_where_that_is_soon_done(
    parts: FakeParts, made: Reader
) -> None:
    parts.records = 3 * BATCH + 1
    assert not made.work_on()
    assert parts.taken == [BATCH, BATCH, BATCH, 1]
    assert parts.health.peak_fill == pytest.approx(0.0769)


@pytest.mark.parametrize("record_s", [0.0005, 0.002, 0.02])
def test_other_work_has_its_turn_however_long_the_records_take(
    parts: FakeParts, made: Reader, monkeypatch: pytest.MonkeyPatch, record_s: float
) -> None:
    clock = [0.0]
    monkeypatch.setattr("sysmonlx.service.reader.time.monotonic", lambda: clock[0])

    def take(records: list[bytes]) -> None:
        clock[0] += record_s * len(records)
        parts.taken.append(len(records))

    parts.pipeline.take = take
    parts.records = 20_000
    turns_s = []
    while parts.records > 10_000:
        begun_s = clock[0]
        assert made.work()
        turns_s.append(clock[0] - begun_s)
    assert max(turns_s[5:]) <= max(0.1, LEAST_BATCH * record_s) + 1e-6
    assert sum(parts.taken) + parts.records == 20_000
    parts.pipeline.take = lambda records: parts.taken.append(len(records))
    assert not made.work()
    assert parts.taken[-2] == BATCH  # quick again: large again


def test_reader_sleeps_when_nothing_came_and_the_kernel_knows(
    parts: FakeParts, made: Reader
) -> None:
    due_s = time.monotonic() + 60
    assert made.pause_s(due_s) == TICK_S
    assert parts.pause == PAUSES
    made.work()
    assert made.pause_s(due_s) == TICK_S
    assert parts.pause == SLEEPS
    made.work()
    assert made.quiet == QUIET_LOOKS
    assert made.pause_s(due_s) > 50
    assert made.pause_s(0.0) == 0.0


@pytest.mark.parametrize("what", ["records", "held", "is_moving"])
def test_reader_does_not_sleep_while_something_is_under_way(
    parts: FakeParts, made: Reader, what: str
) -> None:
    for _ in range(QUIET_LOOKS):
        made.work()
    setattr(parts.pipeline if what == "held" else parts, what, 1)
    tick_s = SHORT_TICK_S if what == "held" else TICK_S
    assert made.pause_s(time.monotonic() + 60) == tick_s
    assert parts.pause == PAUSES


def test_tick_is_short_for_somebody_who_watches(parts: FakeParts) -> None:
    fake: Any = parts
    assert Reader(fake, is_watched=True).tick_s() == SHORT_TICK_S
    parts.context.settings.read_interval_ms = 20
    assert Reader(fake, is_watched=True).tick_s() == 0.02


def test_tick_is_short_in_a_flood(parts: FakeParts, made: Reader) -> None:
    parts.records = 3000
    made.work()
    assert made.pause_s(0.0) == SHORT_TICK_S
    parts.records = 300
    made.work()
    assert made.pause_s(0.0) == TICK_S


def test_tick_follows_a_reload(parts: FakeParts, made: Reader) -> None:
    assert made.tick_s() == TICK_S
    parts.context.settings = SimpleNamespace(read_interval_ms=1000)
    assert made.tick_s() == 1.0
    assert made.pause_s(0.0) == 1.0


def test_hasty_record_is_followed_by_short_pauses(
    parts: FakeParts, made: Reader
) -> None:
    parts.pause = ASKED
    assert made.pause_s(0.0) == SOON_S
    assert parts.pause == LOOKS_SOON
    made.work()
    assert made.pause_s(0.0) == SOON_S  # one may be on its way that saw LOOKS_SOON
    assert parts.pause == PAUSES
    made.work()
    assert made.pause_s(0.0) == TICK_S


def test_hasty_records_that_go_on_coming_have_a_look_every_10_ms(
    parts: FakeParts, made: Reader
) -> None:
    for _ in range(10):
        parts.pause = ASKED  # as each of them sets it
        assert made.pause_s(0.0) == SOON_S
        assert parts.pause == LOOKS_SOON  # none of them wakes the reader
        parts.records = 5
        made.work()


def test_hasty_record_between_two_looks_is_not_forgotten(
    parts: FakeParts, made: Reader
) -> None:
    parts.pause = LOOKS_SOON
    assert made.pause_s(0.0) == SOON_S
    parts.pause = ASKED  # it woke the reader, which had said PAUSES
    made.work()
    assert made.pause_s(0.0) == SOON_S
    assert parts.pause == LOOKS_SOON


def test_looks_in_a_hurry_do_not_send_the_reader_to_sleep(
    parts: FakeParts, made: Reader
) -> None:
    """Records of 20 a second are read five times a second, not twenty."""
    parts.pause = ASKED
    for _ in range(2):
        assert made.pause_s(0.0) == SOON_S
        made.work()
    assert made.quiet == 0
    assert made.pause_s(0.0) == TICK_S
    assert parts.pause == PAUSES


def test_first_record_after_a_sleep_makes_no_hurry(
    parts: FakeParts, made: Reader
) -> None:
    for _ in range(QUIET_LOOKS):
        made.work()
    parts.records, parts.pause = 1, PAUSES  # as the record sets it
    made.work()
    assert made.pause_s(0.0) == TICK_S
    assert parts.pause == PAUSES


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "x"), OSError(24, "x")])
def test_shortage_of_a_moment_is_noted_and_ends_nothing(
    parts: FakeParts, made: Reader, error: Exception
) -> None:
    parts.records, parts.error = 3, error
    assert not made.work_on()
    parts.error = None
    made.work_on()
    assert parts.taken == [3]
    assert parts.noted == [error]


def test_shortage_that_lasts_ends_the_daemon(parts: FakeParts, made: Reader) -> None:
    parts.error = MemoryError()
    for _ in range(100):
        made.work_on()
    with pytest.raises(MemoryError):
        made.work_on()


def test_other_error_is_no_shortage(parts: FakeParts, made: Reader) -> None:
    parts.error = OSError(9, "Bad file descriptor")
    with pytest.raises(OSError, match="Bad file"):
        made.work_on()


def test_names_are_renewed_less_often_while_nothing_comes(
    parts: FakeParts, made: Reader
) -> None:
    made.look_at_names()
    assert parts.renewed == 1
    made.quiet = 0
    made.look_at_names()
    assert parts.renewed == 2


def test_names_rest_while_nothing_comes_until_the_next_record(
    parts: FakeParts, made: Reader
) -> None:
    made.quiet = QUIET_LOOKS
    for _ in range(2):
        made.look_at_names()
    assert parts.renewed == 0
    parts.records = 1
    made.work()
    assert parts.renewed == 1
    assert parts.clocks_set == 1
    made.quiet = QUIET_LOOKS
    for _ in range(3):  # two seconds apart
        made.look_at_names()
    assert parts.renewed == 2


def test_chores_are_rarer_while_nothing_comes(parts: FakeParts, made: Reader) -> None:
    assert made.chores_s() == 1
    for _ in range(QUIET_LOOKS):
        made.work()
    assert made.chores_s() == 2
    parts.records = 1
    made.work()
    assert made.chores_s() == 1


def test_names_that_cannot_be_renewed_are_noted(parts: FakeParts, made: Reader) -> None:
    error = OSError(5, "Input/output error")

    def fail() -> None:
        raise error

    parts.context.renew = fail
    made.look_at_names()
    assert parts.noted == [error]
