# SPDX-License-Identifier: MIT
"""Remarks on a configuration, with their places, and guesses at what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from sysmonlx.config.xml_text import Node, Places
from sysmonlx.finding import Finding

_MAX_GUESSES = 50
_MAX_GUESSED_LENGTH = 64


class Remarks:
    """The findings so far; offsets become lines and columns."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._guesses = 0
        self.found: list[Finding] = []

    def error(self, text: str, offset: int, advice: str = "") -> None:
        """Note something for which the configuration is refused."""
        self._add(text, offset, advice, fatal=True)

    def warn(self, text: str, offset: int, advice: str = "") -> None:
        """Note something that the user should know; the configuration is used."""
        self._add(text, offset, advice, fatal=False)

    def _add(self, text: str, offset: int, advice: str, *, fatal: bool) -> None:
        line, column = self._places.of(offset)
        self.found.append(Finding(_shown(text), line, column, _shown(advice), fatal))

    def warn_line(self, text: str, line: int) -> None:
        """Note a warning of which only the line is known."""
        self.found.append(Finding(text, line, 1 if line else 0, fatal=False))

    def warn_of_lost_text(self, node: Node) -> None:
        """Note that an element has more text than its value, if it has."""
        if node.lost_at >= 0:
            self.warn(
                f"Warning: the value of {node.tag} ends at '{node.text}': the text"
                " behind is not read",
                node.lost_at,
                "as in Sysmon; a comment stands before or behind the whole value",
            )

    def line(self, offset: int) -> int:
        """Return the line of an offset."""
        return self._places.of(offset)[0]

    def guess(self, name: str, names: Iterable[str]) -> str:
        """Return "did you mean X?" for a misspelt name, or nothing.

        Guessing is slow, so a hopeless file gets a limited number of guesses.
        """
        if self._guesses >= _MAX_GUESSES or len(name) > _MAX_GUESSED_LENGTH:
            return ""
        self._guesses += 1
        by_key = {_key(each): each for each in names}
        near = get_close_matches(_key(name), by_key, n=1, cutoff=0.7)
        return f"did you mean {by_key[near[0]]}?" if near else ""

    def sorted(self) -> tuple[Finding, ...]:
        """Return the findings in the order of the file."""
        return tuple(sorted(self.found, key=lambda each: (each.line, each.column)))


def _shown(text: str) -> str:
    """Return a text with bytes spelt out that a file has and that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")
