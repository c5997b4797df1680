# SPDX-License-Identifier: MIT
"""Texts for a terminal that have rows scroll above a last row that stays.

Rows scroll within a region and out of it into the terminal's own history. Nothing else
is asked of the terminal than what ECMA-48 and DECSTBM give, which tmux, screen, xterm
and the Linux console all know.
"""

from __future__ import annotations

from collections.abc import Sequence

#: The smallest screen: with fewer columns or rows there are plain rows.
LEAST = (20, 4)


class Screen:
    """The lines of a screen of `size` columns and rows, as this program wrote them."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self.lines: list[str] = []
        """The lines above the last row, from the top; missing ones are empty."""
        self._status = ""

    @property
    def room(self) -> int:
        """How many lines there are above the last row."""
        return self.height - 1

    def enter(self) -> str:
        """Begin: rows that the terminal shows go into its history."""
        return "\r\n" * self.room + self._begin()

    def _begin(self) -> str:
        self.lines, self._status = [], ""
        return f"\x1b[?25l\x1b[?7l\x1b[H\x1b[J\x1b[1;{self.room}r"

    def leave(self) -> str:
        """End: the last row is empty again, and the cursor is in it."""
        return f"\x1b[r\x1b[?7h\x1b[{self.height};1H\x1b[2K\x1b[?25h"

    def resized(self, size: tuple[int, int]) -> str:
        """Begin anew with another size."""
        self.width, self.height = size
        return "\x1b[r" + self._begin()

    def scroll(self, lines: Sequence[str]) -> str:
        """Put lines below the others; those that have no room go into the history."""
        free = self.room - len(self.lines)
        first, rest = lines[:free], lines[free:]
        out = [
            f"\x1b[{at};1H\x1b[K{line}"
            for at, line in enumerate(first, len(self.lines) + 1)
        ]
        if rest:
            out.append(f"\x1b[{self.room};1H")
            out += [f"\r\n{line}" for line in rest]
        self.lines = [*self.lines, *lines][-self.room :]
        return "".join(out)

    def change(self, at: int, line: str) -> str:
        """Write another line in the place of one, counted from the top."""
        if self.lines[at] == line:
            return ""
        self.lines[at] = line
        return f"\x1b[{at + 1};1H\x1b[K{line}"

    def paint(self, lines: Sequence[str]) -> str:
        """Show these lines, whatever was there; nothing goes into the history."""
        lines = lines[: self.room]
        before = self.lines + [""] * (self.room - len(self.lines))
        after = [*lines, *[""] * (self.room - len(lines))]
        self.lines = [*lines]
        return "".join(
            f"\x1b[{at};1H\x1b[K{new}"
            for at, (old, new) in enumerate(zip(before, after, strict=True), 1)
            if old != new
        )

    def status(self, line: str) -> str:
        """Show the last row."""
        if line == self._status:
            return ""
        self._status = line
        return f"\x1b[{self.height};1H\x1b[K{line}"
