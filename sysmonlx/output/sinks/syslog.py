# SPDX-License-Identifier: MIT
"""The socket of the log daemon as a sink: `/dev/log`."""

from __future__ import annotations

import errno
import socket

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks.datagrams import SEND_FLAGS, Datagrams, log_socket, prefix
from sysmonlx.output.sinks.spool import (
    CHUNK_BYTES,
    RETRY_S,
    SPOOL_LIMIT_BYTES,
    TRY_LATER,
    SpoolingSink,
)


class SyslogSink(SpoolingSink):
    """The socket of the log daemon, written to as syslog(3) does.

    Messages have facility LOG_USER, level LOG_INFO, and no pid.
    `path` is a datagram socket or, as syslog(3) allows, a stream socket. A datagram
    that the kernel took counts as delivered. A log daemon that ends may leave some of
    them unread (net.unix.max_dgram_qlen at most); no sender can know of it.
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
        """Return the socket, another one after each reconnect."""
        return self._socket.fileno() if self._socket else None

    def reopen(self) -> None:
        """Connect anew."""
        self._disconnect()
        self._retry_at = 0.0
        self.flush()

    def before(self, wall_s: int) -> str:
        """Return the beginning of a message, as syslog(3) writes it."""
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
            return True
        self._spool.sent(self._datagrams.send(log.fileno(), self._spool.messages))
        return self._datagrams.took_all

    def _failed(self, error: OSError) -> bool:
        if error.errno in TRY_LATER:
            return False
        if error.errno == errno.EMSGSIZE:
            self._spool.drop_first("longer than the log socket takes")
            return True
        self.trouble = f"{self._path}: {error.strerror}"
        self._disconnect()
        return True
