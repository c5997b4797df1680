# SPDX-License-Identifier: MIT
"""Work that a child process does; its answer is bounded, and so is the wait for it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable
from errno import ESRCH
from typing import NamedTuple, NoReturn

#: Exit status of a child that ran out of memory, and of one that failed otherwise.
NO_MEMORY, FAILED = 3, 4
#: Exit status of a child that ended with the errno 0; then follow the others.
_ERRNO_0 = 64
_PART_BYTES = 1 << 20
#: After this time a person wants to know what is waited for.
LONG_WAIT_S = 2.0
#: A child that was killed ends within this time, unless a file system holds it.
_END_S = 1.0
#: prctl(2): the signal to get when the parent ends.
_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = (1 << 31) - 1
#: A child of a daemon gives way to it, and is what a lack of memory ends first.
_NICE, _OOM_SCORE = 10, "500"

#: Children that were killed, and had not ended when that was waited for.
_left: list[int] = []


class Answer(NamedTuple):
    """The output of a child, and its exit status: negative is the signal that ended it.

    With the status FAILED it wrote the error, as one text.
    """

    data: bytes
    status: int


class TooLargeError(Exception):
    """The answer has more bytes than it may have."""


def _above_standard(fd: int) -> int:
    """Return a descriptor that is none of the standard streams, whose number it had."""
    if fd > 2:
        return fd
    other = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return other


def ask(
    work: Callable[[int], bytes],
    limit_bytes: int,
    timeout_s: float | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Answer:
    """Return what `work` returns in a child process; it is given its own pipe.

    `on_wait` is called once where nothing has come for `LONG_WAIT_S`.

    An OSError there becomes its number as exit status. Whatever ends the wait here,
    Ctrl-C too, ends the child.

    Raises:
        TimeoutError: that takes too long.
        TooLargeError: that is too much.
    """
    reader, child = _begun(work)
    try:
        if on_wait is not None and not _has_news(reader, LONG_WAIT_S):
            on_wait()
        data = _all_of(reader, limit_bytes, timeout_s)
        _, status = os.waitpid(child, 0)  # it closed the pipe: it ends
    except BaseException:
        _end(child)
        raise
    finally:
        os.close(reader)
    return Answer(data, os.waitstatus_to_exitcode(status))


def _begun(work: Callable[[int], bytes]) -> tuple[int, int]:
    """Begin work in a child; return the pipe to read its answer from, and its number.

    Raises:
        OSError: there is no process to be had, or no pipe.
    """
    _take_leave()
    reader, writer = map(_above_standard, os.pipe())
    try:
        child = os.fork()
    except BaseException:
        os.close(reader)
        os.close(writer)
        raise
    if child == 0:
        os.close(reader)
        _answer_and_exit(work, writer)
    os.close(writer)
    return reader, child


class Child:
    """Work in a child that nobody waits for: `fileno` is readable when there is news.

    The child holds nothing of this process but the pipe, ends with it, and takes no
    signal for it. It is a copy of this thread alone: locks that other threads hold are
    held there for ever. Its work may compute, and allocate; nothing else.
    """

    def __init__(self, work: Callable[[], bytes], limit_bytes: int) -> None:
        """Start the child, which runs `work`.

        Raises:
            OSError: there is no process to be had, or no pipe.
        """
        self._limit_bytes = limit_bytes
        self._data = bytearray()
        prctl = ctypes.CDLL(None).prctl  # found here: to look it up takes a lock
        parent = os.getpid()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._reader, self.pid = _begun(
                lambda pipe: _alone(work, pipe, parent, prctl)
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.set_blocking(self._reader, False)
        with contextlib.suppress(OSError):  # more than the user may have: 64 KiB do
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, _PART_BYTES)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._reader

    def take(self) -> Answer | None:
        """Take what is there; return the answer once it is whole. Then call `end`.

        Raises:
            TooLargeError: that is too much.
        """
        with contextlib.suppress(BlockingIOError):
            part = os.read(self._reader, _PART_BYTES)
            self._data += part
            if len(self._data) > self._limit_bytes:
                raise TooLargeError
            if not part:
                _, status = os.waitpid(self.pid, 0)  # the pipe is closed: it ends
                self.pid = 0
                return Answer(bytes(self._data), os.waitstatus_to_exitcode(status))
        return None

    def wait(self, timeout_s: float) -> Answer:
        """Wait for the answer.

        Raises:
            TimeoutError: that takes too long.
            TooLargeError: that is too much.
        """
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while (left_s := deadline - time.monotonic()) > 0:
            if poll.poll(left_s * 1000) and (answer := self.take()):
                return answer
        raise TimeoutError

    def end(self) -> None:
        """End the child, and give back what it took."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
        if self.pid:
            _end(self.pid)
            self.pid = 0


def _alone(
    work: Callable[[], bytes],
    pipe: int,
    parent: int,
    prctl: Callable[[int, int, int, int, int], int],
) -> bytes:
    """Do work with nothing that the parent has, and less right to the processors.

    Raises:
        OSError: the parent ended meanwhile.
    """
    signal.set_wakeup_fd(-1)  # it is the parent's
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, _MOST_DESCRIPTORS)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(OSError):  # seccomp may forbid it
        os.nice(_NICE)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE)
    return work()


def _has_news(reader: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _all_of(reader: int, limit_bytes: int, timeout_s: float | None) -> bytes:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    data = bytearray()
    while True:
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not poll.poll(None if left_s is None else left_s * 1000):
            raise TimeoutError
        part = os.read(reader, _PART_BYTES)
        if not part:
            return bytes(data)
        data += part
        if len(data) > limit_bytes:
            raise TooLargeError


def _end(child: int) -> None:
    """Kill a child, and wait for its end.

    One that a file system holds, or that a busy machine lets wait, is left. It is
    waited for when the next child begins.
    """
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() >= deadline:
                _left.append(child)
                return
            time.sleep(0.005)


def _take_leave() -> None:
    """Let go of the children that have ended after they were left."""
    for child in tuple(_left):
        try:
            has_ended = os.waitpid(child, os.WNOHANG)[0] == child
        except OSError:
            has_ended = True
        if has_ended:
            _left.remove(child)


def _answer_and_exit(work: Callable[[int], bytes], writer: int) -> NoReturn:
    status = FAILED
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        left = memoryview(work(writer))
        while left:
            left = left[os.write(writer, left) :]
        status = 0
    except MemoryError:
        status = NO_MEMORY
    except OSError as error:
        status = _ERRNO_0 + (error.errno or 0)
    except Exception as error:
        os.write(writer, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(status)


def errno_of(status: int) -> int | None:
    """Return the errno of the OSError that ended a child, None where none did."""
    return status - _ERRNO_0 if status >= _ERRNO_0 else None
