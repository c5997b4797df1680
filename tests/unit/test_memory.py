# SPDX-License-Identifier: MIT
from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest

from sysmonlx import memory

SIZE = 64 * mmap.PAGESIZE
PRIVATE = mmap.MAP_PRIVATE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "library.so"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


def resident_kib(path: Path) -> int:
    """Return how much of a mapped file this process has in its page table."""
    smaps = Path("/proc/self/smaps").read_text()
    _, _, own = smaps.partition(f"{path}\n")
    return int(own.partition("Rss:")[2].split()[0])


def test_pages_of_a_file_are_forgotten_and_come_back(file: Path) -> None:
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), SIZE, PRIVATE, mmap.PROT_READ)
    data = mapped[:]
    assert resident_kib(file) == SIZE // 1024
    memory.give_back()
    assert resident_kib(file) == 0
    assert mapped[:] == data == file.read_bytes()
    mapped.close()


def test_changed_pages_stay(file: Path) -> None:
    with file.open("rb") as opened:
        writable = mmap.PROT_READ | mmap.PROT_WRITE
        mapped = mmap.mmap(opened.fileno(), SIZE, PRIVATE, writable)
    mapped[5000] = 99  # as the dynamic linker does, before it protects its work
    first = ctypes.c_char.from_buffer(mapped)
    libc = ctypes.CDLL(None)
    address = ctypes.c_void_p(ctypes.addressof(first))
    assert libc.mprotect(address, ctypes.c_size_t(SIZE), mmap.PROT_READ) == 0
    memory.give_back()
    assert mapped[5000] == 99
    del first
    mapped.close()
