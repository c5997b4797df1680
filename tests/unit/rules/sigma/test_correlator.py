# SPDX-License-Identifier: MIT
"""The correlator against the plain evaluation, at its limits, and through a reload."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from random import Random

import pytest
from support.correlations import (
    SECOND,
    Happening,
    Process,
    completes,
    form,
    random_stream,
)

from sysmonlx.rules.sigma.correlator import (
    LINEAGE,
    PROGRAM,
    Correlator,
    Deed,
    Link,
)
from sysmonlx.rules.sigma.groups import ALL_LIMIT, GROUPS_LIMIT

KINDS = [
    (True, steps, has_ancestry)
    for steps, has_ancestry in itertools.product((2, 3, 4), (False, True))
] + [(False, 2, False), (False, 2, True)]


def told(
    correlator: Correlator, event: Happening, number: int = 0
) -> tuple[str, ...] | None:
    fired = correlator.take(event.links(number), event.deed())
    return fired[0].told if fired else None


def event(time_s: float, *rules: int, value: str = "a", user: int = 0) -> Happening:
    return Happening(time_s, Process(("p",), user), frozenset(rules), value)


@pytest.mark.parametrize(("is_ordered", "steps", "has_ancestry"), KINDS)
def test_streams_complete_what_they_complete_plainly(
    is_ordered: bool, steps: int, has_ancestry: bool
) -> None:
    random = Random(steps)
    of = form(steps, 9 * steps, is_ordered=is_ordered, has_ancestry=has_ancestry)
    fired = 0
    for _ in range(25):
        stream = random_stream(random, steps, 60)
        correlator = Correlator([of])
        expected = completes(of, stream)
        for each, start in zip(stream, expected, strict=True):
            found = told(correlator, each)
            times = None if found is None else (float(found[0].split()[0]),)
            assert times == start
            if found is not None:
                fired += 1
                assert len(found) == (steps - 1 if is_ordered else 1)
                assert sorted(found, key=lambda text: text.split()[0]) == list(found)
    assert fired > 30


def test_a_chain_ends_with_its_timespan_to_the_nanosecond() -> None:
    for late_ns, is_in_time in ((0, True), (1, False)):
        correlator = Correlator([form(2, 10)])
        told(correlator, event(1, 0))
        last = event(11, 1).deed()
        deed = last._replace(time_ns=11 * SECOND + late_ns)
        assert bool(correlator.take(event(11, 1).links(), deed)) is is_in_time


def test_firing_closes_nothing_and_an_event_is_one_step() -> None:
    correlator = Correlator([form(2, 10)])
    assert told(correlator, event(1, 0, 1)) is None
    assert told(correlator, event(2, 0, 1)) == ("00001.000 {p}",)
    assert told(correlator, event(3, 1)) == ("00002.000 {p}",)
    assert told(correlator, event(4, 1)) == ("00002.000 {p}",)


def test_earlier_events_are_named_oldest_first() -> None:
    correlator = Correlator([form(3, 10)])
    for time_s, rule in ((1, 0), (2, 1), (3, 0)):
        assert told(correlator, event(time_s, rule)) is None
    assert told(correlator, event(4, 2)) == ("00001.000 {p}", "00002.000 {p}")


def test_a_process_with_the_pid_of_another_is_another() -> None:
    correlator = Correlator([form(2, 10, has_ancestry=True)])
    told(correlator, Happening(1, Process(("first 42",)), frozenset({0}), "a"))
    later = Happening(2, Process(("second 42", "shell")), frozenset({1}), "a")
    assert told(correlator, later) is None
    child = Happening(2, Process(("third", "first 42")), frozenset({1}), "a")
    assert told(correlator, child) == ("00001.000 {first 42}",)


def test_missing_values_are_in_no_group() -> None:
    of = form(2, 10)
    for keys in ((0,), (LINEAGE,), ((PROGRAM, -1),)):
        correlator = Correlator([of])
        for rule in (0, 1):
            deed = Deed(["-"], rule, "t", Process(("p",)))
            assert not correlator.take([Link(1, 0, rule, keys)], deed)
        assert correlator.groups == 0


def test_pseudo_fields_are_asked_of_the_process() -> None:
    correlator = Correlator([form(2, 10)])
    process = Process(("p",), line="session 3", path="/x")
    first = Link(1, 0, 0, (LINEAGE, 1))
    second = Link(1, 0, 1, (LINEAGE, (PROGRAM, 0)))
    assert not correlator.take([first], Deed(["-", "/tmp /x"], 1, "t", process))
    assert correlator.take([second], Deed(["/tmp"], 2, "t", process))


def test_who_floods_groups_loses_groups_of_its_own() -> None:
    correlator = Correlator([form(2, 600)])
    told(correlator, event(1, 0, value="mine", user=1))
    for number in range(3 * GROUPS_LIMIT):
        told(correlator, event(2, 0, value=f"{number}", user=2))
    assert correlator.groups == GROUPS_LIMIT
    assert correlator.forgotten() == {"title": (2 * GROUPS_LIMIT + 1, 2)}
    assert told(correlator, event(3, 1, value="mine", user=1))
    assert told(correlator, event(3, 1, value="0", user=2)) is None


def test_events_of_one_group_evict_nothing() -> None:
    correlator = Correlator([form(2, 600)])
    told(correlator, event(1, 0, value="mine"))
    for number in range(3 * GROUPS_LIMIT):
        told(correlator, event(2 + number / 1000, 0, value="flood"))
    assert correlator.groups == 2
    assert not correlator.forgotten()


def test_all_groups_together_are_bounded_and_each_that_goes_is_counted() -> None:
    forms = [form(2, 600 + number) for number in range(12)]
    correlator = Correlator(
        [
            each._replace(head=(*each.head[:1], str(n), *each.head[2:]))
            for n, each in enumerate(forms)
        ]
    )
    for number in range(len(forms)):
        for value in range(GROUPS_LIMIT - 1):
            told(correlator, event(1, 0, value=f"{value}"), number)
    assert correlator.groups == ALL_LIMIT
    made = len(forms) * (GROUPS_LIMIT - 1)
    forgotten = sum(count for count, _ in correlator.forgotten().values())
    assert forgotten == made - ALL_LIMIT


def test_groups_whose_time_is_over_go_without_being_counted() -> None:
    correlator = Correlator([form(2, 10)])
    for number in range(GROUPS_LIMIT):
        told(correlator, event(1, 0, value=f"{number}"))
    told(correlator, event(20, 0, value="new"))
    assert correlator.groups == 1
    correlator.expire(31 * SECOND)
    assert correlator.groups == 0
    assert not correlator.forgotten()


def test_groups_that_are_over_make_room_before_others_are_given_up() -> None:
    correlator = Correlator([form(2, 10)])
    for number in range(GROUPS_LIMIT):
        told(correlator, event(1, 0, value=f"{number}", user=number % 7))
    told(correlator, event(20, 0, value="new", user=99))
    assert correlator.groups == 1
    assert not correlator.forgotten()


def test_long_values_are_not_kept() -> None:
    correlator = Correlator([form(2, 10)])
    long = "x" * 100_000
    told(correlator, event(1, 0, value=long))
    (kept,) = correlator._each[0].groups._groups
    assert sys.getsizeof(kept) < 100
    assert told(correlator, event(2, 1, value=long + "y")) is None
    assert told(correlator, event(2, 1, value=long))


def test_a_reload_keeps_what_means_the_same_and_tells_what_ended() -> None:
    before = Correlator([form(2, 10), form(3, 10)])
    told(before, event(1, 0), 0)
    told(before, event(1, 0), 1)
    before.count(before.take(event(2, 1).links(), event(2, 1).deed()))
    after = Correlator([form(2, 20), form(2, 10)])
    after.go_on_from(before)
    assert told(after, event(2, 1), 0) is None
    assert told(after, event(2, 1), 1)
    assert (after.counts, after.changed) == ([0, 1], {"title": 1})
    after.go_on_from(Correlator())
    assert after.groups == 1


def test_no_circle_keeps_what_is_in_force_no_more() -> None:
    before = Correlator([form(2, 10)])
    told(before, event(1, 0))
    after = Correlator([form(2, 10)])
    after.go_on_from(before)
    gone = weakref.ref(before)
    gc.disable()
    try:
        del before
        assert gone() is None
        assert told(after, event(2, 1))
    finally:
        gc.enable()
