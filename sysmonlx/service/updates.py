# SPDX-License-Identifier: MIT
"""The update of the rules that is under way: compiled by a child, then put in force.

Events are read and judged by the rules before meanwhile, and other requests answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sysmonlx.errors import ControlError
from sysmonlx.host.child_process import Child, TooLargeError
from sysmonlx.service.compilation import LIMIT_S, Compiled, compiled_of
from sysmonlx.service.control import Later, Message

#: What is to be stored with the rules, by file.
Files = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class _Update:
    child: Child
    later: Later
    files: Files
    deadline_s: float


class Updates:
    """At most one update at a time; who asks for another one is told so."""

    def __init__(
        self,
        handle: Callable[[int, Callable[[], object]], None],
        forget: Callable[[int], None],
        put: Callable[[Compiled, Files], Message],
    ) -> None:
        """Take what an update needs.

        Args:
            handle: Has a function called whenever a descriptor is readable.
            forget: Ends that, before the descriptor is closed.
            put: Puts compiled rules in force; returns what to answer.
        """
        self._handle = handle
        self._forget = forget
        self._put = put
        self._now: _Update | None = None

    def begin(self, begin: Callable[[], Child], files: Files) -> Later:
        """Begin an update with the child that `begin` starts.

        Raises:
            ControlError: another one is under way, or there is no process to be had.
        """
        if self._now is not None:
            raise ControlError("Another update is under way: try again")
        child, later = begin(), Later()
        self._now = _Update(child, later, files, time.monotonic() + LIMIT_S)
        self._handle(child.fileno(), self._take)
        return later

    def _take(self) -> None:
        """Take what the child has sent; put its rules in force when that is all."""
        if self._now is None:
            return
        try:
            answer = self._now.child.take()
        except TooLargeError:
            self.end("The rules are too large: use fewer")
            return
        except (MemoryError, OSError) as error:  # no reason to stop the capture
            self.end(f"The compiled rules cannot be taken: {str(error) or 'no memory'}")
            return
        if answer is not None:
            update = self._ended(self._now)
            update.later.settle(lambda: self._put(compiled_of(answer), update.files))

    def expire(self) -> None:
        """End an update that takes too long; call it every second or so."""
        if self._now is not None and time.monotonic() > self._now.deadline_s:
            most = f"{LIMIT_S:g} s"
            self.end(f"To compile the rules takes more than {most}: use fewer")

    def end(self, reason: str) -> None:
        """End the update that is under way, if there is one, and say why."""
        if self._now is not None:
            self._ended(self._now).later.settle(lambda: _refuse(reason))

    def _ended(self, update: _Update) -> _Update:
        self._now = None
        self._forget(update.child.fileno())
        update.child.end()
        return update


def _refuse(reason: str) -> Message:
    raise ControlError(f"{reason}; the rules before stay in force")
