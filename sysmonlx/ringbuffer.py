# SPDX-License-Identifier: MIT
"""Reader of a BPF ring buffer through mmap, without a callback per record.

Layout: kernel/bpf/ringbuf.c. Page 0 holds the consumer position (ours to write), page
1 the producer position, then the data, which we map once; a record that runs over the
end goes on at the start. Each record has an 8-byte header whose first word is its
length with two flags, and is padded to 8 bytes.
"""

from __future__ import annotations

import mmap

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH = _DISCARDED - 1
_HEADER = 8


class RingBuffer:
    """The one consumer of a ring buffer map of `size_bytes` (a power of two)."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self._fd = fd
        self._size = size_bytes
        self._mask = size_bytes - 1
        self._page = page
        self._consumer_map = mmap.mmap(
            fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._data = mmap.mmap(
            fd, page + size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._words = memoryview(self._data)
        self._producer = self._words[:8].cast("Q")
        self._lengths = self._words[page:].cast("I")

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._fd

    def fill(self) -> float:
        """Return how full the buffer is, 0 to 1."""
        return (self._producer[0] - self._consumer[0]) / self._size

    def read(self, limit: int = 1024) -> list[bytes]:
        """Return up to `limit` records, and give their space back.

        Aligned 8-byte loads and stores keep positions whole; x86 orders the loads of
        the position, the length and the data as written here.
        """
        records: list[bytes] = []
        start = position = self._consumer[0]
        producer = self._producer[0]
        page, mask, size, data = self._page, self._mask, self._size, self._data
        lengths = self._lengths
        while position < producer and len(records) < limit:
            at = (position & mask) + _HEADER
            word = lengths[(position & mask) >> 2]
            if word & _BUSY:
                break
            length = word & _LENGTH
            position += (length + _HEADER + 7) & ~7
            if not word & _DISCARDED:
                if at + length <= size:
                    records.append(data[page + at : page + at + length])
                else:
                    records.append(self._around_the_end(at, length))
            if position == producer:
                producer = self._producer[0]
        if position != start:
            self._consumer[0] = position
        return records

    def _around_the_end(self, offset: int, length: int) -> bytes:
        page = self._page
        if offset >= self._size:
            start = page + offset - self._size
            return self._data[start : start + length]
        first = self._size - offset
        return self._data[page + offset :] + self._data[page : page + length - first]

    def close(self) -> None:
        """Unmap; the map itself lives on with its object."""
        for view in (self._lengths, self._producer, self._words, self._consumer):
            view.release()
        self._data.close()
        self._consumer_map.close()
