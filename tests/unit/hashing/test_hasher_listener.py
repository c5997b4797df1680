# SPDX-License-Identifier: MIT
"""Files that a thread has open, read for their hash and for somebody else too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hashing import sha256, wait_for

from sysmonlx.hashing.file_reading import PIECE_BYTES
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.program_opener import ProgramOpener
from sysmonlx.host.file_identity import file_id
from sysmonlx.host.procfs import Procfs

DATA = os.urandom(PIECE_BYTES + 100)


class Listener:
    """Keeps what it is told since the file was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.data = b""

    def begin(self) -> None:
        self.begun += 1
        self.data = b""

    def take(self, piece: memoryview) -> None:
        self.data += piece


@pytest.fixture
def hasher() -> Iterator[Hasher[str]]:
    made: Hasher[str] = Hasher(ProgramOpener(Procfs()), ("SHA256",))
    yield made
    made.close()


def asked(hasher: Hasher[str], fd: int, path: bytes = b"", namespace: int = 0) -> str:
    """Have the file of a descriptor of this process read; return the text."""
    wanted, listener = file_id(fd), Listener()
    pid = os.getpid()
    assert hasher.request(
        wanted, pid, path, namespace, "t", descriptor=fd, also=listener
    )
    ((_, _, text),) = wait_for(hasher, 1)
    assert text == "-" or listener.data == DATA
    assert listener.begun <= 1
    return text


def test_file_in_memory_is_read_by_its_descriptor(hasher: Hasher[str]) -> None:
    fd = os.memfd_create("lkm")
    os.write(fd, DATA)
    assert asked(hasher, fd) == sha256(DATA)
    os.close(fd)


def test_without_algorithms_it_is_read_all_the_same(hasher: Hasher[str]) -> None:
    hasher.set_algorithms(())
    fd = os.memfd_create("lkm")
    os.write(fd, DATA)
    assert asked(hasher, fd) == ""
    assert hasher.cached(file_id(fd)) == "-"
    os.close(fd)


def test_file_that_was_closed_is_found_by_its_path(
    hasher: Hasher[str], tmp_path: Path
) -> None:
    file = tmp_path / "a.ko"
    file.write_bytes(DATA)
    with open(file) as opened:
        wanted = file_id(opened.fileno())
    listener = Listener()
    namespace = Procfs().mount_namespace(os.getpid())
    assert hasher.request(
        *(wanted, os.getpid(), bytes(file), namespace, "t"),
        descriptor=1023,
        also=listener,
    )
    assert wait_for(hasher, 1) == [("t", wanted, sha256(DATA))]
    assert listener.data == DATA


def test_another_file_behind_the_descriptor_is_not_believed(
    hasher: Hasher[str], tmp_path: Path
) -> None:
    fd, other = os.memfd_create("lkm"), os.memfd_create("other")
    os.write(fd, DATA)
    os.write(other, DATA)
    listener = Listener()
    assert hasher.request(
        file_id(fd), os.getpid(), b"", 0, "t", descriptor=other, also=listener
    )
    ((_, _, text),) = wait_for(hasher, 1)
    assert (text, listener.data) == ("-", b"")
    os.close(fd)
    os.close(other)


def test_who_asks_for_the_hash_alone_gets_it_from_either(hasher: Hasher[str]) -> None:
    fd = os.memfd_create("lkm")
    os.write(fd, DATA)
    wanted, pid = file_id(fd), os.getpid()
    assert hasher.request(wanted, pid, b"", 0, "a", descriptor=fd, also=Listener())
    assert hasher.request(wanted, pid, b"", 0, "b", descriptor=fd)
    assert hasher.request(wanted, pid, b"", 0, "c", descriptor=fd, also=Listener())
    assert {each[2] for each in wait_for(hasher, 3)} == {sha256(DATA)}
    os.close(fd)
