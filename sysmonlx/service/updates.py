# SPDX-License-Identifier: MIT
"""The update of the rules that is under way, in three steps that each take a while.

A child process compiles the rules. A thread loads the programs that they need and that
are not loaded yet. Then the rules are put in force. Until then events are read and
judged by the rules before, and other requests are answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from sysmonlx.errors import ControlError
from sysmonlx.host.child_process import Answer, Child, TooLargeError
from sysmonlx.service.compilation import LIMIT_S, Compiled, compiled_of
from sysmonlx.service.control import Later, Message

#: Contents of the files that are to be stored with the rules.
Files = Mapping[Path, bytes]


class Work(Protocol):
    """Something that goes on elsewhere."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when the work has ended."""


@dataclass(slots=True)
class _Update:
    """The update under way: compiled by `child`, then loaded by `loading`."""

    later: Later
    files: Files
    deadline_s: float
    child: Child | None
    loading: Work | None = None

    @property
    def work(self) -> Work:
        """The part of the update that runs now: the child, or the loading."""
        work = self.child or self.loading
        assert work is not None
        return work


class Updates:
    """At most one update at a time; who asks for another one is told so."""

    def __init__(
        self,
        handle: Callable[[int, Callable[[], object]], None],
        forget: Callable[[int], None],
        load: Callable[[Compiled], Work | None],
        put: Callable[[Compiled, Files], Message],
    ) -> None:
        """Take what an update needs.

        Args:
            handle: Has a function called whenever a descriptor is readable.
            forget: Ends that, before the descriptor is closed.
            load: Begins to load the programs that compiled rules need; returns None
                where all of them are loaded.
            put: Puts compiled rules in force, with the programs that were loaded;
                returns what to answer.
        """
        self._handle = handle
        self._forget = forget
        self._load = load
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
        self._now = _Update(later, files, time.monotonic() + LIMIT_S, child)
        self._handle(child.fileno(), self._take)
        return later

    def _take(self) -> None:
        """Take what the child has sent; go on with its rules when that is all."""
        if self._now is None or self._now.child is None:
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
            self._go_on(self._ended(self._now), answer)

    def _go_on(self, update: _Update, answer: Answer) -> None:
        """Have the programs loaded, then put the rules in force."""
        try:
            made = compiled_of(answer)
            update.loading = self._load(made)
        except Exception as error:  # whatever it is, it is the answer
            update.later.settle(partial(_raise, error))
            return
        put = partial(self._put, made, update.files)
        if update.loading is None:
            update.later.settle(put)
            return

        def loaded() -> None:
            self._ended(update).later.settle(put)

        self._now = update
        self._handle(update.loading.fileno(), loaded)

    def expire(self) -> None:
        """End an update that takes too long; call it every second or so."""
        if self._now is not None and time.monotonic() > self._now.deadline_s:
            most = f"{LIMIT_S:g} s"
            if self._now.child is None:
                self.end(f"To load the programs takes more than {most}")
            else:
                self.end(f"To compile the rules takes more than {most}: use fewer")

    def end(self, reason: str) -> None:
        """End the update that is under way, if there is one, and say why."""
        if self._now is not None:
            self._ended(self._now).later.settle(lambda: _refuse(reason))

    def _ended(self, update: _Update) -> _Update:
        """End the work for an update; a thread that loads programs goes on alone."""
        self._now = None
        self._forget(update.work.fileno())
        if update.child is not None:
            update.child.end()
            update.child = None
        return update


def _raise(error: Exception) -> NoReturn:
    raise error


def _refuse(reason: str) -> Message:
    raise ControlError(f"{reason}; the rules before stay in force")
