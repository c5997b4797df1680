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
import time
from typing import Protocol

from sysmonlx.lines import Lines
from sysmonlx.spool import (
    RETRY_S,
    SPOOL_LIMIT_BYTES,
    TRY_LATER,
    SpoolingSink,
    wait_writable,
)
from sysmonlx.syslog import SEND_FLAGS, Datagrams, log_socket, prefix

#: Bytes of one write to a stream or a file.
CHUNK_BYTES = 256 << 10

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


class FileSink(SpoolingSink):
    """A file that lines are appended to; a new one is for its owner alone.

    A full disk is tried again every `retry_s` seconds, and goes on within the line.
    """

    def __init__(
        self,
        path: str,
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(spool_limit_bytes, retry_s)
        self._path = path
        self._fd: int | None = None
        self._stuck = False
        self._connected()

    def fileno(self) -> int | None:
        """Return a FIFO's descriptor; a regular file cannot be polled."""
        return None if self._fd is None or _is_regular(self._fd) else self._fd

    def reopen(self) -> None:
        """Open the path anew: the file was moved away."""
        self._disconnect()
        self._retry_at = 0.0
        self._connected()  # who rotates waits for the new file
        self.flush()

    def _connected(self) -> bool:
        if self._fd is not None and not self._stuck:
            return True
        if not self._may_retry():
            return False
        self._stuck = False
        try:
            self._fd = _appended(self._path) if self._fd is None else self._fd
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror}"
        return self._fd is not None

    def _disconnect(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._spool.restart()

    def _write_some(self) -> bool:
        if self._fd is None:
            return False
        data = self._spool.chunk(b"\n", CHUNK_BYTES)
        self._spool.written(os.write(self._fd, data), b"\n")
        return True

    def _failed(self, error: OSError) -> bool:
        if error.errno not in TRY_LATER:
            self.trouble = f"{self._path}: {error.strerror}"
            self._stuck = True
            self._retry_at = time.monotonic() + self._retry_s
            if error.errno == errno.EPIPE:
                self._disconnect()
        return False


class StdoutSink(SpoolingSink):
    """Standard output. Once its reader is gone, everything is lost, and counted.

    The descriptor may be shared with other programs, so it stays blocking: it is
    polled, and written PIPE_BUF bytes at a time, which a writable pipe takes at once.
    """

    def __init__(self, fd: int = 1, spool_limit_bytes: int = SPOOL_LIMIT_BYTES) -> None:
        super().__init__(spool_limit_bytes, 0)
        self._fd: int | None = fd

    def fileno(self) -> int | None:
        """Return the descriptor of a pipe or terminal; a file cannot be polled."""
        return None if self._fd is None or _is_regular(self._fd) else self._fd

    def reopen(self) -> None:
        """Do nothing: standard output cannot be opened anew."""

    def _connected(self) -> bool:
        if self._fd is None:
            self._spool.drop_all("output closed")
        return self._fd is not None

    def _disconnect(self) -> None:
        self._fd = None  # not ours to close

    def _write_some(self) -> bool:
        if self._fd is None or not wait_writable(self._fd, 0):
            return False
        data = self._spool.chunk(b"\n", select.PIPE_BUF)
        self._spool.written(os.write(self._fd, data), b"\n")
        return True

    def _failed(self, error: OSError) -> bool:
        if error.errno in TRY_LATER:
            return False
        self.trouble = f"standard output: {error.strerror}"
        if error.errno in _CLOSED:
            self._disconnect()
        return error.errno in _CLOSED


def _appended(path: str) -> int:
    """Open a file to append to, beginning a line; O_NONBLOCK is for a FIFO's sake.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if _is_regular(fd) and _ends_within_line(path):
            os.write(fd, b"\n")
    except OSError:
        os.close(fd)
        raise
    return fd


def _ends_within_line(path: str) -> bool:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


def _is_regular(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
