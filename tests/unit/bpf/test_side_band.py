# SPDX-License-Identifier: MIT
"""What perf tells of programs, from the bytes of its rings."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.bpf import side_band
from sysmonlx.bpf.side_band import SideBand, ToldProgram

DATA_BYTES = max(64 << 10, mmap.PAGESIZE)
HEAD, TAIL = 1024 // 8, 1032 // 8
KSYMBOL, BPF_EVENT, LOST, OTHER = 17, 18, 2, 3
LOADED, UNLOADED = 1, 2
TAG = "0123456789abcdef"


def ended(kind: int, body: bytes, boot_ns: int, thread: int = 7) -> bytes:
    """Return a record of thread `thread` of process 5."""
    end = struct.pack("=IIQ", 5, thread, boot_ns)
    return struct.pack("=IHH", kind, 0, 8 + len(body) + len(end)) + body + end


def program(number: int, boot_ns: int, what: int = LOADED, thread: int = 7) -> bytes:
    body = struct.pack("=HHI8s", what, 0, number, bytes.fromhex(TAG))
    return ended(BPF_EVENT, body, boot_ns, thread)


def symbol(text: str, boot_ns: int, thread: int = 7) -> bytes:
    name = text.encode() + b"\0"
    name = name.ljust(len(name) + 7 & ~7, b"\0")
    return ended(KSYMBOL, struct.pack("=QIHH", 1, 2, 1, 0) + name, boot_ns, thread)


def lost(count: int) -> bytes:
    return ended(LOST, struct.pack("=QQ", 1, count), 1)


class Band:
    """A side band whose rings are files that the test writes to."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[Path] = []
        self.online = [0, 1]
        self.refuses = 0
        self._directory = directory
        monkeypatch.setattr(side_band, "_perf_event_open", self._open)
        monkeypatch.setattr(side_band, "_online", lambda: self.online)
        self.band = SideBand()
        # A file cannot be polled.
        self.band._epoll.close()
        polled: Any = _Poll()
        self.band._epoll = polled

    def _open(self, processor: int) -> int:
        if self.refuses:
            raise OSError(self.refuses, "perf_event_open: no")
        path = self._directory / str(processor)
        path.write_bytes(bytes(mmap.PAGESIZE + DATA_BYTES))
        self.files.append(path)
        return os.open(path, os.O_RDWR)

    def write(self, data: bytes, processor: int = 0) -> None:
        words = self.band._rings[processor]._words
        memory = self.band._rings[processor]._map
        for at, byte in enumerate(data, words[HEAD]):
            memory[mmap.PAGESIZE + at % DATA_BYTES] = byte
        words[HEAD] += len(data)


class _Poll:
    def __init__(self) -> None:
        self.fds: set[int] = set()

    def register(self, fd: int, _: int) -> None:
        self.fds.add(fd)

    def unregister(self, fd: int) -> None:
        self.fds.remove(fd)

    def poll(self, _: float) -> list[tuple[int, int]]:
        return []

    def close(self) -> None:
        self.fds.clear()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Band]:
    band = Band(tmp_path, monkeypatch)
    band.band.open()
    yield band
    band.band.end()


def test_programs_of_all_processors_come_by_time(made: Band) -> None:
    made.write(program(3, 300))
    made.write(program(2, 200), 1)
    made.write(program(4, 400) + program(4, 500, UNLOADED), 1)
    found = made.band.read()
    assert [each.program_id for each in found] == [2, 3, 4]
    assert found[0] == ToldProgram(200, 5, 7, 2, b"")
    assert made.band.read() == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"bpf_prog_{TAG}_a_name", b"a_name"),
        (f"bpf_prog_{TAG}_longer_than_15_letters", b"longer_than_15_"),
        (f"bpf_prog_{TAG}", b""),
        ("bpf_trampoline_123", b""),
        ("", b""),
    ],
)
def test_the_symbol_before_a_program_has_its_name(
    made: Band, text: str, name: bytes
) -> None:
    made.write(symbol(text, 1) + program(1, 2))
    assert [each.name for each in made.band.read()] == [name]


