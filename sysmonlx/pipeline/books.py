# SPDX-License-Identifier: MIT
"""The books: what became of every record, on both sides of the ring buffer.

The kernel's side, for each kind of record:
    seen = filtered + left out + submitted + lost, and those under way at that moment;
    submitted = received, and those that are in the ring buffer.
This side, for each event that a kind of record can make:
    received = emitted + filtered + waiting + lost + no event.
The sinks, for lines:
    due = delivered + spooled + lost.
Each term is counted where it happens; none is computed from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sysmonlx.enrich.registry import BUILDERS

Fate = tuple[int, str]
"""(event id, reason)"""

#: Why a record is no event although one could be made of it.
NOT_ASKED = "no rule asks for it"
TOLD_BEFORE = "told before"

#: Which record an event is made of, by event id.
RECORD_OF = {
    event_id: record
    for record, builders in BUILDERS.items()
    for event_id, _ in builders
}


class Unasked:
    """Counts records by events that no rule asked for when they were received.

    Nothing is counted for each record: the rules change seldom, and what was received
    between two changes is one number.
    """

    def __init__(self) -> None:
        self._past: Counter[int] = Counter()
        self._since: dict[str, int] = {}
        self._asked: frozenset[int] = frozenset(RECORD_OF)

    def turn(self, received: Mapping[str, int], asked: Iterable[int]) -> None:
        """Let other events be asked for from now on; `received` are records so far."""
        self._past = self.counts(received)
        self._since = dict(received)
        self._asked = frozenset(asked)

    def counts(self, received: Mapping[str, int]) -> Counter[int]:
        """Return how many records no rule asked an event of, by event id."""
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


def gaps(snapshot: Mapping[str, Any]) -> list[str]:
    """Return what does not add up in the counters of one moment, a line each.

    `snapshot` is what `Statistics.collect` returns. In the kernel a record may be under
    way, and in the ring buffer: there, only what is counted too often is a gap.
    """
    return [
        *_record_gaps(snapshot["records"]),
        *_event_gaps(snapshot["events"]),
        *_line_gaps(snapshot["lines"]),
    ]


def _record_gaps(records: Mapping[str, Any]) -> Iterator[str]:
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


def _event_gaps(events: Mapping[str, Any]) -> Iterator[str]:
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


def _line_gaps(lines: Mapping[str, Any]) -> Iterator[str]:
    fates = lines["delivered"] + lines["spooled"] + sum(lines["lost"].values())
    if fates != lines["due"]:
        yield f"lines: {lines['due']} due, but {fates} have a fate"
