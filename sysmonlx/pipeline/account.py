# SPDX-License-Identifier: MIT
"""The fates of the records that were taken from the ring buffer, counted.

`books` names the fates and checks the sums. Rare fates are counted here one by one.
Frequent ones are counted by whoever handles many at once: records received by
`Pipeline.take`, events emitted by `Output.flush`.
"""

from __future__ import annotations

import struct
from collections import Counter

from sysmonlx.capture.records import Layouts
from sysmonlx.errors import RecordError
from sysmonlx.pipeline.books import NOT_ASKED, Fate, Unasked
from sysmonlx.pipeline.trace_line import trace_line
from sysmonlx.schema.events import EVENT_BY_ID

BAD_RECORD = "bad record"
#: Name of records whose type does not exist, and number of records without any byte.
UNKNOWN_RECORD = "unknown"
_NO_TYPE = -1


class Account:
    """Fates of records and events since the start, but for those in the output."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self.received: Counter[int] = Counter()
        """Records by the number of their type; `Pipeline.take` counts them."""
        self.filtered = dict.fromkeys(EVENT_BY_ID, 0)
        """Events that the rules excluded, by event id."""
        self.no_event: Counter[Fate] = Counter()
        """Records that made no event, by the id of that event and the reason."""
        self.more: Counter[int] = Counter()
        """Messages beyond the first of a record that holds several, by event id."""
        self.lost: Counter[Fate] = Counter()
        """Events lost by an error, by event id and reason."""
        self.lost_records: Counter[tuple[str, str]] = Counter()
        """Records lost of which no event was asked, by name and reason."""
        self.trouble = ""
        """The place of an unexpected error, for event 255, which then clears it."""
        self._unasked = Unasked()
        self._asked: dict[int, list[int]] = {}

    def turn(self, asked: dict[str, list[int]]) -> None:
        """Let these events be asked for from now on: event ids, by record name."""
        numbers = self._layouts.number
        events = {event_id for each in asked.values() for event_id in each}
        self._unasked.turn(self.received_by_name(), events)
        self._asked = {numbers[name]: events for name, events in asked.items()}

    def received_by_name(self) -> dict[str, int]:
        """Return the records received, by name; "unknown": the type does not exist."""
        numbers = self._layouts.number
        known = {name: self.received[number] for name, number in numbers.items()}
        return {**known, UNKNOWN_RECORD: self.received.total() - sum(known.values())}

    def without_event(self) -> Counter[Fate]:
        """Return how many records made no event, by the id of it and the reason.

        Records of an event that no rule asked for are included.
        """
        unasked = self._unasked.counts(self.received_by_name())
        return self.no_event + Counter({(e, NOT_ASKED): n for e, n in unasked.items()})

    @property
    def bad(self) -> int:
        """Number of events and records lost: a record did not fit its layout."""
        lost = (*self.lost.items(), *self.lost_records.items())
        return sum(count for (_, reason), count in lost if reason == BAD_RECORD)

    def lose_record(self, data: bytes, error: Exception) -> None:
        """Count as lost every event that was to be made of a record."""
        number = data[0] if data else _NO_TYPE
        if not data:
            self.received[number] += 1
            error = RecordError("a record without bytes")
        asked = self._asked.get(number, ())
        for event_id in asked:
            self.lose(event_id, error)
        if not asked:
            name = self._layouts.name.get(number, UNKNOWN_RECORD)
            self.lost_records[name, self._reason(error)] += 1

    def lose(self, event_id: int, error: Exception) -> None:
        """Count one event as lost by this error."""
        self.lost[event_id, self._reason(error)] += 1

    def note(self, error: Exception) -> None:
        """Keep the place of an error, unless the one before was not told yet."""
        if not self.trouble:
            self.trouble = trace_line(error)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, (RecordError, struct.error)):
            return BAD_RECORD
        self.note(error)
        return f"error: {type(error).__name__}"
