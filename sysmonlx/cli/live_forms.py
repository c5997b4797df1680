# SPDX-License-Identifier: MIT
"""Events of the live view as lines: rows, JSON, or a line a field."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from sysmonlx.policy import Settings, SinkChoice
from sysmonlx.service.wiring import make_renderer
from sysmonlx.viewer.board import Board
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.rows import Rows, Style
from sysmonlx.viewer.terminal import all_fields

#: Makes the bytes of the lines of events.
FormOf = Callable[[Sequence[LiveEvent]], bytes]


def form_of(name: str, style: Style, settings: Settings) -> FormOf:
    """Return the maker of lines: "rows", "json", or "verbose" for a line a field."""
    if name == "json":
        return _json(settings)
    if name == "verbose":
        return lambda events: _bytes(
            all_fields(event.event_id, event.values) for event in events
        )
    return _Rows(style).lines


class _Rows:
    """Rows without any of them changed later: one an event."""

    def __init__(self, style: Style) -> None:
        self._rows = Rows(style)
        self._board = Board(self._rows)
        self._day = ""

    def lines(self, events: Sequence[LiveEvent]) -> bytes:
        """Return the rows of events."""
        lines: list[str] = []
        for event in events:
            row = self._board.row(event)
            day = row.time[:10]
            if day > self._day:
                if self._day:
                    lines.append(self._rows.rule(day))
                self._day = day
            lines.append(self._rows.line(row))
        return _bytes(lines)


def _json(settings: Settings) -> FormOf:
    renderer = make_renderer(settings, SinkChoice("stdout", "json"))
    count = 0

    def lines(events: Sequence[LiveEvent]) -> bytes:
        nonlocal count
        first, count = count, count + len(events)
        whole = [(each.event_id, each.values, False, None) for each in events]
        made = renderer.lines(whole, first, time.time_ns())
        return b"\n".join(made.split()) + b"\n"

    return lines


def _bytes(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
