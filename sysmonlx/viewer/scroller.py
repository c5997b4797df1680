# SPDX-License-Identifier: MIT
"""Rows that scroll over a screen as events come, and change while they stand there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sysmonlx.viewer.board import Board, Placed
from sysmonlx.viewer.fields import AnyEvent
from sysmonlx.viewer.rows import Row, Rows
from sysmonlx.viewer.screen import Screen
from sysmonlx.viewer.status import Counts

#: Rows that one step draws; of more the first are left out, and counted.
ROWS = 200


class Scroller:
    """Draws rows; each method returns what is to be written."""

    def __init__(self, screen: Screen, rows: Rows, counts: Counts) -> None:
        self._screen = screen
        self._counts = counts
        self._skipped = 0
        self.begin(rows, all_ends=False)

    def begin(self, rows: Rows, *, all_ends: bool) -> None:
        """Begin anew, with no rows."""
        self._rows = rows
        self._board = Board(rows, all_ends=all_ends)
        self._placed: list[Placed | None] = []
        self._day = ""

    def rows(self) -> list[Row]:
        """Return the rows that stand on the screen."""
        return [each.row for each in self._placed if each is not None]

    def skip(self, count: int) -> None:
        """Note events that get no row: the next rows tell how many."""
        self._skipped += count
        self._counts.skipped += count

    def redraw(self, events: Iterable[AnyEvent]) -> str:
        """Draw the last rows of these events in place of what is there."""
        taken = [self._board.take(event) for event in events]
        new = [each for each, is_new in taken if each is not None and is_new]
        lines = [*self._with_news(new[-self._screen.room :])][-self._screen.room :]
        self._keep([placed for _, placed in lines])
        return self._screen.paint([text for text, _ in lines])

    def show(self, events: Iterable[AnyEvent]) -> str:
        """Draw what these events change, and the rows that they add."""
        new: list[Placed] = []
        changed: set[Placed] = set()
        for event in events:
            placed, is_new = self._board.take(event)
            if placed is not None and is_new:
                new.append(placed)
            elif placed is not None:
                changed.add(placed)
        line = self._rows.line
        out = [
            self._screen.change(at, line(placed.row))
            for at, placed in enumerate(self._placed)
            if placed is not None and placed in changed
        ]
        if len(new) > ROWS:
            self.skip(len(new) - ROWS)
            del new[:-ROWS]
        added = [*self._with_news(new)]
        out.append(self._screen.scroll([text for text, _ in added]))
        self._keep([*self._placed, *(placed for _, placed in added)])
        return "".join(out)

    def _keep(self, placed: Sequence[Placed | None]) -> None:
        """Note which rows stand on the screen: those alone may change."""
        self._placed = [*placed][-self._screen.room :]
        first = next((each.number for each in self._placed if each), None)
        self._board.floor = self._board.next if first is None else first

    def _with_news(
        self, placed: Iterable[Placed]
    ) -> Iterable[tuple[str, Placed | None]]:
        """Yield the lines of rows, and lines between them that tell what is new."""
        if self._skipped:
            yield self._rows.rule(f"{self._skipped:,} rows skipped"), None
            self._skipped = 0
        for each in placed:
            day = each.row.time[:10]
            if day > self._day and len(day) == 10:
                self._day = day
                yield self._rows.rule(day), None
            yield self._rows.line(each.row), each
