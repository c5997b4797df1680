# SPDX-License-Identifier: MIT
"""Calls of systemd-resolved's socket out of pieces, and which reply belongs to which.

Replies come in the order of the calls. Where a piece is missing, that order is known no
more: from then on each call on this socket is told without its reply.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.fair_share import FairShare
from sysmonlx.enrich.varlink_message import END, read_call

#: Most sockets of one user that are known, and of all.
OF_USER, OF_ALL = 128, 512
#: Most bytes of a call and of a reply; a record holds both. Longer ones are not read.
_CALL_BYTES, _REPLY_BYTES = 8 << 10, 48 << 10
#: Most calls of one socket that wait for their replies, and most bytes of these.
_CALLS, _WAITING_BYTES = 256, 32 << 10
#: Most messages of one piece of 4 KiB: a call that asks for a name has 70 bytes.
_MESSAGES = 64
#: How long nothing comes before a socket is forgotten, in nanoseconds: systemd-resolved
#: gives up after two minutes.
_IDLE_NS = 150_000_000_000
_CIRCLE = 1 << 32  # sequence numbers begin again
#: Each call has a number in the place of the socket's, which are smaller. One that
#: cannot be read has none: of one socket such calls are told once.
_FIRST_NUMBER = 1 << 63
#: Stands for what is too long.
_TOO_LONG = b""


class _Direction:
    """One direction of a connection: a stream of messages that comes in pieces.

    `next` is the sequence number of the byte that is to come next.
    """

    def __init__(self, most: int) -> None:
        self.next = 0
        self._most = most
        self._buffer = bytearray()
        self._is_too_long = False

    def add(self, sequence: int, content: bytes) -> bool:
        """Take a piece that begins at `sequence`; return whether none is missing."""
        is_next = sequence == self.next
        self.next = (sequence + len(content)) % _CIRCLE
        if not is_next:  # what follows may be the end of something, or whole
            self._buffer.clear()
            self._is_too_long = False
        self._buffer += content
        return is_next

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that are whole by now, without the NUL that ends each.

        A message of more than `most` bytes is yielded as `_TOO_LONG`.
        """
        *whole, rest = self._buffer.split(END)
        for each in whole:
            is_too_long = self._is_too_long or len(each) > self._most
            self._is_too_long = False
            yield _TOO_LONG if is_too_long else bytes(each)
        self._buffer = rest
        if len(rest) > self._most:
            self._is_too_long = True
            self._buffer.clear()


class _Talk:
    """One connection: both directions, and the calls that wait for their replies.

    `waiting` has the number and the text of each call; the number is 0 for a call that
    asks for no name. `is_lost`: no reply can be told to belong to a call any more.
    """

    def __init__(self) -> None:
        self.calls, self.replies = _Direction(_CALL_BYTES), _Direction(_REPLY_BYTES)
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.waiting_bytes = 0
        self.is_lost = False
        self.seen_ns = 0

    def wait(self, number: int, call: bytes) -> bool:
        """Have a call wait for its reply; return whether there is room for more."""
        self.waiting.append((number, call))
        self.waiting_bytes += len(call)
        return len(self.waiting) <= _CALLS and self.waiting_bytes <= _WAITING_BYTES

    def next_waiting(self) -> tuple[int, bytes]:
        """Return the call that the next reply belongs to; IndexError: none waits."""
        number, call = self.waiting.popleft()
        self.waiting_bytes -= len(call)
        return number, call


class Calls:
    """All connections to systemd-resolved."""

    def __init__(self, layout: Layout) -> None:
        self._read: Callable[[bytes], tuple[int, int, int, int, int, bytes]]
        self._read = layout.reader(
            "boot_ns", "uid", "cookie", "is_answer", "sequence", "data"
        )
        self._size, self._data_at = layout.size, layout.offset("data_offset")
        self._cookie_at = layout.offset("cookie")
        self._answer_at = layout.offset("is_answer")
        self._talks: FairShare[int, _Talk] = FairShare(OF_USER, OF_ALL)
        self._known = self._talks.entries
        self._number = _FIRST_NUMBER

    def __len__(self) -> int:
        return len(self._known)

    def take(self, data: bytes) -> list[bytes]:
        """Take a dns_message record that holds a piece of a connection.

        Return a record for each call and each reply that is whole with this piece. The
        record of a call is one of a question. The record of a reply is one of an
        answer; its content is the call, END and the reply.
        """
        boot_ns, uid, cookie, is_answer, sequence, content = self._read(data)
        found = self._known.get(cookie)
        if found is None:
            talk = _Talk()
            self._talks.add(cookie, talk, uid)
        else:
            talk = found[1]
        talk.seen_ns = boot_ns
        direction = talk.replies if is_answer else talk.calls
        made = []
        if not direction.add(sequence, content) and not talk.is_lost:
            made = self._lose(data, talk)
        take = self._reply if is_answer else self._call
        messages = [*direction.messages()]
        if len(messages) > _MESSAGES:  # no program asks like this
            made += self._lose(data, talk)
            messages[_MESSAGES:] = [_TOO_LONG]
        for message in messages:
            made += take(data, talk, message)
        return made

    def forget_idle(self, boot_ns: int) -> None:
        """Forget connections on which nothing came for `_IDLE_NS` before `boot_ns`."""
        limit = boot_ns - _IDLE_NS
        for key in [k for k, (_, talk) in self._known.items() if talk.seen_ns <= limit]:
            self._talks.pop(key)

    def forget(self) -> None:
        """Forget all connections."""
        self._talks.clear()

    def _lose(self, data: bytes, talk: _Talk) -> list[bytes]:
        """Give up telling which reply belongs to which call of a connection.

        Return records that answer the calls which wait, without a reply.
        """
        talk.is_lost = True
        waiting, talk.waiting, talk.waiting_bytes = talk.waiting, deque(), 0
        return [
            self._record(data, number, 1, call + END)
            for number, call in waiting
            if number
        ]

    def _call(self, data: bytes, talk: _Talk, call: bytes) -> list[bytes]:
        asked, number = read_call(call), 0
        if asked is not None and asked.is_whole:
            self._number = number = self._number + 1
        made = []
        if asked is not None:
            end = END if talk.is_lost else b""
            made = [self._record(data, number, len(end), call + end)]
        if talk.is_lost or talk.wait(number, call if number else b""):
            return made
        return made + self._lose(data, talk)

    def _reply(self, data: bytes, talk: _Talk, reply: bytes) -> list[bytes]:
        if talk.is_lost:
            return []
        if not talk.waiting:
            return self._lose(data, talk)
        number, call = talk.next_waiting()
        return [self._record(data, number, 1, call + END + reply)] if number else []

    def _record(
        self, data: bytes, number: int, is_answer: int, content: bytes
    ) -> bytes:
        """Return a record of a message; 0: one that cannot be read, of its socket."""
        head = bytearray(data[: self._size])
        struct.pack_into("=HH", head, self._data_at, self._size, len(content))
        if number:
            struct.pack_into("=Q", head, self._cookie_at, number)
        struct.pack_into("=I", head, self._answer_at, is_answer)
        return bytes(head) + content
