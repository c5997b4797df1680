# SPDX-License-Identifier: MIT
"""Reader of a BPF ring buffer through mmap, without a callback per record.

Layout: kernel/bpf/ringbuf.c. Page 0 holds the consumer position (ours to write), page
1 the producer position, then the data. Each record has an 8-byte header whose first
word is its length with two flags, and is padded to 8 bytes; it may go on at the start.

The kernel enters every page of a mapping at once, so a mapping of all data would count
as memory in use from the start. A window moves over the data instead.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from itertools import repeat

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1
_HEADER = 8
#: To move it takes 40 us, for a thousand records or more.
_WINDOW_BYTES = 256 << 10
#: Most bytes that are copied out of the window at once.
_COPY_BYTES = 64 << 10


class RingBuffer:
    """The one consumer of a ring buffer map of `size_bytes` (a power of two)."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self._fd = fd
        self._size = size_bytes
        self._mask = size_bytes - 1
        self._window = min(size_bytes, _WINDOW_BYTES)
        self._consumer_map = mmap.mmap(
            fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._producer_map = self._map(page, page)
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._producer_map).cast("Q")
        self._position = self._consumer[0]
        self.moves = 0
        """How often others were found to have moved the consumer position."""
        self.skipped_bytes = 0
        """Bytes that were never read: others moved the consumer position past them."""
        self._enter(self._position & self._mask)

    def _map(self, offset: int, size_bytes: int) -> mmap.mmap:
        return mmap.mmap(
            self._fd, size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset
        )

    def _enter(self, offset: int) -> None:
        """Map the window of the data that `offset` is in."""
        self._base = offset - offset % self._window
        self._data = self._map(2 * mmap.PAGESIZE + self._base, self._window)
        self._lengths = memoryview(self._data).cast("I")

    def _leave(self) -> None:
        self._lengths.release()
        self._data.close()

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._fd

    def fill(self) -> float:
        """Return how full the buffer is, 0 to 1."""
        return (self._producer[0] - self._position) / self._size

    def restore(self) -> None:
        """Put the consumer position back where others have moved it.

        Any process that gets a descriptor of the map may map that page. Too far ahead
        the kernel takes the buffer for full, or writes over what was not read yet.
        """
        if self._consumer[0] == self._position:
            return
        self.moves += 1
        waiting = self._producer[0] - self._position
        if waiting > self._size:  # where the next record begins is not known
            self._position += waiting
            self.skipped_bytes += waiting
        self._consumer[0] = self._position

    def read(self, limit: int = 1024) -> list[bytes]:
        """Return up to `limit` records, and give their space back.

        Aligned 8-byte loads and stores keep positions whole; x86 orders the loads of
        the position, the length and the data as written here.
        """
        records: list[bytes] = []
        if self._consumer[0] != self._position:
            self.restore()
        start = position = self._position
        producer = self._producer[0]
        while position < producer and len(records) < limit:
            at = begin = self._place(position & self._mask)
            stop = min(self._window, at + producer - position)
            at = self._take_whole(at, stop, limit, records)
            position += at - begin
            if at < stop and len(records) < limit:
                size = self._take_unusual(at, records)
                if not size:
                    break
                position += size
            if position == producer:
                producer = self._producer[0]
        if position != start:
            self._consumer[0] = self._position = position
        return records

    def _place(self, offset: int) -> int:
        """Return where `offset` of the data is in the window, which moves to it."""
        at = offset - self._base
        if not 0 <= at < self._window:
            self._leave()
            self._enter(offset)
            at = offset - self._base
        return at

    def _take_whole(self, at: int, stop: int, limit: int, records: list[bytes]) -> int:
        """Take the records that lie whole between two places of the window.

        Return where the first record is that was not taken: it ends beyond the second
        place, or its header has a flag. The window is copied first, since slices of
        bytes are made faster than slices of a mapping.
        """
        data = self._data[at : min(stop, at + _COPY_BYTES)]
        append, lengths, size = records.append, memoryview(data).cast("I"), len(data)
        begin = _HEADER
        with suppress(IndexError):  # the data ends with a whole record
            for _ in repeat(None, limit - len(records)):
                end = begin + lengths[(begin >> 2) - 2]
                if end > size:  # a flag makes it larger than any window
                    break
                append(data[begin:end])
                begin = end + 15 & -8
        return at + begin - _HEADER

    def _take_unusual(self, at: int, records: list[bytes]) -> int:
        """Take a record that has a flag or goes on beyond the window.

        Return the bytes that it takes in the buffer, 0 when it is not complete.
        """
        word = self._lengths[at >> 2]
        if word & _BUSY:
            return 0
        length = word & _LENGTH
        if not word & _DISCARDED:
            records.append(self._across(at + _HEADER, length))
        return (length + _HEADER + 7) & ~7

    def _across(self, at: int, length: int) -> bytes:
        """Return a record that may end beyond the window, which moves along."""
        found = self._data[at : at + length]
        while len(found) < length:
            self._leave()
            self._enter(self._base + self._window & self._mask)
            found += self._data[: length - len(found)]
        return found

    def close(self) -> None:
        """Unmap; the map itself lives on with its object."""
        self._leave()
        self._consumer.release()
        self._producer.release()
        self._producer_map.close()
        self._consumer_map.close()
