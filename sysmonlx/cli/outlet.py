# SPDX-License-Identifier: MIT
"""Standard output of the live view: written without waiting for its reader.

The thread of the view alone writes here. A terminal or a pipe is opened anew, so that
its own descriptor does not block; the one that other programs share stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time

#: Errors that say that nobody reads any more.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)
#: Bytes of one write.
_CHUNK = 1 << 16


class GoneError(Exception):
    """Nobody reads what is written: the reader has ended, the terminal has gone."""


class Outlet:
    """Bytes on their way to a descriptor; those that it does not take at once wait."""

    def __init__(self, fd: int) -> None:
        self._fd, self._is_own, self._chunk = fd, False, _CHUNK
        mode = os.fstat(fd).st_mode
        self.is_regular = stat.S_ISREG(mode)
        if not self.is_regular and not self._open_anew(fd):
            self._chunk = select.PIPE_BUF  # a writable pipe takes as many
        self._data = bytearray()
        self.error: OSError | None = None
        """The last error, where bytes may have been lost: a full disk, say."""

    def _open_anew(self, fd: int) -> bool:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._fd = os.open(f"/proc/self/fd/{fd}", flags)
            self._is_own = True
        return self._is_own

    @property
    def fd(self) -> int:
        """The descriptor to poll for writing."""
        return self._fd

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that were taken and are not written yet."""
        return len(self._data)

    def push(self, data: bytes) -> None:
        """Take bytes; `pump` writes them."""
        self._data += data

    def pump(self) -> None:
        """Write what can be written now.

        Raises:
            GoneError: nobody reads.
        """
        while self._data and self._is_ready():
            try:
                written = os.write(self._fd, memoryview(self._data)[: self._chunk])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    raise GoneError from error
                self.error = error
                return
            del self._data[:written]

    def _is_ready(self) -> bool:
        if self.is_regular or self._is_own:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

    def drain(self, timeout_s: float) -> None:
        """Write the bytes that wait, for `timeout_s` at most.

        Raises:
            GoneError: nobody reads.
        """
        until_s = time.monotonic() + timeout_s
        self.pump()
        while self._data and self.error is None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(left_s * 1000)
            self.pump()

    def drop(self) -> int:
        """Forget what waits; return how many line feeds are among it."""
        lost = self._data.count(b"\n")
        self._data.clear()
        return lost

    def close(self) -> None:
        """Close the descriptor, unless it is that of others."""
        if self._is_own:
            self._is_own = False
            os.close(self._fd)
