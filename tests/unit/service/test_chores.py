# SPDX-License-Identifier: MIT
"""What is due every second is done, whatever fails of it."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest

from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.service import chores as module
from sysmonlx.service.chores import Chores


def made(**wrong: Any) -> tuple[Chores, dict[str, MagicMock]]:
    names = "parts reader requests rereading storing metrics standing manager"
    fakes = {name: MagicMock(**wrong.get(name, {})) for name in names.split()}
    fakes["parts"].pipeline.correlator = Correlator()
    fakes["parts"].users.names.take_learnt.return_value = {1000: "ann"}
    return Chores(*fakes.values()), fakes


def done(fakes: dict[str, MagicMock]) -> list[int]:
    """Return how often the last step of each chore was done."""
    parts = fakes["parts"]
    return [
        parts.filter.add_user.call_count,
        fakes["requests"].expire.call_count,
        parts.health.tell.call_count,
        parts.health.check.call_count,
        fakes["rereading"].look.call_count,
        fakes["storing"].look.call_count,
        parts.capture.keep.call_count,
        fakes["metrics"].write.call_count,
        fakes["manager"].status.call_count,
    ]


def test_each_chore_is_done_once_a_round() -> None:
    chores, fakes = made()
    chores.do_all()
    chores.do_all()
    assert done(fakes) == [2] * 9
    assert fakes["parts"].output.flush.call_count == 2
    calls = [name for name, _, _ in fakes["parts"].mock_calls]
    written = [each for each in calls if each in ("output.flush", "health.note_echo")]
    assert written == ["output.flush", "health.note_echo"] * 2
    fakes["parts"].pipeline.account.note.assert_not_called()


def test_chore_that_fails_keeps_no_other_back_and_is_noted() -> None:
    error = ValueError("on purpose")
    chores, fakes = made(
        parts={"guard.look.side_effect": error, "capture.keep.side_effect": error},
        metrics={"write.side_effect": error},
    )
    chores.do_all()
    assert done(fakes) == [1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert fakes["parts"].pipeline.account.note.call_count == 3
    fakes["parts"].pipeline.account.note.assert_called_with(error)


def test_rules_that_are_not_stored_are_told_by_event_255() -> None:
    chores, fakes = made(
        storing={"news.return_value": iter(["not stored"])},
        rereading={"news.return_value": iter(["hangs"])},
    )
    chores.do_all()
    told = [
        pair for call in fakes["parts"].health.tell.mock_calls for pair in call.args[0]
    ]
    assert told == [("Configuration", "not stored"), ("Configuration", "hangs")]


def test_readers_that_were_dropped_are_told_by_event_255() -> None:
    chores, fakes = made(parts={"output.news.return_value": ["one", "two"]})
    chores.do_all()
    told = fakes["parts"].health.tell.call_args.args[0]
    assert [*told] == [("Reader", "one"), ("Reader", "two")]


def test_lost_process_records_bring_a_look_at_all_processes() -> None:
    for is_lost, unknown in ((True, 0), (False, 1), (False, 0)):
        chores, fakes = made(
            parts={"health.check.return_value": is_lost, "processes.unknown": unknown}
        )
        chores.do_all()
        census = fakes["parts"].census
        looks = (census.repeat.call_count, census.follow_up.call_count)
        assert looks == ((1, 0) if is_lost or unknown else (0, 1))


def test_memory_is_given_back_where_something_has_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back = MagicMock()
    monkeypatch.setattr("sysmonlx.host.memory.give_back", given_back)
    chores, fakes = made()
    counts = []
    for received in ({}, {}, {"process_create": 1}, {"process_create": 1}):
        fakes["parts"].pipeline.received = received
        for _ in range(module._TRIM_EVERY):
            chores.do_all()
        counts.append(given_back.call_count)
    assert counts == [1, 1, 2, 2]


def test_all_objects_are_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = MagicMock()
    monkeypatch.setattr("sysmonlx.host.memory.give_back", given_back)
    chores, fakes = made()
    for number in range(2 * module._LOOK_AT_ALL_EVERY):
        fakes["parts"].pipeline.received = {"process_create": number}
        for _ in range(module._TRIM_EVERY):
            chores._trim_memory()
    of_new = [call.kwargs["of_new"] for call in given_back.call_args_list]
    assert of_new == ([False] + [True] * (module._LOOK_AT_ALL_EVERY - 1)) * 2
