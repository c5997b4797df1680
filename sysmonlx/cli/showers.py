# SPDX-License-Identifier: MIT
"""The two ways in which the live view shows events: on a screen, and line by line.

Both write through an outlet, which never waits. Rows that the reader does not take in
time are left out, and counted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sysmonlx.cli.live_forms import FormOf
from sysmonlx.cli.outlet import Outlet
from sysmonlx.cli.tty import Tty
from sysmonlx.viewer.console import Console
from sysmonlx.viewer.keys import keys_of
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.screen import LEAST
from sysmonlx.viewer.words import Words

#: Bytes that may wait for a reader before rows are left out: a terminal, any other.
_SCREEN_OWES, _LINES_OWE = 64 << 10, 8 << 20
#: How long the farewell of a screen may take, in seconds.
_LEAVE_S = 0.3
#: How often a status row that rests is renewed, in seconds.
REST_S = 1.0
#: How often it is renewed at most, in seconds, but for keys.
_STATUS_S = 0.2


class Shower(Protocol):
    """Shows events in one way; called in the thread of the view."""

    @property
    def is_stale(self) -> bool:
        """Whether `tick` has something to renew soon."""

    def feed(self, events: Sequence[LiveEvent], missed: int, now_s: float) -> None:
        """Show events; `missed` is how many the queue did not take before them."""

    def tick(self, now_s: float) -> None:
        """Do what the time asks for."""

    def keys(self, data: bytes) -> bool:
        """Take what keys have sent; return whether they asked for the end."""

    def suspend(self) -> None:
        """Leave the terminal to others."""

    def resume(self) -> None:
        """Take the terminal again."""

    def finish(self) -> str:
        """Leave the terminal for good; return what is to be told at the end."""


class Lines:
    """Lines, one event after the other, for a file, a pipe or a simple terminal."""

    is_stale = False

    def __init__(self, outlet: Outlet, form: FormOf, words: Words) -> None:
        self._outlet = outlet
        self._form = form
        self._words = words
        self._skipped = 0

    def feed(self, events: Sequence[LiveEvent], missed: int, now_s: float) -> None:
        """Write the lines of events."""
        self._skipped += missed
        takes = self._words.takes
        shown = [event for event in events if takes(event)]
        if self._outlet.waiting_bytes > _LINES_OWE:
            self._skipped += len(shown)
        elif shown:
            self._outlet.push(self._form(shown))

    def tick(self, now_s: float) -> None:
        """Do nothing: lines do not change."""

    def keys(self, data: bytes) -> bool:
        """Take no keys."""
        return False

    def suspend(self) -> None:
        """Do nothing: the terminal was not changed."""

    def resume(self) -> None:
        """Do nothing."""

    def finish(self) -> str:
        """Return how many events have no line."""
        return f"{self._skipped} skipped: not shown" if self._skipped else ""


class OnScreen:
    """Shows events on the whole screen of a terminal, whose keys are commands."""

    def __init__(
        self,
        outlet: Outlet,
        tty: Tty,
        console: Console,
        lost: Callable[[], int],
        encode: Callable[[str], bytes],
    ) -> None:
        self._outlet, self._tty, self._console = outlet, tty, console
        self._lost, self._encode = lost, encode
        self._is_away = False
        self.is_stale = False
        self._told_s = 0.0
        self._cpu = time.process_time(), time.monotonic()
        tty.enter()
        self._write(console.enter())

    def _write(self, text: str) -> None:
        if text:
            self._outlet.push(self._encode(text))

    def feed(self, events: Sequence[LiveEvent], missed: int, now_s: float) -> None:
        """Show events."""
        if missed:
            self._console.skip(missed)
        owes = self._outlet.waiting_bytes > _SCREEN_OWES
        may_draw = not owes and not self._is_away
        self.is_stale = True
        self._write(self._console.feed(events, now_s, may_draw=may_draw))

    def tick(self, now_s: float) -> None:
        """Renew the status row, and follow the size of the terminal."""
        if self._is_away:
            self.resume()
        if self._is_away or self._outlet.waiting_bytes > _SCREEN_OWES:
            return
        size = self._tty.size()
        if size != self._console.size and is_enough(size):
            self._write(self._console.resume(size))
        if now_s - self._told_s >= _STATUS_S:
            self._told_s = now_s
            self.is_stale = False
            self._count(now_s)
            self._write(self._console.status(now_s))

    def _count(self, now_s: float) -> None:
        counts = self._console.counts
        with contextlib.suppress(RuntimeError):  # it grows while it is added up
            counts.lost = self._lost()
        cpu_s, since_s = self._cpu
        if now_s - since_s >= REST_S:
            used_s = time.process_time()
            counts.cpu_percent = 100 * (used_s - cpu_s) / (now_s - since_s)
            self._cpu = used_s, now_s

    def keys(self, data: bytes) -> bool:
        """Do what keys ask for."""
        for key in keys_of(data):
            self._write(self._console.key(key))
        self._told_s = 0.0  # the status row shows what they did
        return self._console.is_done

    def suspend(self) -> None:
        """Leave the terminal to others."""
        if not self._is_away:
            self._is_away = True
            self._write(self._console.leave())
            self._outlet.drain(_LEAVE_S)
            self._tty.leave()

    def resume(self) -> None:
        """Take the terminal again, if this is its foreground."""
        if self._tty.is_foreground():
            self._tty.leave()
            self._tty.enter()
            self._is_away = False
            size = self._tty.size()
            size = size if is_enough(size) else self._console.size
            self._write("\r\n" * size[1] + self._console.resume(size))

    def finish(self) -> str:
        """Leave the terminal for good."""
        if not self._is_away:
            if self._outlet.waiting_bytes > _SCREEN_OWES:
                self._outlet.drop()  # rows that the terminal did not take in time
            self._write(self._console.leave())
            self._outlet.drain(_LEAVE_S)
            self._tty.leave()
        skipped = self._console.counts.skipped
        return f"{skipped} rows skipped: the terminal was slow" if skipped else ""


def is_enough(size: tuple[int, int]) -> bool:
    """Return whether a terminal of this size can show a screen."""
    return size[0] >= LEAST[0] and size[1] >= LEAST[1]
