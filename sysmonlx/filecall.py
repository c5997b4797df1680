# SPDX-License-Identifier: MIT
"""Calls of files that may hang, each in a thread of its own.

A file system that does not answer stops nobody: the caller looks again later.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sysmonlx import capabilities
from sysmonlx.errors import CaptureError

T = TypeVar("T")

#: A call that takes longer, in seconds, counts as one that does not answer.
PATIENCE_S = 2.0


class Call(Generic[T]):
    """One call that is under way in a thread of its own, without any capability.

    The thread cannot be ended: a call that hangs stays, and whoever began it goes on.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        """Begin.

        Raises:
            OSError: no thread can be started.
        """
        self._call = call
        self._ended = threading.Event()
        self._value: T
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._discard: Callable[[T], None] | None = None
        self._begun_s = time.monotonic()
        try:
            threading.Thread(target=self._run, name="filecall", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread can be started") from error

    def _run(self) -> None:
        with contextlib.suppress(CaptureError):
            capabilities.drop_in_thread()
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._ended.set()
            discard = self._discard
        if discard is not None and self._error is None:
            discard(self._value)

    def wait(self, timeout_s: float) -> bool:
        """Return whether the call has ended, after so long at most."""
        return self._ended.wait(timeout_s)

    @property
    def is_late(self) -> bool:
        """Whether it has not ended within the time that a call may take."""
        late = time.monotonic() - self._begun_s > PATIENCE_S
        return late and not self._ended.is_set()

    def result(self) -> T:
        """Return what an ended call returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def give_up(self, discard: Callable[[T], None]) -> None:
        """Have `discard` take the result, whenever it comes: nobody waits for it."""
        with self._lock:
            if not self._ended.is_set():
                self._discard = discard
                return
        if self._error is None:
            discard(self._value)
