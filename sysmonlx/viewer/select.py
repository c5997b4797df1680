# SPDX-License-Identifier: MIT
"""Which events are asked for."""

from __future__ import annotations

from sysmonlx.viewer.fields import text_of, value_of
from sysmonlx.viewer.moments import line_moment
from sysmonlx.viewer.options import Options
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.words import Words


class Selection:
    """The conditions of a command line: all of them must hold."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._words = Words(options.words)
        self._has_times = bool(options.start or options.end)
        self._has_records = bool(options.first_record or options.last_record)

    def takes(self, event: EventLine) -> bool:
        """Return whether an event is asked for."""
        options = self._options
        if options.event_ids and event.event_id not in options.event_ids:
            return False
        if self._has_records and not self._in_records(event.system.record_id):
            return False
        if self._has_times and not self._in_times(event):
            return False
        if not all(self._equals(event, *pair) for pair in options.equal.items()):
            return False
        return self._words.takes(event)

    def is_all(self) -> bool:
        """Return whether there is no condition."""
        options = self._options
        return not (
            options.event_ids
            or options.equal
            or options.words
            or self._has_times
            or self._has_records
        )

    def _in_records(self, record_id: int) -> bool:
        last = self._options.last_record
        return record_id >= self._options.first_record and (
            last is None or record_id <= last
        )

    def _in_times(self, event: EventLine) -> bool:
        return in_times(self._options, moment_of(event))

    def _equals(self, event: EventLine, name: str, values: set[str]) -> bool:
        value = value_of(event, name)
        return value is None or value in values


def moment_of(event: EventLine) -> str:
    """Return when the line was written; of a line that does not say it, UtcTime."""
    return line_moment(event.system.time or text_of(event, "UtcTime"))


def in_times(options: Options, when: str) -> bool:
    """Return whether a moment lies in the time that is asked for."""
    return when >= options.start and (not options.end or when <= options.end)
