# SPDX-License-Identifier: MIT
"""The update of the rules that is under way, in steps that each take a while.

A child process compiles the rules. A thread loads the programs that they need and that
are not loaded yet. Another thread writes the files that store them (service.storing).
Then the rules are put in force, and the files get their names. Until then events are
read and judged by the rules before, and other requests are answered. A file system that
does not answer keeps no rules from being put in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol

from sysmonlx.errors import ControlError
from sysmonlx.host.child_process import Answer, Child, TooLargeError
from sysmonlx.service.compilation import LIMIT_S, Compiled, compiled_of
from sysmonlx.service.control import Later, Message
from sysmonlx.service.storing import LIMIT_S as STORE_LIMIT_S
from sysmonlx.service.storing import Files, Store, Storing


class Work(Protocol):
    """Something that goes on elsewhere."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when the work has ended."""


@dataclass(slots=True)
class _Update:
    """The update under way, and what is done for it now: `child` or `work`.

    `made` is what the child compiled, `store` what a thread stores of it.
    """

    later: Later
    files: Files
    deadline_s: float
    child: Child | None
    work: Work
    made: Compiled | None = None
    store: Store | None = None
    is_in_force: bool = False


class Updates:
    """At most one update at a time; who asks for another one is told so."""

    def __init__(
        self,
        handle: Callable[[int, Callable[[], object]], None],
        forget: Callable[[int], None],
        load: Callable[[Compiled], Work | None],
        storing: Storing,
        put: Callable[[Compiled], object],
        report: Callable[[], Message],
    ) -> None:
        """Take what an update needs.

        Args:
            handle: Has a function called whenever a descriptor is readable.
            forget: Ends that, before the descriptor is closed.
            load: Begins to load the programs that compiled rules need; returns None
                where all of them are loaded.
            storing: Stores the files of an update in a thread.
            put: Puts compiled rules in force, with the programs that were loaded.
            report: Returns what to answer when they are in force.
        """
        self._handle = handle
        self._forget = forget
        self._load = load
        self._storing = storing
        self._put = put
        self._report = report
        self._now: _Update | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether there is an update that is not answered yet."""
        return self._now is not None

    def begin(self, begin: Callable[[], Child], files: Files) -> Later:
        """Begin an update with the child that `begin` starts.

        Raises:
            ControlError: another one is under way, or there is no process to be had.
        """
        if self._now is not None:
            raise ControlError("Another update is under way: try again")
        child, later = begin(), Later()
        update = _Update(later, files, time.monotonic() + LIMIT_S, child, child)
        self._wait(update, child, self._take)
        return later

    def _wait(self, update: _Update, work: Work, done: Callable[[], object]) -> None:
        """Have `done` called when there is news of the work for an update."""
        update.work, self._now = work, update
        self._handle(work.fileno(), done)

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
            self._begin_loading(self._ended(self._now), answer)

    def _begin_loading(self, update: _Update, answer: Answer) -> None:
        try:
            update.made = compiled_of(answer)
            loading = self._load(update.made)
        except Exception as error:  # whatever it is, it is the answer
            update.later.settle(partial(_raise, error))
            return
        if loading is None:
            self._begin_storing(update)
            return
        self._wait(update, loading, lambda: self._begin_storing(self._ended(update)))

    def _begin_storing(self, update: _Update) -> None:
        try:
            update.store = store = self._storing.begin(update.files)
        except ControlError as error:
            update.later.settle(partial(_raise, error))
            return
        if not self._storing.is_stuck:
            self._wait_for(update, store)
        elif self._is_in_force(update, store, is_late=True):
            self._answer(update)

    def _wait_for(self, update: _Update, store: Store) -> None:
        update.deadline_s = time.monotonic() + STORE_LIMIT_S
        self._wait(update, store, lambda: self._go_on_with(update, store))

    def _go_on_with(self, update: _Update, store: Store) -> None:
        """Put rules in force whose files are written; answer when these have names."""
        if not store.has_ended():  # the thread told of an update before this one
            return
        self._ended(update)
        if update.is_in_force:
            self._answer(update)
        elif self._is_in_force(update, store):
            self._wait_for(update, store)

    def _is_in_force(
        self, update: _Update, store: Store, *, is_late: bool = False
    ) -> bool:
        """Put rules in force; say whether they are, and answer why they are not."""
        try:
            if not is_late:
                store.call.result()
            assert update.made is not None, "it was compiled"
            self._put(update.made)
        except Exception as error:  # whatever it is, it is the answer
            self._storing.drop(store)
            update.later.settle(partial(_raise, error))
            return False
        update.is_in_force, update.made = True, None
        self._storing.keep(store)
        return True

    def _answer(self, update: _Update) -> None:
        self._storing.look(is_late=True)
        update.later.settle(self._report)

    def expire(self) -> None:
        """End what takes too long for an update; call it every second or so."""
        update = self._now
        if update is None or time.monotonic() <= update.deadline_s:
            return
        most = f"{LIMIT_S:g} s"
        if update.store is not None:
            self._ended(update)  # the thread goes on
            if update.is_in_force or self._is_in_force(
                update, update.store, is_late=True
            ):
                self._answer(update)
        elif update.child is None:
            self.end(f"To load the programs takes more than {most}")
        else:
            self.end(f"To compile the rules takes more than {most}: use fewer")

    def end(self, reason: str) -> None:
        """End the update that is under way, if there is one, and say why."""
        update = self._now
        if update is None:
            return
        self._ended(update)
        if update.is_in_force:
            self._answer(update)
            return
        if update.store is not None:
            self._storing.drop(update.store)
        update.later.settle(lambda: _refuse(reason))

    def _ended(self, update: _Update) -> _Update:
        """End the work for an update; threads go on alone."""
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
