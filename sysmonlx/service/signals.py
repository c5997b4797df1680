# SPDX-License-Identifier: MIT
"""The signals that a service takes: noted when they come, obeyed by the loop."""

from __future__ import annotations

import contextlib
import os
import signal

_READ_BYTES = 4096


class Signals:
    """SIGTERM and SIGINT ask for the end, SIGHUP for a look at what is installed.

    `fileno` becomes readable with each signal, which ends the wait of an epoll.
    """

    def __init__(self) -> None:
        self.is_stop = False
        """Whether the end was asked for."""
        self._is_hang_up = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hang_up)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; `drain` reads it."""
        return self._read

    def drain(self) -> None:
        """Read what the signals have written."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, _READ_BYTES)

    def take_hang_up(self) -> bool:
        """Say whether a SIGHUP came since the last call."""
        was_hang_up, self._is_hang_up = self._is_hang_up, False
        return was_hang_up

    def close(self) -> None:
        """Close the pipe. The handlers stay: a late signal does not end the process."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)

    def _on_stop(self, *_: object) -> None:
        self.is_stop = True

    def _on_hang_up(self, *_: object) -> None:
        self._is_hang_up = True