def test_a_name_is_that_of_the_same_thread_and_of_the_first_symbol(made: Band) -> None:
    main, other = f"bpf_prog_{TAG}_main", f"bpf_prog_{TAG}_other"
    made.write(symbol(main, 1) + symbol(f"{main}_sub", 2))
    made.write(symbol(other, 3, 8), 1)
    assert made.band.read() == []  # the programs come with the next look
    made.write(program(1, 4) + program(2, 5, thread=8) + program(3, 6))
    names = [each.name for each in made.band.read()]
    assert names == [b"main", b"other", b""]


def test_names_whose_programs_were_lost_are_not_kept_for_ever(made: Band) -> None:
    for thread in range(300):
        made.write(symbol(f"bpf_prog_{TAG}_x", thread, thread))
    made.band.read()
    assert len(made.band._names) <= 256


def test_records_go_round_the_end_of_the_ring(made: Band) -> None:
    one = program(1, 1)
    for number in range(5 * DATA_BYTES // len(one)):
        made.write(program(number, number))
        assert [each.program_id for each in made.band.read()] == [number]
    assert made.band.lost == 0


def test_other_records_are_passed_over(made: Band) -> None:
    made.write(ended(OTHER, bytes(32), 1) + program(1, 2))
    assert [each.program_id for each in made.band.read()] == [1]


def test_losses_are_counted(made: Band) -> None:
    made.write(lost(3) + program(1, 2) + lost(2))
    made.band.read()
    assert made.band.lost == 5


def test_a_full_ring_tells_a_loss_before_the_kernel_does(made: Band) -> None:
    """The kernel tells it in front of the next record, which may never come."""
    one = program(1, 1)
    made.write(one * (DATA_BYTES // len(one)))
    made.band.read()
    assert made.band.lost == 1
    made.write(lost(4))
    made.band.read()
    assert made.band.lost == 4


def test_what_the_kernel_refuses_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    band = Band(tmp_path, monkeypatch)
    band.refuses = errno.EACCES
    with pytest.raises(PermissionError, match="perf_event_open: no"):
        band.band.open()
    assert not band.band.is_open
    band.band.end()


def test_a_processor_that_goes_offline_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    band = Band(tmp_path, monkeypatch)
    band.refuses = errno.ENODEV
    band.band.open()
    assert band.band.read() == []
    band.band.end()


def test_processors_come_and_go(made: Band) -> None:
    made.online = [1, 2]
    made.band.follow_processors()
    assert [*made.band._rings] == [1, 2]
    made.write(program(9, 1), 2)
    assert [each.program_id for each in made.band.read()] == [9]
    made.band.close()
    made.band.follow_processors()  # nobody asks for them now
    assert not made.band.is_open


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,6\n", [0, 1, 2, 3, 6]), ("0\n", [0]), ("", None), ("x", None)],
)
def test_the_kernel_lists_processors_by_ranges(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    numbers: list[int] | None,
) -> None:
    path = tmp_path / "online"
    path.write_text(text)
    monkeypatch.setattr(side_band, "_ONLINE", os.fspath(path))
    assert side_band._online() == (numbers or [*range(os.cpu_count() or 1)])


@pytest.mark.parametrize("size", [0, 7, 0xFFF8])
def test_what_is_no_record_ends_the_reading(made: Band, size: int) -> None:
    made.write(program(3, 9) + struct.pack("=IHH", BPF_EVENT, 0, size) + program(4, 10))
    assert [each.program_id for each in made.band.read()] == [3]
    assert made.band.lost == 1
    made.write(program(5, 11))
    assert [each.program_id for each in made.band.read()] == [5]


def test_the_rings_need_no_capability_to_lock_memory() -> None:
    assert side_band._DATA_BYTES in (64 << 10, mmap.PAGESIZE)
