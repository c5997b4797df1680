# SPDX-License-Identifier: MIT
from __future__ import annotations

import random

import pytest
from support.logview import values_of

from sysmonlx.viewer.order import LiveEvent, Order, in_order


def taken(at_ms: int, event_id: int = 11, **values: str) -> tuple[int, list[str]]:
    utc = f"2026-01-05 10:00:{at_ms // 1000:02}.{at_ms % 1000:03}"
    return event_id, values_of(event_id, UtcTime=utc, **values)


def times(events: list[LiveEvent]) -> list[str]:
    return [each.values[1][-6:] for each in events]


def test_events_within_a_tenth_of_a_second_are_sorted() -> None:
    order = Order()
    order.add([taken(50), taken(20)], 0.0)
    assert order.take(0.05) == []
    order.add([taken(30)], 0.05)
    assert times(order.take(0.1)) == ["00.020", "00.030", "00.050"]
    assert len(order) == 0


def test_nobody_waits_longer_and_a_late_one_comes_late() -> None:
    order = Order()
    order.add([taken(500)], 0.0)
    order.add([taken(900)], 0.09)
    assert times(order.take(0.1)) == ["00.500"]
    order.add([taken(100)], 0.11)
    assert times(order.take(0.19)) == ["00.100", "00.900"]


def test_all_that_waits_can_be_had_at_once() -> None:
    order = Order()
    order.add([taken(2), taken(1)], 0.0)
    assert times(order.take_all()) == ["00.001", "00.002"]
    assert order.take(9.0) == []


def test_the_same_number_comes_out_in_order_whatever_happens() -> None:
    chance, order, found = random.Random(7), Order(), []
    for step in range(400):
        batch = [taken(step * 50 + chance.randrange(60)) for _ in range(5)]
        order.add(batch, step * 0.05)
        found += order.take(step * 0.05)
    found += order.take_all()
    assert len(found) == 2000
    assert times(found) == sorted(times(found))


@pytest.mark.parametrize("seed", range(5))
def test_within_a_millisecond_parents_come_before_children(seed: int) -> None:
    def start(name: str, parent: str) -> tuple[int, list[str]]:
        return taken(5, 1, ProcessGuid=name, ParentProcessGuid=parent)

    events = [
        *(start("c", "b"), start("a", "-"), start("b", "a"), start("x", "y")),
        *(taken(5, 5, ProcessGuid=name) for name in "abc"),
        *(taken(5, 11, ProcessGuid=name) for name in "abc"),
        taken(5, 255),
    ]
    random.Random(seed).shuffle(events)
    ready = [(each[1][1], at, LiveEvent(*each)) for at, each in enumerate(events)]
    found = in_order(sorted(ready))
    places = {(each.event_id, each.values[2]): at for at, each in enumerate(found)}
    assert len(found) == len(events)
    for parent, child in ("ab", "bc"):
        assert places[1, parent] < places[1, child]
    for name in "abc":
        assert places[1, name] < places[11, name] < places[5, name]


def test_a_circle_of_parents_ends() -> None:
    pair = [
        taken(5, 1, ProcessGuid="a", ParentProcessGuid="b"),
        taken(5, 1, ProcessGuid="b", ParentProcessGuid="a"),
    ]
    ready = [(each[1][1], at, LiveEvent(*each)) for at, each in enumerate(pair)]
    assert len(in_order(ready)) == 2
