# SPDX-License-Identifier: MIT
"""One call that a thread of its own makes while its caller goes on."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ThreadCall(Generic[T]):
    """A call that has begun. Its descriptor is readable when the call has ended.

    The thread has the capabilities and the descriptors of the thread that made it. No
    signal is delivered to it. The end of the process does not wait for it.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        """Begin to call `work`.

        Raises:
            OSError: no thread or no descriptor can be had.
        """
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError as error:
            os.close(self._fd)
            raise OSError(str(error)) from error

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error  # `result` raises it, where it is heard
        os.eventfd_write(self._fd, 1)  # behind it the descriptor is the caller's alone

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._fd

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Say whether the call has ended, or ends within this time in seconds."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def result(self) -> T | None:
        """Return what `work` returned, and close the descriptor.

        Call it once, when the call has ended.

        Raises:
            BaseException: what `work` raised.
        """
        os.close(self._fd)
        if self._error is not None:
            raise self._error
        return self._result
