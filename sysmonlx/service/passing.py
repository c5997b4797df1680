# SPDX-License-Identifier: MIT
"""One self-test: which events of which processes pass, and those that have passed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sysmonlx.capture.counters import RecordCounts
from sysmonlx.errors import ControlError
from sysmonlx.event import Event
from sysmonlx.pipeline.books import RECORD_OF
from sysmonlx.pipeline.judging import Judging
from sysmonlx.policy import SELF_TEST
from sysmonlx.rules.verdicts import Decide
from sysmonlx.schema.event_types import FieldType
from sysmonlx.schema.events import EVENT_BY_ID

#: Most processes of a self-test, and most events of one type of one of them.
PROCESSES_LIMIT, EVENTS_LIMIT = 40, 2


class Wish(NamedTuple):
    """A process that is to pass with one event type, 0: with none.

    `runs`: the event is that of the program that it is about to run.
    """

    pid: int
    event_id: int
    runs: bool


@dataclass(slots=True)
class SelfTest:
    """The self-test under way; `passes` are numbers of events by event id and GUID."""

    token: str
    peer: int
    deadline_s: float
    before: Judging | None = None
    passes: dict[int, dict[str, int]] = field(default_factory=dict)
    guids: frozenset[str] = frozenset()
    events: list[tuple[int, list[str]]] = field(default_factory=list)
    records: dict[str, RecordCounts] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Return whether its time has run out: nothing passes any more."""
        return time.monotonic() >= self.deadline_s


def wishes_of(processes: object) -> list[Wish]:
    """Return what a request asks for.

    Raises:
        ControlError: it is malformed, or too much.
    """
    try:
        if not isinstance(processes, list):
            raise TypeError("no list")
        wishes = [
            Wish(int(pid), int(event_id), bool(runs))
            for pid, event_id, runs in processes
        ]
    except (TypeError, ValueError) as error:
        raise ControlError("The request is malformed") from error
    if len(wishes) > PROCESSES_LIMIT:
        raise ControlError(f"A self-test has {PROCESSES_LIMIT} processes at most")
    for event_id in {each.event_id for each in wishes} - {0}:
        if event_id not in RECORD_OF or not _has_guid(event_id):
            raise ControlError(f"No event {event_id} passes")
    return wishes


def _has_guid(event_id: int) -> bool:
    return any(each.type is FieldType.GUID for each in EVENT_BY_ID[event_id].fields)


def guid_at(event_id: int) -> int:
    """Return where the ProcessGuid of the process that acted stands in an event."""
    types = [each.type for each in EVENT_BY_ID[event_id].fields]
    return types.index(FieldType.GUID)


def passing(decide: Decide, at: int, left: dict[str, int], test: SelfTest) -> Decide:
    """Return a function that lets events pass, and asks the rules about all others.

    `at` is the place of the ProcessGuid, `left` how many events pass yet, by GUID.
    """

    def judge(values: Sequence[str]) -> str | None:
        count = left.get(values[at])
        if not count or test.is_over():
            return decide(values)
        left[values[at]] = count - 1
        return SELF_TEST

    return judge


def keep(test: SelfTest, events: Sequence[Event]) -> None:
    """Keep the events of a batch that passed; the rules of the user name none so."""
    for event_id, values, _, _ in events:
        passes = test.passes.get(event_id)
        if passes and values[0] == SELF_TEST and values[guid_at(event_id)] in passes:
            test.events.append((event_id, [*map(str, values)]))


def named(
    event_id: int, values: Sequence[str], appended: Sequence[str]
) -> dict[str, str]:
    """Return the values of an event by the names of its fields."""
    fields = EVENT_BY_ID[event_id].with_appended(appended).fields
    return {field.name: value for field, value in zip(fields, values, strict=False)}


def fate(before: RecordCounts | None, after: RecordCounts | None) -> str:
    """Return what became of the records of one kind meanwhile, all processes' ones."""
    if before is None or after is None or after.seen == before.seen:
        return "the kernel told of no such act meanwhile"
    if (lost := sum(after.lost) - sum(before.lost)) > 0:
        return f"{lost} records of this kind were lost meanwhile"
    if (left_out := after.left_out - before.left_out) > 0:
        return f"{left_out} records of this kind were sampled out of a flood"
    if (filtered := after.filtered - before.filtered) > 0:
        return f"the rules in the kernel discarded {filtered} records of this kind"
    return "its record made no event in time"
