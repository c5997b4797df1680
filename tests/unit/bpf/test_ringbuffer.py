# SPDX-License-Identifier: MIT
from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import examples

from sysmonlx.bpf.ringbuffer import RingBuffer

SIZE = mmap.PAGESIZE
BUSY = 1 << 31
DISCARDED = 1 << 30


class Producer:
    """A file laid out as the kernel lays out the pages of a ring buffer."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 closed below
        self._file.truncate(2 * mmap.PAGESIZE + size)
        self._size = size
        self.position = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def consumed(self) -> int:
        self._file.seek(0)
        return int.from_bytes(self._file.read(8), "little")

    def set_positions(self, position: int) -> None:
        """Begin at a position, as if so much had been written and read."""
        self.position = position
        self._put(0, struct.pack("<Q", position))
        self._put(mmap.PAGESIZE, struct.pack("<Q", position))

    def move_consumer(self, position: int) -> None:
        """Do as another process that has mapped the page."""
        self._put(0, struct.pack("<Q", position))

    def write(self, data: bytes, flags: int = 0) -> int:
        """Add a record; return where its header is."""
        start = self.position
        self._put_data(start, struct.pack("<II", len(data) | flags, 0) + data)
        self.position += (len(data) + 8 + 7) & ~7
        self._put(mmap.PAGESIZE, struct.pack("<Q", self.position))
        return start

    def commit(self, start: int, data: bytes, flags: int = 0) -> None:
        self._put_data(start, struct.pack("<II", len(data) | flags, 0))

    def _put_data(self, position: int, data: bytes) -> None:
        at = position % self._size
        first = data[: self._size - at]
        self._put(2 * mmap.PAGESIZE + at, first)
        self._put(2 * mmap.PAGESIZE, data[len(first) :])

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def producer(tmp_path: Path) -> Iterator[Producer]:
    made = Producer(tmp_path / "ring")
    yield made
    made.close()


@pytest.fixture
def ring(producer: Producer) -> Iterator[RingBuffer]:
    made = RingBuffer(producer.fileno(), SIZE)
    yield made
    made.close()


def test_records_come_in_order_and_give_their_space_back(
    producer: Producer, ring: RingBuffer
) -> None:
    producer.write(b"one")
    producer.write(b"")
    producer.write(b"three" * 7)
    assert ring.fill() == (16 + 8 + 48) / SIZE
    assert list(ring.read()) == [b"one", b"", b"three" * 7]
    assert producer.consumed() == producer.position
    assert ring.fill() == 0
    assert list(ring.read()) == []


def test_busy_record_and_what_is_behind_it_wait(
    producer: Producer, ring: RingBuffer
) -> None:
    producer.write(b"first")
    start = producer.write(b"second", BUSY)
    producer.write(b"third")
    assert list(ring.read()) == [b"first"]
    assert list(ring.read()) == []
    producer.commit(start, b"second")
    assert list(ring.read()) == [b"second", b"third"]


def test_discarded_record_is_passed_over(producer: Producer, ring: RingBuffer) -> None:
    producer.write(b"gone", DISCARDED)
    producer.write(b"here")
    producer.write(b"gone too", DISCARDED)
    assert list(ring.read()) == [b"here"]
    assert producer.consumed() == producer.position


def test_limit_leaves_the_rest_for_the_next_read(
    producer: Producer, ring: RingBuffer
) -> None:
    for each in (b"1", b"2", b"3"):
        producer.write(each)
    assert list(ring.read(limit=2)) == [b"1", b"2"]
    assert list(ring.read(limit=2)) == [b"3"]


@pytest.mark.parametrize("before_end", range(0, 64, 8))
def test_record_around_the_end_is_whole(before_end: int, producer: Producer) -> None:
    producer.set_positions(SIZE - before_end)
    ring = RingBuffer(producer.fileno(), SIZE)
    data = bytes(range(40))
    producer.write(data)
    producer.write(b"next")
    assert list(ring.read()) == [data, b"next"]
    ring.close()


def test_records_are_whole_wherever_the_window_ends(tmp_path: Path) -> None:
    size = 1 << 20
    producer = Producer(tmp_path / "ring", size)
    ring = RingBuffer(producer.fileno(), size)
    lengths = [1000, 65_000, 8, 300_000, 0, 40_000] * 7
    for number, length in enumerate(lengths):
        producer.write(bytes([number]) * length)
        assert ring.read() == [bytes([number]) * length]
    assert producer.position > 2 * size
    ring.close()
    producer.close()


def test_reader_does_not_map_all_data_at_once(tmp_path: Path) -> None:
    size = 8 << 20
    producer = Producer(tmp_path / "ring", size)
    ring = RingBuffer(producer.fileno(), size)
    for number in range(20):
        producer.write(bytes([number]) * 400_000)
    assert len(ring.read()) == 20
    assert mapped_bytes(tmp_path / "ring") <= size // 16
    ring.close()
    assert mapped_bytes(tmp_path / "ring") == 0
    producer.close()


def mapped_bytes(path: Path) -> int:
    """Return how much of a file this process has mapped."""
    ranges = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ranges)


def test_positions_beyond_32_bits(producer: Producer) -> None:
    producer.set_positions((1 << 40) + SIZE - 16)
    ring = RingBuffer(producer.fileno(), SIZE)
    producer.write(b"x" * 100)
    assert list(ring.read()) == [b"x" * 100]
    assert producer.consumed() == (1 << 40) + SIZE - 16 + 112
    ring.close()


def test_a_position_that_others_moved_ahead_is_put_back(
    producer: Producer, ring: RingBuffer
) -> None:
    producer.write(b"one")
    producer.write(b"two")
    producer.move_consumer(producer.position)
    assert list(ring.read()) == [b"one", b"two"]
    assert (ring.moves, ring.skipped_bytes) == (1, 0)
    producer.move_consumer(0)
    assert ring.fill() == 0
    ring.restore()
    ring.restore()
    assert producer.consumed() == producer.position
    assert ring.moves == 2


def test_what_was_written_over_is_counted_and_left(
    producer: Producer, ring: RingBuffer
) -> None:
    for _ in range(3):
        producer.move_consumer(producer.position)
        producer.write(bytes(SIZE - 8))
    assert list(ring.read()) == []
    assert (ring.moves, ring.skipped_bytes) == (1, 3 * SIZE)
    producer.write(b"next")
    assert list(ring.read()) == [b"next"]
    assert ring.moves == 1


Lengths = st.lists(st.tuples(st.integers(0, 600), st.booleans()), max_size=40)


@given(Lengths)
@examples(30)
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[tuple[int, bool]]
) -> None:
    producer = Producer(tmp_path_factory.mktemp("ring") / "ring")
    ring = RingBuffer(producer.fileno(), SIZE)
    read = []
    for number, (length, is_discarded) in enumerate(lengths):
        producer.write(bytes([number]) * length, DISCARDED if is_discarded else 0)
        read += ring.read()
    ring.close()
    producer.close()
    assert read == [
        bytes([number]) * length
        for number, (length, is_discarded) in enumerate(lengths)
        if not is_discarded
    ]
