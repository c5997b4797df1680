# SPDX-License-Identifier: MIT
"""What the daemon says of itself: losses and errors once, floods with exact numbers."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from support.enrichment import make_context

from sysmonlx.capture.counters import RecordCounts
from sysmonlx.capture.floods import Doer, Pair, Sampled
from sysmonlx.capture.records import Layouts
from sysmonlx.pipeline.account import Account
from sysmonlx.service.health import Health

SECOND = 1_000_000_000


class Floods:
    """The kernel's side of sampling, with room for `room` pairs."""

    fill, keep_one_in = 0.62, 100

    def __init__(self, *, is_there: bool = True) -> None:
        self.is_there = is_there
        self.room = 16
        self.sent: dict[Pair, tuple[int, Doer]] = {}
        self.left_out: dict[Pair, int] = {}

    def counts(self) -> dict[Pair, tuple[int, Doer]]:
        return dict(self.sent)

    def sample(self, each: Sampled) -> bool:
        if len(self.left_out) >= self.room:
            return False
        self.left_out[each.pair] = 0
        return True

    def report_again(self, pair: Pair) -> int:
        return self.left_out.pop(pair)


class Sensor:
    """Everything that Health looks at; `told` are the events 255."""

    def __init__(self, layouts: Layouts, floods: Floods) -> None:
        self.layouts = layouts
        self.told: list[tuple[str, str]] = []
        self.variables: dict[str, Any] = {}
        self.records: dict[str, RecordCounts] = {}
        self.misses: dict[str, int] = {}
        self.lost_lines: dict[str, int] = {}
        self.full_sinks = 0
        self.account = Account(layouts)
        self._reasons = layouts.reasons
        capture: Any = SimpleNamespace(
            layouts=layouts,
            counts=lambda: self.records,
            losses=lambda: repr(self.records).encode(),
            misses=self.misses,
            program_times=lambda: {n: (0, 0, c) for n, c in self.misses.items()},
            floods=lambda: floods,
            set_variable=self.variables.__setitem__,
        )
        pipeline: Any = SimpleNamespace(
            account=self.account,
            report=self.report,
            utc_now=lambda: "now",
            hash_losses=dict,
        )
        output: Any = SimpleNamespace(losses=lambda: dict(self.lost_lines))
        context = make_context(layouts)
        self.health = Health(capture, pipeline, output, context)

    def report(self, event_id: int, values: tuple[str, str, str]) -> None:
        assert event_id == 255
        self.told.append(values[1:])
        self.lose_lines(self.full_sinks)

    def lose_lines(self, count: int) -> None:
        if count:
            lost = self.lost_lines.get("spool full", 0) + count
            self.lost_lines["spool full"] = lost

    def look(self) -> None:
        """Do what the chores do each round."""
        self.health.check()
        self.health.note_echo()

    def texts(self) -> list[str]:
        """Return the texts of the events that told of losses."""
        return [text for what, text in self.told if what == "LostEvents"]

    def told_lines(self) -> int:
        """Return how many lost lines were told of."""
        return sum(int(n) for n in re.findall(r"Events: (\d+) lost", f"{self.told}"))

    def file_creates(self, submitted: int) -> None:
        lost = (0,) * len(self._reasons)
        self.records = {"file_create": RecordCounts(submitted, 0, submitted, 0, lost)}


@pytest.fixture
def floods() -> Floods:
    return Floods()


@pytest.fixture
def sensor(layouts: Layouts, floods: Floods) -> Sensor:
    return Sensor(layouts, floods)


