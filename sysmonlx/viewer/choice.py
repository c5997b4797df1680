# SPDX-License-Identifier: MIT
"""Which events the live view shows: the words, and what keys have switched on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sysmonlx.viewer.fields import AnyEvent, value_of
from sysmonlx.viewer.kinship import Kinship
from sysmonlx.viewer.rows import LEVELS, level_of
from sysmonlx.viewer.width import head, tail
from sysmonlx.viewer.words import Words, of_line

Event = TypeVar("Event", bound=AnyEvent)

#: Filters that Up brings back.
_PAST = 50


class Choice:
    """The filter in force, and the line in which another one is typed."""

    def __init__(self, text: str, words: list[str], kin: Kinship, own_pid: str) -> None:
        self._kin, self._own_pid = kin, own_pid
        self._words = Words(words, kin, own_pid)
        self.text = text
        """The filter as it was typed."""
        self.typed: str | None = None
        """What is being typed; None: nothing is."""
        self.error = ""
        self.only_tagged = False
        self._level = 0
        self._before = text
        self._past: list[str] = []
        self._past_at = 0

    def taken(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return those of some events that are shown."""
        if self._words.are_none and not self.only_tagged and not self._level:
            return events
        return [*filter(self.takes, events)]

    def takes(self, event: AnyEvent) -> bool:
        """Return whether an event is shown."""
        if self.only_tagged or self._level:
            rule = value_of(event, "RuleName") or "-"
            if rule == "-" or LEVELS.index(level_of(rule)) < self._level:
                return False
        return self._words.takes(event)

    def level_up(self) -> None:
        """Ask for the next level: low, medium, high, then any again."""
        self._level = (self._level + 1) % (len(LEVELS) - 1)

    def begin(self) -> None:
        """Begin to type another filter."""
        self._before = self.typed = self.text
        self._past_at = len(self._past)

    def use(self, text: str) -> None:
        """Take another filter; one that cannot be used leaves the one before it."""
        try:
            self._words = Words(of_line(text), self._kin, self._own_pid)
        except ValueError as error:
            self.error = str(error)
            return
        self.text, self.error = text, ""

    def key(self, key: str) -> None:
        """Take a key while a filter is typed."""
        typed = self.typed or ""
        if key == "enter":
            self._keep(typed)
        elif key == "escape":
            self.typed = None
            self.use(self._before)
        else:
            self._edit(key, typed)

    def _keep(self, typed: str) -> None:
        self.typed = None
        if self.error:  # the filter before it goes on, and the row tells why
            return
        if typed.strip() and typed not in self._past[-1:]:
            self._past = [*self._past, typed][-_PAST:]

    def _edit(self, key: str, typed: str) -> None:
        if key in ("up", "down"):
            if not self._past:
                return
            self._past_at += -1 if key == "up" else 1
            self._past_at = min(max(self._past_at, 0), len(self._past) - 1)
            typed = self._past[self._past_at]
        elif key == "backspace":
            typed = typed[:-1]
        elif key == "clear line":
            typed = ""
        elif key == "clear word":
            typed = typed.rstrip().rpartition(" ")[0]
        elif len(key) == 1:
            typed += key
        self.typed = typed
        self.use(typed)

    def notes(self, cursor: str, room: int) -> list[str]:
        """Return what the status row says of all this.

        Of what is typed the last `room` columns are shown: the cursor is there.
        """
        notes = []
        if self.only_tagged:
            notes.append("rules only")
        if self._level:
            notes.append(f"level {LEVELS[self._level]} and above")
        if self.typed is not None:
            notes.append(f"/{tail(self.typed, room)}{cursor}")
        elif self.text:
            notes.append(f"/{head(self.text, room)}")
        return [*notes, self.error] if self.error else notes
