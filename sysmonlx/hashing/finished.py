# SPDX-License-Identifier: MIT
"""What the threads have finished; the thread that asks is woken once for all of it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Generic, TypeVar

from sysmonlx.hashing.jobs import Job

Token = TypeVar("Token")


class Finished(Generic[Token]):
    """Jobs that are over and not fetched yet, and the descriptor that tells of them.

    `lock` is that of the lanes. `take` and `take_error` are for the thread that asks;
    they take the lock. The other methods are for the threads that hash, which hold it;
    only `tell` is called without it.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._jobs: list[Job[Token]] = []
        self._is_told = self._is_unread = False
        self._error: Exception | None = None
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job[Token]) -> None:
        """Let a job be fetched."""
        self._jobs.append(job)

    def must_tell(self) -> bool:
        """Return whether to call `tell`: once for all that is not fetched yet."""
        if not self._jobs or self._is_told:
            return False
        self._is_told = True
        return True

    def tell(self) -> None:
        """Wake the thread that asks."""
        os.eventfd_write(self.eventfd, 1)

    def note(self, error: Exception) -> None:
        """Note an error that nobody expected; the first one is kept."""
        self._error = self._error or error

    def take(self) -> list[Job[Token]]:
        """Return the jobs that are over since the last call."""
        if not self._jobs and not self._is_unread:
            return []
        with self._lock:
            self._is_unread |= self._is_told
            self._is_told = False
            if self._is_unread:  # or will be: a thread writes without the lock
                with suppress(BlockingIOError):
                    os.eventfd_read(self.eventfd)
                    self._is_unread = False
            jobs, self._jobs = self._jobs, []
        return jobs

    def take_error(self) -> Exception | None:
        """Return the first error that was noted since the last call."""
        if self._error is None:
            return None
        with self._lock:
            error, self._error = self._error, None
        return error

    def close(self) -> None:
        """Close the descriptor: no thread writes to it any more."""
        os.close(self.eventfd)
        self.eventfd = -1
