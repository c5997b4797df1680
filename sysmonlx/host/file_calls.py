# SPDX-License-Identifier: MIT
"""Calls of files that may hang, each in a thread of its own.

A file system that does not answer stops nobody: the caller looks again later. Such a
thread has a table of descriptors for itself. Therefore the process can end, by SIGKILL
too, while the thread hangs: only that one file is held then, no lock, no socket and no
program of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from sysmonlx.errors import CaptureError
from sysmonlx.host import capabilities

T = TypeVar("T")

#: A call that takes longer, in seconds, counts as one that does not answer.
PATIENCE_S = 2.0
#: A thread that was started is ready within this time; nothing that it does can block.
_READY_S = 1.0
_SYS_CLOSE_RANGE, _CLOSE_RANGE_UNSHARE = 436, 2  # v5.9, <linux/close_range.h>
_FIRST_AFTER_STANDARD, _LAST = 3, 0xFFFFFFFF
#: What a thread tells at the end of a call, and how much of that is read at once.
_ENDED, _HEARD_BYTES = b"e", 64


class Call(Generic[T]):
    """One call that a `Worker` makes."""

    def __init__(
        self, call: Callable[[], T], tell: Callable[[], object] = lambda: None
    ) -> None:
        """Take what is to be called, and `tell`, which the thread calls afterwards."""
        self._call: Callable[[], T] | None = call
        self._tell = tell
        self._ended = threading.Event()
        self._value: T
        self._error: BaseException | None = None
        self._begun_s = time.monotonic()

    def make(self) -> None:
        """Make the call; in the thread.

        Neither the function nor what it held is kept: that may be the call's owner.
        The collector looks at no circle that was there when the rules changed.
        """
        call, self._call = self._call, None
        assert call is not None, "a call is made once"
        try:
            self._value = call()
        except BaseException as error:
            inner = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.clear_frames(inner)
            self._error = error.with_traceback(inner)
        del call
        self._ended.set()
        self._tell()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `timeout_s` at most; return whether the call has ended."""
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


class Worker:
    """A thread without capabilities, with its own descriptors; makes calls in turn.

    It cannot be ended while a call hangs; whoever began that goes on without it.
    """

    def __init__(self, keeps: int = -1) -> None:
        """Start; of the descriptors that are open, the thread has `keeps`.

        Raises:
            OSError: no thread can be started.
        """
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._ready = threading.Event()
        self._keeps = keeps
        self._here, self._there = socket.socketpair()
        try:
            threading.Thread(target=self._run, name="file", daemon=True).start()
        except RuntimeError as error:
            self._close_pair()
            raise OSError(errno.EAGAIN, "no thread can be started") from error
        self._ready.wait(_READY_S)

    def _close_pair(self) -> None:
        self._here.close()
        self._there.close()

    def begin(self, call: Callable[[], T], *, tells: bool = False) -> Call[T]:
        """Have a call made, after those before it.

        With `tells`, `fileno` becomes readable at its end. The calls of one worker
        either tell or hand descriptors over.
        """
        begun = Call(call, self._tell) if tells else Call(call)
        self._calls.put(begun)
        return begun

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; `hear` reads it."""
        return self._here.fileno()

    def hear(self) -> None:
        """Read what calls have told: look which of them have ended."""
        with contextlib.suppress(OSError):
            while self._here.recv(_HEARD_BYTES, socket.MSG_DONTWAIT):
                pass

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # nobody listens, or enough was told
            self._there.send(_ENDED, socket.MSG_DONTWAIT)

    def end(self) -> None:
        """Let the thread end after its calls; its files are closed then."""
        self._calls.put(None)
        self._close_pair()

    def hand_over(self, fd: int) -> None:
        """In the thread: give a descriptor to the others."""
        try:
            socket.send_fds(self._there, [b"f"], [fd])
        finally:
            os.close(fd)

    def take_over(self) -> int:
        """Return the descriptor that was handed over; not for the thread."""
        _, fds, _, _ = socket.recv_fds(self._here, 1, 1)
        return fds[0]

    def close_files(self) -> None:
        """In the thread: close what calls have left open."""
        _stand_alone({self._keeps, self._there.fileno()})

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with contextlib.suppress(CaptureError):
            capabilities.drop_in_thread()
        self.close_files()
        self._ready.set()
        while (call := self._calls.get()) is not None:
            call.make()
            del call  # what it holds goes with its owner


def _stand_alone(keep: set[int]) -> None:
    """Share no descriptors with other threads; have the standard ones and `keep`."""
    first, flags = _FIRST_AFTER_STANDARD, _CLOSE_RANGE_UNSHARE
    for kept in sorted(each for each in keep if each >= _FIRST_AFTER_STANDARD):
        if kept > first:
            if _close_range(first, kept - 1, flags) != 0:
                return  # the table is shared still, before v5.9: close nothing
            flags = 0
        first = kept + 1
    _close_range(first, _LAST, flags)


def _close_range(first: int, last: int, flags: int) -> int:
    unsigned = ctypes.c_uint
    number = ctypes.c_long(_SYS_CLOSE_RANGE)
    libc = ctypes.CDLL(None)
    return int(libc.syscall(number, unsigned(first), unsigned(last), unsigned(flags)))
