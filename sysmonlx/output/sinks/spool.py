# SPDX-License-Identifier: MIT
"""The common part of sinks: lines that cannot be written yet wait for the next try.

Lines wait in memory, in order, up to a limit. When it is reached, the newest are given
up and counted. The oldest are kept: a flood cannot push out of a stalled log what was
in it before.
"""

from __future__ import annotations

import errno
import select
import time
from abc import ABC, abstractmethod
from collections import deque
from itertools import islice

from sysmonlx.output.lines import Lines

SPOOL_LIMIT_BYTES = 8 << 20

#: First pause before a destination that went away is tried again, in seconds.
RETRY_S = 1.0
#: Each pause is twice as long as the one before, up to this many times the first. A new
#: line that waits makes it the first one again.
_LONGEST_PAUSES = 8

#: Bytes of one write to a stream.
CHUNK_BYTES = 256 << 10

#: Errors of a destination that is there but takes nothing right now.
TRY_LATER = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EINTR}


class Spool:
    """Messages that wait, oldest first, and counts of those that were here.

    A message is a line as it is sent. In a stream, `end` is the byte behind each.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.messages: deque[bytes] = deque()
        self.size_bytes = 0
        self.delivered = 0
        self.losses: dict[str, int] = {}
        self._written_bytes = 0  # of the first message, in a stream
        self._held = 0  # messages that a thread writes

    def add(self, messages: list[bytes]) -> None:
        """Take messages, even beyond the limit until `trim` is called."""
        self.messages.extend(messages)
        self.size_bytes += sum(map(len, messages))

    def trim(self) -> None:
        """Give up the newest messages that exceed the limit."""
        kept = max(self._held, self._written_bytes > 0)
        while self.size_bytes > self.limit_bytes and len(self.messages) > kept:
            self.size_bytes -= len(self.messages.pop())
            self.lose("spool full", 1)

    def lose(self, reason: str, count: int) -> None:
        """Count messages as lost."""
        self.losses[reason] = self.losses.get(reason, 0) + count

    def drop_first(self, reason: str) -> None:
        """Give up the oldest message."""
        self.size_bytes -= len(self.messages.popleft())
        self.lose(reason, 1)

    def drop_all(self, reason: str) -> None:
        """Give up everything that waits."""
        if self.messages:
            self.lose(reason, len(self.messages))
        self.messages.clear()
        self.size_bytes = self._written_bytes = self._held = 0

    def take_all(self) -> list[bytes]:
        """Return all messages, whole, and forget them: another spool has them now."""
        messages = [*self.messages]
        self.messages.clear()
        self.size_bytes = self._written_bytes = self._held = 0
        return messages

    def sent(self, count: int) -> None:
        """Forget the first `count` messages: they are delivered."""
        popleft = self.messages.popleft
        gone = [popleft() for _ in range(count)]
        self.size_bytes -= sum(map(len, gone))
        self.delivered += count

    def chunk(self, end: bytes, limit_bytes: int) -> bytes:
        """Return the next bytes of the stream, `limit_bytes` at most."""
        data, _ = self._next(end, limit_bytes)
        return data

    def hold(self, end: bytes, limit_bytes: int) -> bytes:
        """Return the next bytes too; their messages stay here until `release`."""
        data, self._held = self._next(end, limit_bytes)
        return data

    def hold_first(self, count: int) -> list[bytes]:
        """Return the first messages, `count` at most; they too stay until `release`."""
        taken = [*islice(self.messages, count)]
        self._held = len(taken)
        return taken

    def release(self) -> None:
        """End what holding began: `trim` may give up these messages again."""
        self._held = 0

    def _next(self, end: bytes, limit_bytes: int) -> tuple[bytes, int]:
        size = 0
        taken = []
        for message in self.messages:
            taken.append(message)
            size += len(message)
            if size - self._written_bytes >= limit_bytes:
                break
        data = end.join((*taken, b""))
        start = self._written_bytes
        return data[start : start + limit_bytes], len(taken)

    @property
    def is_within_line(self) -> bool:
        """Whether the beginning of the first message was written, and not its end."""
        return self._written_bytes > 0

    def left_of_first(self, end: bytes) -> int:
        """Return the bytes of the first message that are still to be written."""
        if not self.messages:
            return 0
        return len(self.messages[0]) + len(end) - self._written_bytes

    def written(self, size_bytes: int, end: bytes) -> None:
        """Account for bytes of `chunk` that were written."""
        size_bytes += self._written_bytes
        while self.messages:
            whole = len(self.messages[0]) + len(end)
            if size_bytes < whole:
                break
            size_bytes -= whole
            self.sent(1)
        self._written_bytes = size_bytes

    def restart(self) -> None:
        """Begin with the whole first message again: the stream is another one."""
        self._written_bytes = 0


class SpoolingSink(ABC):
    """A sink with a spool; see `base.Sink` for its public methods.

    Subclasses say how to connect and how to write: the abstract methods below. The
    first pause after an error is `retry_s` seconds.
    """

    def __init__(self, spool_limit_bytes: int, retry_s: float) -> None:
        self._spool = Spool(spool_limit_bytes)
        self._retry_s = retry_s
        self._pause_s = retry_s
        self._retry_at = 0.0
        self.trouble = ""
        self.more_due = 0

    @property
    def delivered(self) -> int:
        """Lines that the kernel took."""
        return self._spool.delivered

    @property
    def lost(self) -> int:
        """Lines given up, for all reasons."""
        return sum(self._spool.losses.values())

    @property
    def losses(self) -> dict[str, int]:
        """Lines given up by reason."""
        return dict(self._spool.losses)

    @property
    def spooled(self) -> int:
        """Lines that wait."""
        return len(self._spool.messages)

    @property
    def spooled_bytes(self) -> int:
        """Size of the lines that wait, in bytes."""
        return self._spool.size_bytes

    @property
    def readers(self) -> dict[str, int]:
        """Nothing: this sink has no readers that come and go."""
        return {}

    def news(self) -> list[str]:
        """Return nothing: what happens to most sinks shows in trouble and losses."""
        return []

    def attend(self) -> None:  # noqa: B027  # most destinations need none
        """Look after the destination."""

    def write(self, lines: list[bytes], wall_s: int) -> None:
        """Take lines without newline, at `wall_s` seconds since the epoch."""
        before = self.before(wall_s).encode()
        self.write_framed(Lines.of([before + line for line in lines]))

    def write_framed(self, lines: Lines) -> None:
        """Take lines that begin with the text that `before` returned."""
        spool, taken = self._spool, 0
        if not spool.messages:
            taken = self._write_at_once(lines)
            spool.delivered += taken
            if taken == len(lines):
                return
        spool.add(lines.split(taken))
        if self._pause_s > self._retry_s:
            self._hasten()
        self.flush()
        spool.trim()

    def before(self, wall_s: int) -> str:
        """Return the ASCII text that each line written in that second begins with."""
        return ""

    @property
    def is_sent_aside(self) -> bool:
        """Whether a thread sends lines that wait."""
        return False

    def send_aside(self) -> None:  # noqa: B027  # most destinations need no thread
        """Have a thread wait for room and send what waits."""

    def wants_writable(self) -> bool:
        """Return whether flush() should be called once fileno() is writable."""
        return bool(self._spool.messages) and self.fileno() is not None

    def close(self, timeout_s: float) -> None:
        """Write the spool for `timeout_s` at most, count the rest as lost, close."""
        deadline = time.monotonic() + timeout_s
        self._retry_at = 0.0
        self.flush()
        while self.wants_writable() and (left_s := deadline - time.monotonic()) > 0:
            before = self.delivered
            wait_writable(self.fileno(), left_s)
            self.flush()
            if self.delivered == before:
                time.sleep(min(0.01, left_s))
        self._spool.drop_all("not written at stop")
        self._disconnect()

    def _write_at_once(self, lines: Lines) -> int:
        """Write lines past the spool, which is empty; return how many were taken.

        The others go into the spool. A sink that cannot do it takes none.
        """
        return 0

    def flush(self) -> None:
        """Write lines of the spool, as many as the destination takes at once."""
        while self._spool.messages and self._connected():
            try:
                progress = self._write_some()
            except OSError as error:
                progress = self._failed(error)
            if not progress:
                return

    @abstractmethod
    def fileno(self) -> int | None:
        """Return the descriptor to poll; None: flush() must be called by a timer."""

    @abstractmethod
    def _connected(self) -> bool:
        """Return whether there is a destination; try to connect, once in a while."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Let go of the destination."""

    @abstractmethod
    def _write_some(self) -> bool:
        """Write the next bytes or messages of the spool; False: no more for now."""

    @abstractmethod
    def _failed(self, error: OSError) -> bool:
        """Act on a failed write; False: no more for now."""

    def _may_retry(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        self._put_off()
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSES * self._retry_s)
        return True

    def _put_off(self) -> None:
        """Begin a pause before the next try."""
        self._retry_at = time.monotonic() + self._pause_s

    def _hasten(self) -> None:
        """Cut the pause down to the first one: there is a new line to write."""
        self._pause_s = self._retry_s
        self._retry_at = min(self._retry_at, time.monotonic() + self._retry_s)


def wait_writable(fd: int | None, timeout_s: float) -> bool:
    """Wait until a write to `fd` would not block; False: it would after `timeout_s`."""
    if fd is None:
        return False
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))
