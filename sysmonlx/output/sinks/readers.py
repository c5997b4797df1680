# SPDX-License-Identifier: MIT
"""One reader of the event socket, and how many of them there may be."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable

from sysmonlx.output.sinks.datagrams import SEND_FLAGS
from sysmonlx.output.sinks.spool import CHUNK_BYTES, TRY_LATER, Spool

#: Root's readers have places that nobody else can take.
_MOST_OF_ROOT, _MOST_OF_OTHERS, _MOST_OF_A_USER = 8, 8, 2


class ReaderGoneError(Exception):
    """A reader that takes no more lines, for good."""


class Reader:
    """A connection, the user at its other end, and the lines that it has yet to take.

    The memory of a line that several readers have yet to take is there once.
    """

    def __init__(
        self, connection: socket.socket, uid: int, limit_bytes: int, pid: int = 0
    ) -> None:
        self.connection = connection
        self.uid = uid
        self._pid = pid
        self.spool = Spool(limit_bytes)

    def __str__(self) -> str:
        """Return which program of which user it is; a pid of 0 is not known."""
        pid = f"pid {self._pid}, " if self._pid else ""
        return f"reader ({pid}uid {self.uid})"

    def take(self, lines: list[bytes], data: bytes) -> None:
        """Send lines, behind those that wait; `data` has them with their newlines.

        Raises:
            ReaderGoneError: the lines that were not taken are in the spool.
        """
        spool = self.spool
        if spool.messages:
            spool.add(lines)
            self.flush()
            return
        try:
            sent = self._send(data)
        except ReaderGoneError:
            spool.add(lines)
            raise
        if sent == len(data):
            spool.delivered += len(lines)
            return
        spool.add(lines)
        spool.written(sent, b"\n")

    def flush(self) -> None:
        """Send what waits, as much as is taken at once.

        Raises:
            ReaderGoneError: the lines that were not taken are in the spool.
        """
        spool = self.spool
        while spool.messages:
            data = spool.chunk(b"\n", CHUNK_BYTES)
            sent = self._send(data)
            spool.written(sent, b"\n")
            if sent < len(data):
                return

    def _send(self, data: bytes) -> int:
        try:
            return self.connection.send(data, SEND_FLAGS)
        except OSError as error:
            if error.errno in TRY_LATER:
                return 0
            raise ReaderGoneError from error

    @property
    def is_too_slow(self) -> bool:
        """Whether more lines wait than may."""
        return self.spool.size_bytes > self.spool.limit_bytes


def has_place(uid: int, readers: Iterable[Reader]) -> bool:
    """Return whether one more reader of a user may connect."""
    by_user = Counter(each.uid for each in readers)
    if uid == 0:
        return by_user[0] < _MOST_OF_ROOT
    others = by_user.total() - by_user[0]
    return by_user[uid] < _MOST_OF_A_USER and others < _MOST_OF_OTHERS
