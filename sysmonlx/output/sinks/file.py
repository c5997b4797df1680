# SPDX-License-Identifier: MIT
"""A file, or a FIFO, as a sink."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from sysmonlx.host.access_lists import gid_of, give_group
from sysmonlx.host.root_files import open_file
from sysmonlx.output.sinks.datagrams import file_prefix
from sysmonlx.output.sinks.spool import (
    RETRY_S,
    SPOOL_LIMIT_BYTES,
)
from sysmonlx.output.sinks.streams import Stream, StreamSink, examined

#: Rights of the owner and of the group, as bits.
_READ_WRITE, _READ = 6, 4


class FileSink(StreamSink):
    """A file that lines are appended to, or a FIFO; a new file is for its owner alone.

    `group` may read it, too. With `prefix` lines begin as those of a log daemon do.
    `host.root_files` says which places are refused. A file that was moved away or
    removed is no longer written to: `attend` opens the path anew.
    """

    def __init__(
        self,
        path: str,
        group: str = "",
        prefix: str = "",
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self._path = path
        self._group = group
        self._has_prefix = bool(prefix)
        self._begun_s, self._begins_with = -1, ""
        self._known_as = ""
        self._remark = ""
        super().__init__(path, spool_limit_bytes, retry_s)

    def before(self, wall_s: int) -> str:
        """Return what each line of that second begins with, where lines have that."""
        if self._has_prefix and wall_s != self._begun_s:
            self._begun_s, self._begins_with = wall_s, file_prefix(wall_s)
        return self._begins_with

    def attend(self) -> None:
        """Open the path anew where it is not that of the open file any more.

        The kernel says what an open file is called now, without asking a file system.
        """
        if not self._known_as or self._is_busy():
            return
        if self._name_now() != self._known_as:
            self._open_anew()
            self.flush()

    def _is_busy(self) -> bool:
        """Return whether a thread is opening or writing."""
        return self._opening is not None or self._writing is not None

    def _name_now(self) -> str:
        stream = self._stream
        if stream is None or stream.shown_fd < 0 or not stream.is_regular:
            return ""
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/self/fd/{stream.shown_fd}")
        return ""

    def _taken(self, stream: Stream) -> Stream:
        self._stream = taken = super()._taken(stream)
        self._known_as = self._name_now()
        return taken

    def _opened(self) -> Stream:
        fd = _appended(self._path)
        self._remark = self._let_group_in(fd)
        return examined(fd)

    def _let_group_in(self, fd: int) -> str:
        """Let the group read; return why that cannot be. Lines are written then too."""
        if not self._group or not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        try:
            give_group(fd, gid_of(self._group), _READ_WRITE, _READ)
        except OSError as error:
            return f"{self._path}: for root alone: {error.strerror}"
        return ""

    def _open(self, wait_s: float) -> None:
        super()._open(wait_s)
        self.trouble = self.trouble or self._remark

    def _took(self, size_bytes: int) -> None:
        super()._took(size_bytes)
        self.trouble = self._remark

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
