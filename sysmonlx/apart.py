# SPDX-License-Identifier: MIT
"""Work that a child process does; its answer is bounded, and so is the wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

#: Exit status of a child that ran out of memory, and of one that failed otherwise.
NO_MEMORY, FAILED = 3, 4
#: Exit status of a child that ended with the errno 0; then follow the others.
_ERRNO_0 = 64
_PART_BYTES = 1 << 20
#: A child that was killed ends within this time, unless a file system holds it.
_END_S = 1.0


class Answer(NamedTuple):
    """What a child wrote, and its exit status: negative is the signal that ended it.

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
    work: Callable[[int], bytes], limit_bytes: int, timeout_s: float | None = None
) -> Answer:
    """Return what `work` returns in a child process; it is given its own pipe.

    An OSError there becomes its number as exit status. Whatever ends the wait here,
    Ctrl-C too, ends the child.

    Raises:
        TimeoutError: that takes too long.
        TooLargeError: that is too much.
    """
    reader, writer = map(_above_standard, os.pipe())
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer_and_exit(work, writer)
    os.close(writer)
    try:
        data = _all_of(reader, limit_bytes, timeout_s)
        _, status = os.waitpid(child, 0)  # it closed the pipe: it ends
    except BaseException:
        _end(child)
        raise
    finally:
        os.close(reader)
    return Answer(data, os.waitstatus_to_exitcode(status))


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
    """Kill a child; one that a file system holds is left to it."""
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)


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
