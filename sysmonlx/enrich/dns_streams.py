# SPDX-License-Identifier: MIT
"""DNS messages out of TCP: two bytes of length before each, in pieces of any size.

The pieces come as packets carried them: again, before their turn, with a part that was
there already.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.fair_share import FairShare

#: Most streams of one user that are under way, and of all. A connection has two.
OF_USER, OF_ALL = 128, 512
#: Most bytes of a stream that wait: for their turn, or for the rest of a message.
_WAITING_BYTES = 1 << 16
#: How long nothing comes before a stream is forgotten, in nanoseconds.
_IDLE_NS = 10_000_000_000
#: How much of a message is looked at. A question may have to wait.
_ANSWER_BYTES, _QUESTION_BYTES = (1 << 16) - 1, 512
_LENGTH = struct.Struct(">H")
_CIRCLE = 1 << 32  # sequence numbers begin again

#: Socket, and whether it is the stream of answers.
_Key = tuple[int, int]


def _distance(begin: int, end: int) -> int:
    """Return how far `end` is behind `begin`, negative where it is before it."""
    return (end - begin + _CIRCLE // 2) % _CIRCLE - _CIRCLE // 2


class _Stream:
    """One direction of a connection."""

    def __init__(self, data: bytes, sequence: int) -> None:
        self.first = data
        self.next = sequence
        self.has_begun = False
        self.buffer = bytearray()
        self.parts: dict[int, bytes] = {}
        self.seen_ns = 0

    def add(self, sequence: int, content: bytes) -> None:
        """Take a piece, then the pieces behind it that came earlier and waited."""
        ahead = _distance(self.next, sequence)
        is_earlier = -_WAITING_BYTES <= ahead < -len(self.buffer)
        if is_earlier and not self.has_begun:
            self._begin_before(sequence)
            ahead = 0
        if ahead > 0:
            self._keep(sequence, content)
            return
        self._append(content, -ahead)
        if self.parts:
            self._go_on()

    def _append(self, content: bytes, known: int) -> None:
        """Take a piece; the first `known` bytes of it were taken before."""
        self.buffer += content[known:]
        self.next = (self.next + max(0, len(content) - known)) % _CIRCLE

    def _begin_before(self, sequence: int) -> None:
        """Begin anew: an earlier piece of the stream came after the first one."""
        if self.buffer:
            at = (self.next - len(self.buffer)) % _CIRCLE
            self.parts[at] = bytes(self.buffer)
            self.buffer.clear()
        self.next = sequence

    def _keep(self, sequence: int, content: bytes) -> None:
        self.parts[sequence] = content
        if sum(map(len, self.parts.values())) > _WAITING_BYTES:
            self.next = min(self.parts, key=partial(_distance, self.next))
            self.buffer.clear()
            self._go_on()

    def _go_on(self) -> None:
        for sequence in sorted(self.parts, key=partial(_distance, self.next)):
            ahead = _distance(self.next, sequence)
            if ahead <= 0:
                self._append(self.parts.pop(sequence), -ahead)

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that are whole, without their length."""
        while len(self.buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self.buffer)
            end = _LENGTH.size + length
            if len(self.buffer) < end:
                return
            self.has_begun = True
            yield bytes(self.buffer[_LENGTH.size : end])
            del self.buffer[:end]


class Streams:
    """All streams under way."""

    def __init__(self, layout: Layout) -> None:
        self._read: Callable[[bytes], tuple[int, int, int, int, int, bytes]]
        self._read = layout.reader(
            "boot_ns", "uid", "cookie", "is_answer", "sequence", "data"
        )
        self._size, self._data_at = layout.size, layout.offset("data_offset")
        self._streams: FairShare[_Key, _Stream] = FairShare(OF_USER, OF_ALL)
        self._known = self._streams.entries

    def __len__(self) -> int:
        return len(self._known)

    def take(self, data: bytes) -> list[bytes]:
        """Take a record of a piece; return records of the messages that it ends.

        A message is a record as if it had come by UDP, of the process of the piece.
        """
        boot_ns, uid, cookie, is_answer, sequence, content = self._read(data)
        key = cookie, is_answer
        gone = None
        found = self._known.get(key)
        if found is None:
            stream = _Stream(data[: self._size], sequence)
            gone = self._streams.add(key, stream, uid)
        else:
            stream = found[1]
        stream.seen_ns = boot_ns
        stream.add(sequence, content)
        made = [self._record(data, is_answer, each) for each in stream.messages()]
        return [*made, *self._rest(gone)]

    def forget_idle(self, boot_ns: int) -> list[bytes]:
        """Forget streams in which nothing came lately; return what is left."""
        idle = [
            key
            for key, (_, stream) in self._known.items()
            if stream.seen_ns <= boot_ns - _IDLE_NS
        ]
        return [each for key in idle for each in self._rest(self._streams.pop(key))]

    def forget(self) -> None:
        """Forget all streams."""
        self._streams.clear()

    def _rest(self, stream: _Stream | None) -> list[bytes]:
        """Return a record of the bytes in which no message ended."""
        if stream is None or not (stream.buffer or stream.parts):
            return []
        rest = bytes(stream.buffer) or next(iter(stream.parts.values()))
        is_answer = self._read(stream.first + rest)[3]
        return [self._record(stream.first, is_answer, rest[_LENGTH.size :])]

    def _record(self, data: bytes, is_answer: int, content: bytes) -> bytes:
        content = content[: _ANSWER_BYTES if is_answer else _QUESTION_BYTES]
        head = bytearray(data[: self._size])
        struct.pack_into("=HH", head, self._data_at, self._size, len(content))
        return bytes(head) + content
