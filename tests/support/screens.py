# SPDX-License-Identifier: MIT
"""A small model of a terminal: what a person sees of the bytes that were written.

It knows what `viewer.screen` uses and refuses all else.
"""

from __future__ import annotations

import re

from wcwidth import wcwidth

_PART = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|([^\x1b])", re.DOTALL)


class Cell(str):
    """A character as it was printed; `style` are numbers of ECMA-48 between ";"."""

    style = ""


class ScreenModel:
    """Lines, cursor, scroll region, and the history that scrolled out at the top."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cells = [[""] * width for _ in range(height)]
        self.history: list[str] = []
        self.row = self.column = 0
        self.bottom = height - 1
        self.wraps = self.shows_cursor = True
        self.wrapped = 0
        """How often a line was too long for its row."""
        self._is_resized = False
        self._style = ""

    def resize(self, width: int, height: int) -> None:
        """Have another size; what stands there is cut, as the program draws anew."""
        lines = self.lines()
        self._is_resized = (
            True  # until the program knows, its lines are those of before
        )
        self.width, self.height, self.bottom = width, height, height - 1
        self.cells = [[*line.ljust(width)[:width]] for line in lines[:height]]
        self.cells += [[""] * width for _ in range(height - len(self.cells))]
        self.row, self.column = min(self.row, height - 1), 0

    def lines(self) -> list[str]:
        """Return the lines, without blanks at their ends."""
        return ["".join(each or " " for each in row).rstrip() for row in self.cells]

    def write(self, data: bytes) -> None:
        """Take what a program has written."""
        text, at = data.decode(), 0
        while at < len(text):
            found = _PART.match(text, at)
            assert found, f"not known to this terminal: {text[at : at + 10]!r}"
            at = found.end()
            if found[4]:
                self._print(found[4])
            else:
                self._command(found[1] + found[3], found[2])

    def _print(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._line_feed()
        else:
            width = wcwidth(character)
            assert width >= 0, f"a control character: {character!r}"
            if self.column + width > self.width:
                self.wrapped += not self._is_resized
                if not self.wraps:
                    return
                self.column = 0
                self._line_feed()
            if width:
                self.cells[self.row][self.column] = cell = Cell(character)
                cell.style = self._style
                self.column += width

    def _line_feed(self) -> None:
        if self.row == self.bottom:
            self.history.append("".join(c or " " for c in self.cells[0]).rstrip())
            del self.cells[0]
            self.cells.insert(self.bottom, [""] * self.width)
        else:
            self.row = min(self.row + 1, self.height - 1)

    def _command(self, name: str, text: str) -> None:
        numbers = [int(each or 0) for each in text.split(";")]
        if name == "H":
            self.row = max(1, numbers[0]) - 1
            self.column = max(1, numbers[-1] if len(numbers) > 1 else 1) - 1
        elif name == "K":
            start = 0 if numbers[0] == 2 else self.column
            self.cells[self.row][start:] = [""] * (self.width - start)
        elif name == "J":
            self.cells[self.row :] = [
                [""] * self.width for _ in range(self.height - self.row)
            ]
        elif name == "r":
            self.bottom = (numbers[1] if len(numbers) > 1 else self.height) - 1
            self.row = self.column = 0
            self._is_resized = False
        elif name in ("?h", "?l"):
            self._switch(numbers[0], is_on=name == "?h")
        else:
            assert name == "m", f"not known to this terminal: {name}"
            self._style = text.removeprefix("0;") if text != "0" else ""

    def _switch(self, number: int, *, is_on: bool) -> None:
        if number == 25:
            self.shows_cursor = is_on
        else:
            assert number == 7
            self.wraps = is_on
