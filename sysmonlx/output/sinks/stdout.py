# SPDX-License-Identifier: MIT
"""Standard output as a sink."""

from __future__ import annotations

import errno
import os
import select

from sysmonlx.host.file_calls import Worker
from sysmonlx.output.sinks.spool import (
    SPOOL_LIMIT_BYTES,
    wait_writable,
)
from sysmonlx.output.sinks.streams import Stream, StreamSink, examined

#: Errors that say that the reader is gone for good: standard output cannot be reopened.
_CLOSED = {errno.EPIPE, errno.EBADF, errno.EIO}


class StdoutSink(StreamSink):
    """Standard output.

    When its reader is gone, all further lines are lost, and counted.
    Other programs may share the descriptor, so it must stay blocking. It is polled
    before each write, and PIPE_BUF bytes are written at a time: a pipe that is writable
    takes that many at once.
    """

    def __init__(self, fd: int = 1, spool_limit_bytes: int = SPOOL_LIMIT_BYTES) -> None:
        self._fd: int | None = fd
        super().__init__("standard output", spool_limit_bytes, 0)

    def reopen(self) -> None:
        """Do nothing: standard output cannot be opened anew."""

    def _new_worker(self) -> Worker:
        return Worker(-1 if self._fd is None else self._fd)

    def _opened(self) -> Stream:
        return examined(-1 if self._fd is None else self._fd)

    def _open_for(self, worker: Worker) -> Stream:
        return self._opened()

    def _taken(self, stream: Stream) -> Stream:
        return stream

    def _close(self, stream: Stream) -> None:
        """Do nothing: standard output stays open for others."""

    def _connected(self) -> bool:
        if self._fd is None:
            self._spool.drop_all("output closed")
            return False
        return super()._connected()

    def _write_here(self, stream: Stream) -> bool:
        if not wait_writable(stream.fd, 0):
            return False
        data = self._spool.chunk(b"\n", select.PIPE_BUF)
        self._took(os.write(stream.fd, data))
        return True

    def _failed(self, error: OSError) -> bool:
        if error.errno not in _CLOSED:
            return super()._failed(error)
        self.trouble = f"{self._name}: {error.strerror}"
        self._disconnect()
        self._fd = None
        return True
