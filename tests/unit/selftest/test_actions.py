# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.selftest.act import moment, span
from sysmonlx.selftest.actions import ACTIONS, NOT_TRIED
from sysmonlx.selftest.expected import is_right
from sysmonlx.service.passing import EVENTS_LIMIT, PROCESSES_LIMIT, guid_at

MADE = {action.event_id for action in ACTIONS}


def test_each_event_is_made_or_it_is_said_why_not() -> None:
    without = {
        event.title
        for event in EVENTS
        if event.produced and event.id not in MADE | NOT_TRIED.keys()
    }
    assert not without, "an act, or a reason in NOT_TRIED: sysmonlx/selftest/actions.py"


def test_no_event_is_made_that_has_a_reason_not_to() -> None:
    assert not MADE & NOT_TRIED.keys()
    assert MADE | NOT_TRIED.keys() <= EVENT_BY_ID.keys()


def test_events_that_are_made_name_a_process() -> None:
    for event_id in MADE:
        assert guid_at(event_id) in (2, 3)


def test_service_lets_as_many_processes_pass_as_there_are_acts() -> None:
    assert len(ACTIONS) + 2 <= PROCESSES_LIMIT
    assert EVENTS_LIMIT == 2  # made and renamed, sent and received


def test_time_of_an_event_may_differ_by_a_second() -> None:
    about = moment(1_700_000_000.25)
    assert is_right("2023-11-14 22:13:20.250", about)
    assert is_right("2023-11-14 22:13:21.250", about)
    assert not is_right("2023-11-14 22:13:21.251", about)
    assert not is_right("-", about)
    between = span(1_700_000_000, 1_700_000_009)
    assert is_right("2023-11-14 22:13:28.000", between)
    assert not is_right("2023-11-14 22:13:31.000", between)
