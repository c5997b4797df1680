# SPDX-License-Identifier: MIT
"""Where lines go: the system's log socket, a file, standard output.

No sink blocks, and none raises for what happens outside; see `spool`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from typing import Protocol

from sysmonlx.host.file_calls import Worker
from sysmonlx.host.root_files import open_file
from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks.datagrams import SEND_FLAGS, Datagrams, log_socket, prefix
from sysmonlx.output.sinks.spool import (
    RETRY_S,
    SPOOL_LIMIT_BYTES,
    TRY_LATER,
    SpoolingSink,
    wait_writable,
)
from sysmonlx.output.sinks.streams import CHUNK_BYTES, Stream, StreamSink, examined

#: A reader that is gone for good, as far as standard output goes.
_CLOSED = {errno.EPIPE, errno.EBADF, errno.EIO}


class Sink(Protocol):
    """What the pipeline may ask of every sink."""

    trouble: str
    """Why nothing is written at present, with the path; empty while all is well."""

    @property
    def delivered(self) -> int:
        """Lines that the kernel took."""

    @property
    def lost(self) -> int:
        """Lines given up, for all reasons."""

    @property
    def losses(self) -> dict[str, int]:
        """The same by reason."""

    @property
    def spooled(self) -> int:
        """Lines that wait."""

    @property
    def spooled_bytes(self) -> int:
        """Size of what waits."""

    def write(self, lines: list[bytes], wall_s: int) -> None:
        """Take `lines`, without newline, at `wall_s` seconds since the epoch."""

    def write_framed(self, lines: Lines) -> None:
        """Take lines that begin with what `before` returned."""

    def before(self, wall_s: int) -> str:
        """Return what each line begins with at that second since the epoch; ASCII."""

    def flush(self) -> None:
        """Write what waits, as far as that goes without blocking."""

    def wants_writable(self) -> bool:
        """Whether flush() should be called once fileno() is writable."""

    def fileno(self) -> int | None:
        """Return what to poll; changes on reconnect. None: flush() on a timer."""

    def reopen(self) -> None:
        """Open the destination anew, after rotation."""

    def close(self, timeout_s: float) -> None:
        """Write what waits for so long at most, count the rest as lost, close."""


class SyslogSink(SpoolingSink):
    """The log daemon's socket, written as syslog(3) does: LOG_USER, LOG_INFO, no pid.

    `path` is a datagram socket or, as syslog(3) allows, a stream socket. A datagram
    that the kernel took counts as delivered; those that a dying log daemon left
    unread (net.unix.max_dgram_qlen at most) are beyond what a sender can know.
    """

    def __init__(
        self,
        path: str = "/dev/log",
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(spool_limit_bytes, retry_s)
        self._path = path
        self._socket: socket.socket | None = None
        self._is_stream = False
        self._datagrams = Datagrams()
        self._prefix_s = -1
        self._prefix = ""
        self._connected()

    def fileno(self) -> int | None:
        """Return the socket; it changes on reconnect."""
        return self._socket.fileno() if self._socket else None

    def reopen(self) -> None:
        """Connect anew."""
        self._disconnect()
        self._retry_at = 0.0
        self.flush()

    def before(self, wall_s: int) -> str:
        """Return what syslog(3) puts before a message."""
        if wall_s != self._prefix_s:
            self._prefix_s = wall_s
            self._prefix = prefix(wall_s).decode()
        return self._prefix

    def _connected(self) -> bool:
        if self._socket is None and self._may_retry():
            try:
                self._socket = log_socket(self._path)
                self._is_stream = self._socket.type == socket.SOCK_STREAM
                self.trouble = ""
            except OSError as error:
                self.trouble = f"{self._path}: {error.strerror}"
        return self._socket is not None

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._spool.restart()

    def _write_at_once(self, lines: Lines) -> int:
        log = self._socket
        if log is None or self._is_stream:
            return 0
        return self._datagrams.send_all(log.fileno(), lines)

    def _write_some(self) -> bool:
        log = self._socket
        if log is None:
            return False
        if self._is_stream:
            data = self._spool.chunk(b"\0", CHUNK_BYTES)
            self._spool.written(log.send(data, SEND_FLAGS), b"\0")
        else:
            self._spool.sent(self._datagrams.send(log.fileno(), self._spool.messages))
        return True

    def _failed(self, error: OSError) -> bool:
        if error.errno in TRY_LATER:
            return False
        if error.errno == errno.EMSGSIZE:
            self._spool.drop_first("longer than the log socket takes")
            return True
        self.trouble = f"{self._path}: {error.strerror}"
        self._disconnect()
        return True


class FileSink(StreamSink):
    """A file that lines are appended to, or a FIFO; a new file is for its owner alone.

    Where it may be is told in `rootfiles`.
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


class StdoutSink(StreamSink):
    """Standard output. Once its reader is gone, everything is lost, and counted.

    The descriptor may be shared with other programs, so it stays blocking: it is
    polled, and written PIPE_BUF bytes at a time, which a writable pipe takes at once.
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
        """Do nothing: it is not ours to close."""

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


def _appended(path: str) -> int:
    """Open a file to append to, beginning a line.

    Raises:
        OSError: it cannot be opened, or others have a say in what it is.
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
    # The same file, for reading; the descriptor may be this thread's alone.
    with open(f"/proc/thread-self/fd/{fd}", "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")
