# SPDX-License-Identifier: MIT
"""A file, or a FIFO, as a sink."""

from __future__ import annotations

import errno
import os
import stat

from sysmonlx.host.root_files import open_file
from sysmonlx.output.sinks.spool import (
    RETRY_S,
    SPOOL_LIMIT_BYTES,
)
from sysmonlx.output.sinks.streams import Stream, StreamSink, examined


class FileSink(StreamSink):
    """A file that lines are appended to, or a FIFO; a new file is for its owner alone.

    `host.root_files` says which places are refused.
    """

    def __init__(
        self,
        path: str,
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self._path = path
        super().__init__(path, spool_limit_bytes, retry_s)

    def _opened(self) -> Stream:
        return examined(_appended(self._path))

    def _failed(self, error: OSError) -> bool:
        super()._failed(error)
        if error.errno == errno.EPIPE:
            self._disconnect()
        return False


def _appended(path: str) -> int:
    """Open a file to append to; a line that another program left open is ended.

    Raises:
        OSError: it cannot be opened, or its place is one that other users control.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    fd = open_file(path, flags, regular_only=False)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and _ends_within_line(fd):
            os.write(fd, b"\n")
    except OSError:
        os.close(fd)
        raise
    return fd


def _ends_within_line(fd: int) -> bool:
    # The same file, opened for reading. A thread may have descriptors of its own.
    with open(f"/proc/thread-self/fd/{fd}", "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")
