# SPDX-License-Identifier: MIT
"""Rows as they stand on a screen: in a tree, ends folded into starts, repeats counted.

A row that was handed out may change as long as `Board.floor` is not above its number:
the end of a process becomes a note of its start, and what repeats is counted. Each
event that is taken is one row, or a part of one, or hidden; `hidden` counts the last.
"""

from __future__ import annotations

import re

from sysmonlx.viewer.bodies import Body
from sysmonlx.viewer.fields import PLACES, AnyEvent
from sysmonlx.viewer.moments import seconds_of
from sysmonlx.viewer.rows import Row, Rows

_STARTS, _ENDS = 1, 5
_PARENT = PLACES[1]["ParentProcessGuid"]
_FILES = {number: PLACES[number]["TargetFilename"] for number in (11, 23, 26)}
#: Files of one directory that have rows of their own.
_SINGLE_FILES = 3
#: Numbers in which rows may differ and still count as equal.
_NUMBERS = re.compile(r"\d{4,}")
#: Equal rows within this time are one, in seconds.
_EQUAL_S = 1.0
#: Processes and repeats that are remembered.
_PROCESSES, _REPEATS = 16_384, 256


class Placed:
    """A row with its number; `row` changes while it can be seen."""

    __slots__ = ("number", "row", "since")

    def __init__(self, number: int, row: Row) -> None:
        self.number = number
        self.row = row
        self.since = row.time


class _Files:
    """The files of one directory that a process made, lately."""

    __slots__ = ("count", "last", "placed")

    def __init__(self) -> None:
        self.count = 0
        self.last = ""
        self.placed: Placed | None = None


class Board:
    """Makes rows of events, or changes rows that can still be changed."""

    def __init__(self, rows: Rows, *, all_ends: bool = False) -> None:
        self._rows = rows
        self.all_ends = all_ends
        self.floor = 0
        """The number of the first row that may change."""
        self.hidden = 0
        self.next = 0
        """The number of the next row."""
        self._started: dict[str, tuple[Placed, str]] = {}
        self._repeats: dict[tuple[str, ...], Placed] = {}
        self._files: dict[tuple[str, ...], _Files] = {}

    def take(self, event: AnyEvent) -> tuple[Placed | None, bool]:
        """Return the row of an event, None if it is hidden, and whether it is new."""
        if event.event_id == _ENDS:
            return self._end(event)
        if event.event_id in _FILES:
            return self._file(event)
        return self._any(self._row(event))

    def row(self, event: AnyEvent) -> Row:
        """Return the row of an event by itself, at its place in the tree."""
        row = self._row(event)
        if row.is_start and self._rows.style.has_tree:
            self._note_start(row, Placed(0, row))
        return row

    def _row(self, event: AnyEvent) -> Row:
        values = event.values
        if event.event_id == _STARTS:
            depth = self._depth_under(values[_PARENT])
            return self._rows.row(event.event_id, values, depth)
        row = self._rows.row(event.event_id, values)
        row.depth = self._depth_under(row.guid)
        return row

    def _depth_under(self, guid: str) -> int:
        """Return the depth below a process, 0 where its row has scrolled away."""
        found = self._started.get(guid)
        if found is None or found[0].number < self.floor:
            return 0
        return found[0].row.depth + 1

    def _any(self, row: Row) -> tuple[Placed, bool]:
        body = _NUMBERS.sub("#", f"{row.body.head}\0{row.body.main}")
        key = (row.mark, row.user, row.rule, str(row.depth), body)
        before = self._repeats.get(key)
        if before is not None and self._is_fresh(before, row.time):
            before.row.count += 1
            if row.is_start:
                before.row.note = ""
                self._note_start(row, before)
            return before, False
        placed = self._new(row)
        if len(self._repeats) >= _REPEATS:
            self._repeats.clear()
        self._repeats[key] = placed
        return placed, True

    def _new(self, row: Row) -> Placed:
        placed = Placed(self.next, row)
        self.next += 1
        if row.is_start:
            self._note_start(row, placed)
        return placed

    def _note_start(self, row: Row, placed: Placed) -> None:
        self._started[row.guid] = placed, row.time
        if len(self._started) > _PROCESSES:
            self._started = dict([*self._started.items()][_PROCESSES // 2 :])

    def _is_fresh(self, placed: Placed, time: str) -> bool:
        return placed.number >= self.floor and _seconds(placed.since, time) <= _EQUAL_S

    def _end(self, event: AnyEvent) -> tuple[Placed | None, bool]:
        row = self._rows.row(event.event_id, event.values)
        start = self._started.pop(row.guid, None)
        if start is None:
            if self.all_ends:
                return self._any(row)
            self.hidden += 1
            return None, False
        placed, since = start
        lived = _lived(_seconds(since, row.time))
        if placed.number >= self.floor and row.rule == "-":
            placed.row.note = f"exit {lived}"
            return placed, False
        row.depth = placed.row.depth + 1 if placed.number >= self.floor else 0
        row.body = Body(row.body.head, f"ended after {lived}")
        return self._any(row)

    def _file(self, event: AnyEvent) -> tuple[Placed | None, bool]:
        row = self._row(event)
        path = event.values[_FILES[event.event_id]]
        folder = path.rpartition("/")[0]
        key = (row.guid, row.mark, row.rule, folder)
        files = self._files.get(key)
        if files is None or _seconds(files.last, row.time) > _EQUAL_S:
            if len(self._files) >= _REPEATS:
                self._files.clear()
            files = self._files[key] = _Files()
        files.count, files.last = files.count + 1, row.time
        if files.count <= _SINGLE_FILES:
            return self._any(row)
        if files.placed is not None and files.placed.number >= self.floor:
            files.placed.row.count += 1
            return files.placed, False
        row.body = self._rows.files(row, folder)
        files.placed = self._new(row)
        return files.placed, True


def _lived(seconds: float) -> str:
    """Return a time that a process lived."""
    if seconds < 0.0095:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _seconds(start: str, end: str) -> float:
    """Return the seconds between two moments, 0 if one of them is none."""
    if start[:17] == end[:17]:  # within one minute: most are
        try:
            return float(end[17:23]) - float(start[17:23])
        except ValueError:
            return 0.0
    first, last = seconds_of(start), seconds_of(end)
    return 0.0 if first is None or last is None else last - first
