# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EAGAIN, ENOENT
from pathlib import Path

import pytest

from sysmonlx.host import inode, namespace_holders, watched_file
from sysmonlx.host.lane import Lane, Limits
from sysmonlx.host.namespace_holders import Holders
from sysmonlx.host.procfs import Procfs
from sysmonlx.host.watched_file import WatchedFile


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane("Files", Limits(1, 2, 60.0, 1.0))  # however busy the machine is
    made.begin()
    yield made
    made.end()


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_what_the_kernel_knows_is_what_stat_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    os.link(path, tmp_path / "second")
    fd = inode.open_cached(os.fsencode(path), inode.NAME)
    known, found = inode.known(fd), os.fstat(fd)
    os.close(fd)
    assert known is not None
    assert known[:4] == (found.st_mode, 2, found.st_ino, 4)
    assert known.modified_ns == found.st_mtime_ns
    assert known.changed_ns == found.st_ctime_ns
    assert known.device == (os.major(found.st_dev), os.minor(found.st_dev))


def test_what_is_not_in_memory_is_not_asked_for(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "never looked up")
    with pytest.raises(OSError, match=f"{EAGAIN}|{ENOENT}"):
        inode.open_cached(path, inode.NAME)


def test_a_file_is_read_anew_when_it_changes(lane: Lane, tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = WatchedFile(path, text_of, "nothing", lane)
    assert file.value == "nothing"
    assert file.renew()
    assert file.value == ""
    path.write_text("one")
    assert file.renew()
    assert file.value == "one"
    path.write_text("two")  # within the same tick of the clock
    assert file.renew()
    assert file.value == "two"
    path.unlink()
    assert file.renew()
    assert file.value == ""


def test_an_old_file_is_read_once(lane: Lane, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    reads: list[Path] = []

    def read(path: Path) -> str:
        reads.append(path)
        return "read"

    file = WatchedFile(path, read, "", lane)
    for _ in range(100):
        file.renew()
    assert len(reads) == 1


def test_a_file_that_only_its_file_system_knows_is_asked_for_aside(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    monkeypatch.setattr(watched_file, "stamp_of", lambda path: watched_file.UNSURE)
    file = WatchedFile(path, text_of, "", lane)
    assert file.renew()
    assert file.value == "one"


def test_holders_of_a_namespace_are_found(lane: Lane) -> None:
    procfs = Procfs()
    here = procfs.mount_namespace(os.getpid())
    holders = Holders(procfs, lane)
    assert os.getpid() in [*holders.of(here, os.getpid())]
    gone = 1 << 22
    assert [*holders.of(here, gone)]
    assert [*holders.of(1, os.getpid())] == []


class Slow(Procfs):
    """Processes of which one look takes 20 ms, and the clock that shows it."""

    looks, now_s = 0, 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def by_mount_namespace(self, limit: int) -> dict[int, list[int]]:
        self.looks += 1
        self.now_s += 0.02
        return {}


def test_looks_at_all_processes_are_rare(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    procfs = Slow()
    monkeypatch.setattr(namespace_holders, "time", procfs)
    holders = Holders(procfs, lane)
    for namespace in range(1, 2001):  # within 0.98 s, which is less than fifty looks
        assert [*holders.of(namespace, 1 << 22)] == []
        procfs.now_s += 0.00049
    assert procfs.looks == 1
    assert len(holders._seen) <= 1024
    procfs.now_s += 0.03
    assert [*holders.of(1, 1 << 22)] == []
    assert procfs.looks == 2
