# SPDX-License-Identifier: MIT
"""The socket of the log daemon as a sink: `/dev/log`."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks.datagrams import SEND_FLAGS, Datagrams, log_socket, prefix
from sysmonlx.output.sinks.patient_sender import MOST, PatientSender
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

    While a thread sends what waits, nobody else sends: the order of lines stays.
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
        self._sender: PatientSender | None = None
        self._shall_reopen = False
        self._prefix_s = -1
        self._prefix = ""
        self._connected()

    def fileno(self) -> int | None:
        """Return the socket, another one after each reconnect."""
        return self._socket.fileno() if self._socket else None

    def reopen(self) -> None:
        """Connect anew, once a thread sends nothing."""
        self._shall_reopen = True
        self._retry_at = 0.0
        self.flush()

    def wants_writable(self) -> bool:
        """Return whether flush() should be called once fileno() is writable."""
        return not self.is_sent_aside and super().wants_writable()

    @property
    def is_sent_aside(self) -> bool:
        """Whether a thread sends lines that wait."""
        return self._sender is not None and self._sender.is_sending

    def send_aside(self) -> None:
        """Have a thread wait for room and send what waits.

        The caller is about to sleep: it would have to come back for each few lines.
        """
        log, spool = self._socket, self._spool
        if log is None or self._is_stream or not spool.messages or self.is_sent_aside:
            return
        if self._sender is None:
            with contextlib.suppress(OSError):  # no thread can be had: none is needed
                self._sender = PatientSender(log)
        if self._sender is not None:
            self._sender.begin(spool.hold_first(MOST))

    def flush(self) -> None:
        """Write lines of the spool; while a thread does that, look how far it is."""
        if not self._has_taken():
            return
        if self._shall_reopen:
            self._shall_reopen = False
            self._disconnect()
        super().flush()

    def _has_taken(self, wait_s: float = 0.0) -> bool:
        """Count what a thread has sent; False: it is at it."""
        if self._sender is None or not self._sender.is_sending:
            return True
        taken = self._sender.taken(wait_s)
        if taken is None:
            return False
        self._count(taken)
        return True

    def _count(self, taken: int) -> None:
        self._spool.release()
        self._spool.sent(taken)

    def close(self, timeout_s: float) -> None:
        """Write the spool for `timeout_s` at most, count the rest as lost, close."""
        end_s = time.monotonic() + timeout_s
        self._has_taken(timeout_s)
        self._end_sender()
        super().close(max(0.0, end_s - time.monotonic()))

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

    def _end_sender(self) -> None:
        """Let the thread go; it belongs to one socket."""
        if self._sender is not None:
            self._count(self._sender.stop())
            self._sender = None

    def _disconnect(self) -> None:
        self._end_sender()
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
