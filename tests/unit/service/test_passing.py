# SPDX-License-Identifier: MIT
from __future__ import annotations

import time

import pytest

from sysmonlx.capture.counters import RecordCounts
from sysmonlx.errors import ControlError
from sysmonlx.event import Event
from sysmonlx.policy import SELF_TEST
from sysmonlx.service.passing import (
    PROCESSES_LIMIT,
    SelfTest,
    Wish,
    fate,
    guid_at,
    keep,
    named,
    passing,
    wishes_of,
)


def under_way(left_s: float = 60) -> SelfTest:
    return SelfTest("token", 1, time.monotonic() + left_s)


def file_event(guid: str, rule: str = "-") -> list[str]:
    return [rule, "time", guid, "1", "/bin/x", "/tmp/f", "created", "root"]


def test_named_process_passes_so_often_and_others_are_judged() -> None:
    test = under_way()
    test.passes[11] = left = {"{a}": 2}
    judge = passing(lambda values: None, guid_at(11), left, test)
    assert [judge(file_event(guid)) for guid in ("{a}", "{b}", "{a}", "{a}")] == [
        SELF_TEST,
        None,
        SELF_TEST,
        None,
    ]


def test_nobody_passes_when_the_time_is_over() -> None:
    test = under_way(left_s=-1)
    judge = passing(lambda values: "rule", guid_at(11), {"{a}": 2}, test)
    assert judge(file_event("{a}")) == "rule"


def test_only_what_has_passed_is_kept() -> None:
    test = under_way()
    test.passes[11] = {"{a}": 0}
    batch: list[Event] = [
        (11, file_event("{a}", SELF_TEST), True, None),
        (11, file_event("{a}"), True, None),
        (11, file_event("{b}", SELF_TEST), True, None),  # a rule that is called so
        (26, file_event("{a}", SELF_TEST), True, None),
        (255, ["time", "LostEvents", "text"], True, None),
    ]
    keep(test, batch)
    assert test.events == [(11, file_event("{a}", SELF_TEST))]


def test_values_get_their_names_and_those_of_ours() -> None:
    values = [*file_event("{a}"), "Create"]
    event = named(11, values, ("Reason",))
    assert (event["TargetFilename"], event["Reason"]) == ("/tmp/f", "Create")


def test_wishes_are_read() -> None:
    assert wishes_of([[7, 11, False], [8, 0, True]]) == [
        Wish(7, 11, False),
        Wish(8, 0, True),
    ]


@pytest.mark.parametrize(
    ("processes", "text"),
    [
        (None, "malformed"),
        ([7], "malformed"),
        ([["x", 1, False]], "malformed"),
        ([[7, [11], False]], "malformed"),
        ([[7, 4, False]], "No event 4 passes"),
        ([[7, 255, False]], "No event 255 passes"),
        ([[7, 0, False]] * (PROCESSES_LIMIT + 1), "processes at most"),
    ],
)
def test_wish_that_cannot_be_is_refused(processes: object, text: str) -> None:
    with pytest.raises(ControlError, match=text):
        wishes_of(processes)


BEFORE = RecordCounts(10, 5, 5, 0, (0, 0))


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (BEFORE, "told of no such act"),
        (None, "told of no such act"),
        (RecordCounts(13, 5, 5, 0, (1, 2)), "3 records of this kind were lost"),
        (RecordCounts(13, 5, 5, 3, (0, 0)), "3 records of this kind were sampled"),
        (RecordCounts(13, 8, 5, 0, (0, 0)), "discarded 3 records"),
        (RecordCounts(13, 5, 8, 0, (0, 0)), "made no event in time"),
    ],
)
def test_counters_tell_what_became_of_an_event(
    after: RecordCounts | None, text: str
) -> None:
    assert text in fate(BEFORE, after)