class Clock:
    """Both clocks that are asked; they go only when they are told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def ns(self, which: int) -> int:
        return int(self.now_s * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    monkeypatch.setattr(time, "clock_gettime_ns", made.ns)
    return made


def test_errors_are_losses_and_their_place_is_told_once_a_minute(
    sensor: Sensor, clock: Clock
) -> None:
    for _ in range(3):
        sensor.account.lose(1, KeyError("x"))
        sensor.health.check()
        clock.now_s += 1
    losses = [text for what, text in sensor.told if what == "LostEvents"]
    assert len(losses) == 3
    assert all(t.startswith("ProcessCreate: 1 lost (error: KeyError)") for t in losses)
    assert [what for what, _ in sensor.told].count("Error") == 1
    clock.now_s += 60
    sensor.health.check()
    assert [what for what, _ in sensor.told].count("Error") == 2


def test_a_look_that_finds_nothing_new_looks_at_no_counter(sensor: Sensor) -> None:
    sensor.health.check()
    records, looks = sensor.records, []
    sensor.health._capture.counts = lambda: looks.append(1) or records  # type: ignore[method-assign,func-returns-value]  # a namespace
    assert not sensor.health.check()
    assert looks == []
    sensor.misses["process_fork"] = 3
    sensor.health.check()
    assert looks == []  # these have not changed
    [(what, text)] = sensor.told
    assert what == "LostEvents"
    assert text.startswith("process_fork: 3 lost (missed) since ")


def test_a_full_sink_is_told_of_ever_more_seldom(sensor: Sensor, clock: Clock) -> None:
    sensor.look()
    sensor.full_sinks = 2
    sensor.lose_lines(100)
    for _ in range(3600):
        sensor.look()
        clock.now_s += 2
    assert len(sensor.texts()) <= 9
    assert sensor.lost_lines["spool full"] - sensor.told_lines() == 2
    assert "Events: 2 lost (sink: spool full) since " in sensor.texts()[-1]


def test_lines_of_a_report_are_soon_told_where_sinks_take_lines_again(
    sensor: Sensor, clock: Clock
) -> None:
    sensor.look()
    sensor.full_sinks = 2
    sensor.lose_lines(100)
    sensor.look()
    sensor.full_sinks = 0
    for _ in range(3):
        clock.now_s += 2
        sensor.look()
    assert sensor.told_lines() == 102
    assert len(sensor.texts()) == 2


def test_what_else_is_lost_is_told_at_once_with_the_lines_of_the_report_before(
    sensor: Sensor, clock: Clock
) -> None:
    sensor.look()
    sensor.full_sinks = 1
    sensor.lose_lines(1)
    for _ in range(60):
        sensor.look()
        clock.now_s += 2
    before = len(sensor.texts())
    sensor.misses["process_fork"] = 3
    sensor.look()
    text = sensor.texts()[-1]
    assert len(sensor.texts()) == before + 1
    assert "process_fork: 3 lost (missed)" in text
    assert "Events: 1 lost (sink: spool full)" in text


def test_each_loss_is_told_since_a_time_before_it(
    sensor: Sensor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: int(clock.now_s * SECOND))
    sensor.look()
    sensor.full_sinks = 1
    sensor.lose_lines(1)
    for _ in range(60):
        sensor.look()
        clock.now_s += 2
    sensor.look()
    sensor.misses["process_fork"] = 3
    sensor.look()
    since = re.findall(
        r"(\w+): \d+ lost \(.*?\) since \S+ ([\d:]+)", sensor.texts()[-1]
    )
    assert since == [("process_fork", "00:18:38"), ("Events", "00:18:06")]


def test_records_that_are_none_are_told_as_records(
    sensor: Sensor, clock: Clock
) -> None:
    sensor.account.lose_record(b"\xff", KeyError("x"))
    sensor.account.lose_record(b"", KeyError("x"))
    sensor.health.check()
    (text,) = [text for what, text in sensor.told if what == "LostEvents"]
    assert "Records: 1 lost (error: KeyError)" in text
    assert "Records: 1 lost (bad record)" in text


FLOOD = Pair(image=7, type=10, uid=1000)
DOER = Doer(77, SECOND, 1)


def flood(sensor: Sensor, floods: Floods, clock: Clock, fill: float = 0.7) -> None:
    """Let a second pass in which one program made most records."""
    before = floods.sent.get(FLOOD, (0, DOER))[0]
    floods.sent[FLOOD] = (before + 5_000, DOER)
    sensor.file_creates(before + 6_000)
    sensor.health.peak_fill = fill
    clock.now_s += 1
    sensor.health.check()


def test_a_flood_is_told_of_at_its_begin_and_with_its_number_at_its_end(
    sensor: Sensor, floods: Floods, clock: Clock
) -> None:
    sensor.health.use_budget(1)
    assert sensor.variables == {"floods_watched": True}
    flood(sensor, floods, clock)
    flood(sensor, floods, clock)
    floods.left_out[FLOOD] = 4321
    clock.now_s += 11
    sensor.health.check()
    assert sensor.told == [
        (
            "Budget",
            "FileCreate by - of user: 1 of 100 repeats reported for 10 s, while the"
            " ring buffer is nearly full",
        ),
        ("Budget", "FileCreate by - of user: all reported again; 4321 left out"),
    ]


@pytest.mark.parametrize(("budget", "fill"), [(0, 0.9), (1, 0.5)])
def test_nothing_is_sampled_without_a_budget_or_a_full_ring(
    budget: int, fill: float, sensor: Sensor, floods: Floods, clock: Clock
) -> None:
    sensor.health.use_budget(budget)
    for _ in range(9):
        flood(sensor, floods, clock, fill)
    assert (sensor.told, floods.left_out) == ([], {})
    assert sensor.health.peak_fill == 0.0


def test_a_budget_that_is_switched_off_ends_what_it_began(
    sensor: Sensor, floods: Floods, clock: Clock
) -> None:
    sensor.health.use_budget(1)
    flood(sensor, floods, clock)
    flood(sensor, floods, clock)
    floods.left_out[FLOOD] = 5
    sensor.health.use_budget(0)
    assert sensor.told[-1][1].endswith("all reported again; 5 left out")
    assert sensor.variables == {"floods_watched": False}
    assert floods.left_out == {}


def test_what_the_kernel_has_no_room_for_is_not_said_to_be_sampled(
    sensor: Sensor, floods: Floods, clock: Clock
) -> None:
    floods.room = 0
    sensor.health.use_budget(1)
    for _ in range(3):
        flood(sensor, floods, clock)
    assert sensor.told == []


def test_a_kernel_that_cannot_sample_is_a_remark_where_that_is_wanted(
    layouts: Layouts,
) -> None:
    sensor = Sensor(layouts, Floods(is_there=False))
    sensor.health.use_budget(0)
    assert sensor.health.remarks() == []
    sensor.health.use_budget(1)
    assert sensor.variables == {"floods_watched": False}
    assert sensor.health.remarks() == [
        "Budget has no effect (bpf_loop: this kernel has none)"
    ]
