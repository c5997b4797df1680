# SPDX-License-Identifier: MIT
"""Events of the live view in the order in which they happened.

An event may come a little later than one that happened after it: the kernel's
processors fill one buffer, and a hash is waited for. Therefore each event waits a
moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType

from sysmonlx.viewer.event_text import System
from sysmonlx.viewer.fields import PLACES

#: How long an event waits for others, in seconds.
WAIT_S = 0.1

_TIMES = {event_id: places["UtcTime"] for event_id, places in PLACES.items()}
_STARTS, _OWN, _PARENT = 1, PLACES[1]["ProcessGuid"], PLACES[1]["ParentProcessGuid"]
_ENDS = 5


class LiveEvent:
    """An event that happens now: its id and the texts of its fields."""

    __slots__ = ("event_id", "values")

    system = System()
    ours: Mapping[str, str] = MappingProxyType({})

    def __init__(self, event_id: int, values: Sequence[str]) -> None:
        self.event_id = event_id
        self.values = values


_Timed = tuple[str, int, LiveEvent]
_time = itemgetter(0)


class Order:
    """Events that wait for those that happened before them."""

    def __init__(self) -> None:
        self._waiting: list[_Timed] = []
        self._latest: deque[tuple[float, str]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, events: Iterable[tuple[int, Sequence[str]]], now_s: float) -> None:
        """Take events that came just now."""
        waiting, count, latest = self._waiting, self._count, ""
        for event_id, values in events:
            time = values[_TIMES[event_id]]
            waiting.append((time, count, LiveEvent(event_id, values)))
            count += 1
            latest = max(latest, time)
        self._count = count
        if latest:
            self._latest.append((now_s, latest))

    def take(self, now_s: float) -> list[LiveEvent]:
        """Return the events that have waited, in order; and those before them."""
        until = ""
        while self._latest and self._latest[0][0] <= now_s - WAIT_S:
            until = max(until, self._latest.popleft()[1])
        if not until:
            return []
        waiting = self._waiting
        waiting.sort()
        count = bisect_right(waiting, until, key=_time)
        ready, self._waiting = waiting[:count], waiting[count:]
        return in_order(ready)

    def take_all(self) -> list[LiveEvent]:
        """Return all that is left, in order."""
        self._waiting.sort()
        ready, self._waiting = self._waiting, []
        self._latest.clear()
        return in_order(ready)


def in_order(ready: Sequence[_Timed]) -> list[LiveEvent]:
    """Return sorted events; within a millisecond parents come before children."""
    found: list[LiveEvent] = []
    for _, run in groupby(ready, key=_time):
        events = [each[2] for each in run]
        if len(events) > 1:
            starts = [each for each in events if each.event_id == _STARTS]
            if starts and (len(starts) > 1 or events[0] is not starts[0]):
                events.sort(key=_Ranks(starts).rank)
        found += events
    return found


class _Ranks:
    """Ranks of events of one moment: by generation, starts first and ends last."""

    def __init__(self, starts: Iterable[LiveEvent]) -> None:
        self._parents = {each.values[_OWN]: each.values[_PARENT] for each in starts}

    def rank(self, event: LiveEvent) -> tuple[int, int]:
        """Return the rank of an event; sorting keeps the order of equal ones."""
        kind = 0 if event.event_id == _STARTS else 1 + (event.event_id == _ENDS)
        at = PLACES[event.event_id].get("ProcessGuid")
        return self._generation("" if at is None else event.values[at]), kind

    def _generation(self, guid: str) -> int:
        """Return how many of its ancestors were started in this moment, too."""
        count = 0
        while guid in self._parents and count < len(self._parents):
            guid = self._parents[guid]
            count += 1
        return count
