# SPDX-License-Identifier: MIT
"""A Unix socket that programs connect to, to read events: a line each.

While nobody reads, lines wait in the spool, and the first reader to come has them. Each
of several readers has every line from when it connected. For each a line is due,
and is delivered, waits or is lost: `more_due` counts the lines of all readers but one.
"""

from __future__ import annotations

import select
import socket
import time

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks.listener import Listener, peer_of
from sysmonlx.output.sinks.readers import Reader, ReaderGoneError, has_place
from sysmonlx.output.sinks.spool import (
    RETRY_S,
    SPOOL_LIMIT_BYTES,
    SpoolingSink,
    wait_writable,
)

#: Connections taken at a look, so that any number of them costs a bounded time.
_ACCEPTS = 4
#: Longest wait for one reader while the sink closes, in seconds.
_CLOSE_LOOK_S = 0.05
#: Readers that were dropped and are named one by one, between two looks.
_NAMED = 4


class SocketSink(SpoolingSink):
    """The event socket at `path`, for root, and for a group where one is given.

    Nothing is read from a reader. One for which more lines wait than the spool may hold
    is disconnected: what it had yet to take is lost and counted, or waits for the next
    reader if it was the only one.
    """

    def __init__(
        self,
        path: str,
        group: str = "",
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(spool_limit_bytes, retry_s)
        self._path = path
        self._group = group
        self._listener: Listener | None = None
        self._readers: dict[int, Reader] = {}
        self._epoll = select.epoll()
        self._gone_delivered = 0
        self._counts = {"dropped": 0, "refused": 0}
        self._told_dropped = 0
        self._news: list[str] = []
        self._connected()

    @property
    def delivered(self) -> int:
        """Lines that the kernel took, for each reader."""
        readers = sum(each.spool.delivered for each in self._readers.values())
        return self._gone_delivered + readers

    @property
    def spooled(self) -> int:
        """Lines that wait, for each reader."""
        readers = (len(each.spool.messages) for each in self._readers.values())
        return len(self._spool.messages) + sum(readers)

    @property
    def spooled_bytes(self) -> int:
        """Size of the lines that wait; those of several readers are in memory once."""
        readers = (each.spool.size_bytes for each in self._readers.values())
        return max(self._spool.size_bytes, *readers, 0)

    @property
    def readers(self) -> dict[str, int]:
        """How many read now, and how many were dropped or refused."""
        return {"connected": len(self._readers), **self._counts}

    def news(self) -> list[str]:
        """Return a text for each reader that was dropped since the last call.

        It names the process and tells the numbers of lines. Readers beyond the first
        few are told by their number in one text.
        """
        told, self._news = self._news, []
        unnamed = self._counts["dropped"] - self._told_dropped - len(told)
        self._told_dropped = self._counts["dropped"]
        if unnamed:
            told.append(f"{self._path}: {unnamed} more readers were too slow")
        return told

    def fileno(self) -> int | None:
        """Return None: there may be several readers, flush() looks after each."""
        return None

    def write_framed(self, lines: Lines) -> None:
        """Take lines for every reader; without one they wait."""
        self._look()
        messages = lines.split()
        if not self._readers:
            self._spool.add(messages)
            self._spool.trim()
            return
        self.more_due += len(messages) * (len(self._readers) - 1)
        data = b"\n".join((*messages, b""))
        for reader in tuple(self._readers.values()):
            try:
                reader.take(messages, data)
            except ReaderGoneError:
                self._part(reader, "reader gone")
            else:
                if reader.is_too_slow:
                    self._drop(reader)

    def flush(self) -> None:
        """Look who came and went; send what waits."""
        self._look()
        for reader in tuple(self._readers.values()):
            if reader.spool.messages:
                self._flush(reader)

    def attend(self) -> None:
        """See to it that the path still leads here."""
        listener = self._listener
        if listener is not None and not listener.is_in_place():
            self._epoll.unregister(listener.fileno())
            listener.close()
            self._listener, self._retry_at = None, 0.0
        self.flush()

    def reopen(self) -> None:
        """See to it that the path leads here; readers stay."""
        self._retry_at = 0.0
        self.attend()

    def close(self, timeout_s: float) -> None:
        """Send what waits for `timeout_s` at most, count the rest as lost, close."""
        deadline_s = time.monotonic() + timeout_s
        self.flush()
        while (left_s := deadline_s - time.monotonic()) > 0 and self._readers:
            slow = [each for each in self._readers.values() if each.spool.messages]
            if not slow:
                break
            wait_writable(slow[0].connection.fileno(), min(left_s, _CLOSE_LOOK_S))
            self.flush()
        for reader in tuple(self._readers.values()):
            self._part(reader, "not written at stop", keeps=False)
        self._spool.drop_all("not written at stop")
        self._disconnect()
        self._epoll.close()

    def _look(self) -> None:
        """Take who connects, let go of who went, try to listen where that failed."""
        if self._listener is None and not self._connected():
            return
        for fd, _ in self._epoll.poll(0):
            if (reader := self._readers.get(fd)) is not None:
                self._part(reader, "reader gone")
            else:
                self._accept()
        self._tell()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            connection = self._listener.accept() if self._listener else None
            if connection is None:
                return
            try:
                self._admit(connection)
            except OSError:
                connection.close()

    def _admit(self, connection: socket.socket) -> None:
        pid, uid = peer_of(connection)
        is_stranger = uid != 0 and not self._group
        if is_stranger or not has_place(uid, self._readers.values()):
            self._counts["refused"] += 1
            connection.close()
            return
        connection.shutdown(socket.SHUT_RD)  # who writes to us is told so
        fd = connection.fileno()
        self._epoll.register(fd, 0)  # tells when the other end is closed, only
        reader = Reader(connection, uid, self._spool.limit_bytes, pid)
        if not self._readers:
            reader.spool.add(self._spool.take_all())
        self._readers[fd] = reader
        self._flush(reader)

    def _flush(self, reader: Reader) -> None:
        try:
            reader.flush()
        except ReaderGoneError:
            self._part(reader, "reader gone")

    def _drop(self, reader: Reader) -> None:
        """Let go of a reader that is too slow, and note the exact number of lines."""
        self._counts["dropped"] += 1
        taken, left = reader.spool.delivered, len(reader.spool.messages)
        lost_before = self.lost
        self._part(reader, "reader too slow")
        lost = self.lost - lost_before
        if len(self._news) < _NAMED:
            wait = f", {left - lost} wait for the next reader" if left > lost else ""
            self._news.append(
                f"{self._path}: {reader} was too slow and is disconnected: it took"
                f" {taken} lines; of {left} more {lost} are lost{wait}"
            )

    def _part(self, reader: Reader, why: str, *, keeps: bool = True) -> None:
        """Let go of a reader; what the last one had yet to take waits again."""
        fd = reader.connection.fileno()
        del self._readers[fd]
        self._epoll.unregister(fd)
        reader.connection.close()
        self._gone_delivered += reader.spool.delivered
        messages = reader.spool.take_all()
        if keeps and not self._readers:
            self._spool.add(messages)
            self._spool.trim()
        elif messages:
            self._spool.lose(why, len(messages))
        self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self.trouble = "" if self._readers else f"{self._path}: nobody reads"

    def _connected(self) -> bool:
        if self._listener is None and self._may_retry():
            try:
                self._listener = Listener(self._path, self._group)
                self._epoll.register(self._listener.fileno(), select.EPOLLIN)
                self._pause_s = self._retry_s
                self._tell()
            except OSError as error:
                self.trouble = f"{self._path}: {error.strerror}"
        return self._listener is not None

    def _disconnect(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _write_some(self) -> bool:
        return False

    def _failed(self, error: OSError) -> bool:
        return False
