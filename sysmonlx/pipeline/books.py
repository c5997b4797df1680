# SPDX-License-Identifier: MIT
"""The books: the sums that must hold between all counters, so that no loss is silent.

In the kernel, for each type of record:
    seen = filtered + left out + submitted + lost (+ records under way at that moment)
    submitted = received + records in the ring buffer
In the service, for each event that a type of record can make:
    received = emitted + filtered + waiting + lost + no event
In the sinks, for lines:
    due = delivered + spooled + lost
Each term is counted where it happens; none is computed from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NotRequired, TypedDict

from sysmonlx.enrich.registry import BUILDERS

Fate = tuple[int, str]
"""(event id, reason)"""

#: Reasons why no event was made of a record.
NOT_ASKED = "no rule asks for it"
TOLD_BEFORE = "told before"  # the end of a process, by an earlier record or a scan

#: Name of the record that an event is made of, by event id.
RECORD_OF = {
    event_id: record
    for record, builders in BUILDERS.items()
    for event_id, _ in builders
}


class Unasked:
    """Counts records that came while no rule asked for their event, by event id.

    Nothing is done for each record: the rules change seldom, and the records received
    between two changes are a difference of two numbers.
    """

    def __init__(self) -> None:
        self._past: Counter[int] = Counter()
        self._since: dict[str, int] = {}
        self._asked: frozenset[int] = frozenset(RECORD_OF)

    def turn(self, received: Mapping[str, int], asked: Iterable[int]) -> None:
        """Let these events be asked for from now on.

        `received` are the records until now, by name.
        """
        self._past = self.counts(received)
        self._since = dict(received)
        self._asked = frozenset(asked)

    def counts(self, received: Mapping[str, int]) -> Counter[int]:
        """Return how many records came unasked until now, by event id.

        `received` are the records until now, by name.
        """
        counts = self._past.copy()
        for event_id, record in RECORD_OF.items():
            if event_id not in self._asked:
                new = received.get(record, 0) - self._since.get(record, 0)
                counts[event_id] += new
        return +counts


def by_event(fates: Mapping[Fate, int]) -> dict[int, dict[str, int]]:
    """Return counts by event id and reason."""
    found: dict[int, dict[str, int]] = {}
    for (event_id, reason), count in sorted(fates.items()):
        if count:
            found.setdefault(event_id, {})[reason] = count
    return found


class RecordCounts(TypedDict):
    """Counters of one type of record, of the kernel and of the service."""

    seen: int
    filtered_in_kernel: int
    left_out: int
    submitted: int
    lost: dict[str, int]
    received: int


class EventCounts(TypedDict):
    """Counters of one event; those of the daemon itself have no `received`."""

    emitted: int
    received: NotRequired[int]
    filtered: int
    waiting: NotRequired[int]
    lost: NotRequired[dict[str, int]]
    no_event: NotRequired[dict[str, int]]


class LineCounts(TypedDict):
    """Counters of the lines of all sinks together."""

    due: int
    delivered: int
    spooled: int
    lost: dict[str, int]


def gaps(
    records: Mapping[str, RecordCounts],
    events: Mapping[str, EventCounts],
    lines: LineCounts,
) -> list[str]:
    """Return one line for each sum that does not hold.

    All counters are of one moment, see `service.statistics`. Records under way in the
    kernel and in the ring buffer have no counter, so there a sum may be too small; it
    is a gap only where it is too large.
    """
    return [*_record_gaps(records), *_event_gaps(events), *_line_gaps(lines)]


def _record_gaps(records: Mapping[str, RecordCounts]) -> Iterator[str]:
    for name, each in records.items():
        fates = each["filtered_in_kernel"] + each["left_out"] + each["submitted"]
        fates += sum(each["lost"].values())
        if fates > each["seen"]:
            yield f"{name}: seen {each['seen']}, but {fates} have a fate"
        if each["received"] > each["submitted"]:
            yield (
                f"{name}: submitted {each['submitted']},"
                f" but {each['received']} received"
            )


def _event_gaps(events: Mapping[str, EventCounts]) -> Iterator[str]:
    for event_id, each in events.items():
        if "received" not in each:
            continue  # the daemon's own: no record makes it
        fates = each["emitted"] + each["filtered"] + each["waiting"]
        fates += sum(each["lost"].values()) + sum(each["no_event"].values())
        if fates != each["received"]:
            yield (
                f"event {event_id}: {each['received']} received, but {fates} have a"
                " fate"
            )


def _line_gaps(lines: LineCounts) -> Iterator[str]:
    fates = lines["delivered"] + lines["spooled"] + sum(lines["lost"].values())
    if fates != lines["due"]:
        yield f"lines: {lines['due']} due, but {fates} have a fate"
