# SPDX-License-Identifier: MIT
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hashing import (
    PATIENT_S,
    FakeOpener,
    HasherFactory,
    identity,
    sha256,
    wait_for,
)
from support.leftovers import nothing_stays_open, open_files

from sysmonlx.hashing import file_reading
from sysmonlx.hashing import hasher as hashes
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.program_opener import ProgramOpener
from sysmonlx.host.file_identity import FileId, file_id
from sysmonlx.host.procfs import Procfs

GONE_PID = (1 << 22) + 1


class Clock:
    """The time of those who wait for a hash; it goes on only when it is told to."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def monotonic(self) -> float:
        return self.now_s


class LateClock:
    """Shows a time at which what was just written was changed long ago."""

    monotonic = staticmethod(time.monotonic)
    thread_time = staticmethod(time.thread_time)

    @staticmethod
    def time_ns() -> int:
        return time.time_ns() + 25_000_000


@pytest.fixture(autouse=True)
def late_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reading, "time", LateClock)


def write_old(path: Path, data: bytes) -> FileId:
    """Write a file whose change is past, by the late clock."""
    path.write_bytes(data)
    return identity(path)


def wait_until_changes_show(path: Path) -> None:
    """Wait until a change of the file gives it another time."""
    while time.time_ns() - path.stat().st_ctime_ns < 25_000_000:
        time.sleep(0.005)


def of_procfs() -> Hasher[str]:
    """Return one that opens files of real processes."""
    return Hasher(ProgramOpener(Procfs()), ("SHA256",), wait_s=PATIENT_S)


@pytest.fixture
def proc(tmp_path: Path) -> FakeOpener:
    return FakeOpener(tmp_path)


@pytest.fixture
def make(proc: FakeOpener) -> Iterator[HasherFactory]:
    made: list[Hasher[str]] = []

    def factory(
        algorithms: tuple[str, ...] = ("SHA256",), **options: float
    ) -> Hasher[str]:
        options = {"wait_s": PATIENT_S, **options}
        made.append(Hasher(proc, algorithms, **options))  # type: ignore[arg-type]  # any options
        return made[-1]

    yield factory
    proc.gate.set()
    for hasher in made:
        hasher.close()


def test_hashes_come_in_sysmons_order_whatever_the_configurations(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    data = os.urandom(1_000_001)
    proc.files[5] = tmp_path / "program"
    wanted = write_old(proc.files[5], data)
    hasher = make(("SHA256", "IMPHASH", "MD5", "SHA1"))
    assert hasher.cached(wanted) is None
    assert hasher.request(wanted, 5, b"/program", 0, "t")
    text = ",".join(
        f"{name}={hashlib.new(name, data).hexdigest()}"
        for name in ("SHA1", "MD5", "SHA256")
    )
    assert wait_for(hasher, 1) == [("t", wanted, text)]
    assert hasher.cached(wanted) == text
    assert hasher.counts == {"hashed": 1}


def test_imphash_alone_is_a_hyphen(make: HasherFactory) -> None:
    assert make(("IMPHASH",)).cached(FileId(1, 2, 3, 4, 5)) == "-"


def test_unknown_file_is_a_hyphen(make: HasherFactory) -> None:
    assert make().cached(FileId(0, 0, 0, 0, 0)) == "-"


def test_real_process_is_hashed_though_its_file_was_removed_and_it_ends(
    tmp_path: Path,
) -> None:
    program = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", program)
    data = program.read_bytes()
    with subprocess.Popen([program, "60"]) as child:
        program.unlink()
        fd = Procfs().open_exe(child.pid)
        wanted = file_id(fd)
        os.close(fd)
        hasher = of_procfs()
        assert hasher.request(wanted, child.pid, bytes(program), 0, "t")
        child.kill()
    assert wait_for(hasher, 1) == [("t", wanted, sha256(data))]
    hasher.close()


def test_process_that_is_gone_is_found_by_path_in_its_mount_namespace(
    tmp_path: Path,
) -> None:
    wanted = write_old(tmp_path / "program", b"x" * 100)
    hasher = of_procfs()
    namespace = Procfs().mount_namespace(os.getpid())
    path = bytes(tmp_path / "program")
    assert hasher.request(wanted, GONE_PID, path, namespace, "t")
    assert wait_for(hasher, 1) == [("t", wanted, sha256(b"x" * 100))]
    hasher.close()


@pytest.mark.parametrize(
    ("path", "mnt_ns"), [(b"/gone", 77), (b"/program", 0), (b"/program", 78), (b"", 77)]
)
def test_file_that_cannot_be_found_is_gone(
    make: HasherFactory, tmp_path: Path, path: bytes, mnt_ns: int
) -> None:
    wanted = write_old(tmp_path / "program", b"x")
    hasher = make()
    assert hasher.request(wanted, 5, path, mnt_ns, "t")
    assert wait_for(hasher, 1) == [("t", wanted, "-")]
    assert hasher.counts == {"gone": 1}


@pytest.mark.parametrize("part", FileId._fields[:5])
def test_file_that_differs_from_the_record_has_no_hash(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path, part: str
) -> None:
    proc.files[5] = tmp_path / "program"
    real = write_old(proc.files[5], b"x" * 10)
    wanted = real._replace(**{part: getattr(real, part) + 1})
    hasher = make()
    assert hasher.request(wanted, 5, b"/program", 77, "t")
    assert wait_for(hasher, 1) == [("t", wanted, "-")]
    assert hasher.counts == {"changed": 1}
    assert hasher.cached(wanted) is None


def test_file_that_changes_while_it_is_hashed_has_no_hash(
    make: HasherFactory,
    proc: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proc.files[5] = tmp_path / "program"
    wanted = write_old(proc.files[5], b"x" * 10)
    wait_until_changes_show(proc.files[5])
    real = os.readv

    def slow(fd: int, buffers: list[memoryview]) -> int:
        count = real(fd, buffers)
        proc.files[5].write_bytes(b"y" * 10)
        return count

    monkeypatch.setattr(os, "readv", slow)
    hasher = make()
    assert hasher.request(wanted, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", wanted, "-")]
    assert hasher.counts == {"changed": 1}


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_only_a_regular_file_is_opened(
    make: HasherFactory, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "program"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/bin/sh")
    else:
        path.mkdir()
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    wanted = file_id(fd)
    os.close(fd)
    hasher = make()
    assert hasher.request(wanted, 5, b"/program", 77, "t")
    assert wait_for(hasher, 1) == [("t", wanted, "-")]
    assert hasher.counts == {"changed": 1}


def test_file_too_large_is_not_opened(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    wanted = write_old(tmp_path / "program", b"x" * 101)
    hasher = make(size_limit=100)
    assert hasher.cached(wanted) == "-"
    assert hasher.counts == {"too large": 1}
    assert proc.opened == 0


def test_file_changed_a_moment_ago_is_hashed_but_not_remembered(
    make: HasherFactory,
    proc: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_reading, "time", time)
    proc.files[5] = tmp_path / "program"
    hasher = make()
    proc.files[5].write_bytes(b"x")
    wanted = identity(proc.files[5])
    assert hasher.request(wanted, 5, b"/program", 0, "t")
    answers = wait_for(hasher, 1)
    assert answers == [("t", wanted, sha256(b"x"))]
    if time.time_ns() - wanted.ctime_ns < 20_000_000:
        assert hasher.cached(wanted) is None


def test_requests_for_one_file_are_hashed_once_and_all_answered(
    make: HasherFactory,
    proc: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = write_old(tmp_path / "program", b"x")
    proc.gate.clear()
    hashed: list[int] = []
    real = os.readv

    def counting(fd: int, buffers: list[memoryview]) -> int:
        hashed.append(fd)
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", counting)
    hasher = make()
    tokens = [f"t{number}" for number in range(50)]
    assert all(hasher.request(wanted, 5, b"/program", 77, each) for each in tokens)
    proc.gate.set()
    answers = wait_for(hasher, 50)
    assert answers == [(token, wanted, sha256(b"x")) for token in tokens]
    assert len(hashed) == 1


def test_later_request_saves_an_earlier_one_whose_process_was_gone(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    proc.files[6] = tmp_path / "program"
    wanted = write_old(proc.files[6], b"x")
    proc.gate.clear()
    hasher = make()
    assert hasher.request(wanted, 5, b"/gone", 77, "early")
    assert hasher.request(wanted, 6, b"/gone", 77, "late")
    proc.gate.set()
    assert wait_for(hasher, 2) == [
        ("early", wanted, sha256(b"x")),
        ("late", wanted, sha256(b"x")),
    ]


def test_full_queue_refuses_and_has_room_again_after_answers(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    wanted = write_old(tmp_path / "program", b"x")
    proc.gate.clear()
    hasher = make(queue_limit=3)
    accepted = [hasher.request(wanted, 5, b"/program", 77, "t") for _ in range(5)]
    assert accepted == [True, True, True, False, False]
    assert hasher.counts == {"queue full": 2}
    proc.gate.set()
    assert len(wait_for(hasher, 3)) == 3
    assert hasher.request(wanted, 5, b"/program", 77, "t")


def test_file_system_that_hangs_costs_the_wait_and_no_more(
    make: HasherFactory,
    proc: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashes, "time", clock := Clock())
    wanted = write_old(tmp_path / "program", b"x")
    proc.gate.clear()
    hasher = make(wait_s=2.0)
    assert hasher.request(wanted, 5, b"/program", 77, "t")
    clock.now_s += 1.9
    assert hasher.results() == []
    clock.now_s += 0.2
    assert hasher.results() == [("t", wanted, "-")]
    assert hasher.counts == {"timeout": 1}
    proc.gate.set()
    deadline = time.monotonic() + PATIENT_S
    while hasher.cached(wanted) is None and time.monotonic() < deadline:
        assert hasher.results() == []
        time.sleep(0.005)
    assert hasher.cached(wanted) == sha256(b"x")
    assert hasher.counts == {"timeout": 1}


def test_new_algorithms_forget_old_hashes(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    wanted = write_old(tmp_path / "program", b"x")
    hasher = make()
    proc.gate.clear()
    assert hasher.request(wanted, 5, b"/program", 77, "old")
    hasher.set_algorithms(["MD5"])
    assert hasher.request(wanted, 5, b"/program", 77, "new")
    proc.gate.set()
    md5 = "MD5=" + hashlib.md5(b"x").hexdigest()
    assert sorted(wait_for(hasher, 2)) == [
        ("new", wanted, md5),
        ("old", wanted, sha256(b"x")),
    ]
    assert hasher.cached(wanted) == md5


def test_cache_is_bounded_and_keeps_what_is_used(
    make: HasherFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hashes, "CACHE_LIMIT", 2)
    hasher = make()
    files = [write_old(tmp_path / name, name.encode()) for name in ("a", "b", "c")]
    for name, wanted in zip(("a", "b"), files, strict=False):
        hasher.request(wanted, 5, f"/{name}".encode(), 77, name)
        wait_for(hasher, 1)
    assert hasher.cached(files[0])
    hasher.request(files[2], 5, b"/c", 77, "c")
    wait_for(hasher, 1)
    assert [hasher.cached(each) is None for each in files] == [False, True, False]


def test_nothing_stays_open(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    proc.files[5] = tmp_path / "program"
    wanted = write_old(proc.files[5], b"x")
    with nothing_stays_open():
        hasher = make()
        other = wanted._replace(size=7)
        for _ in range(20):
            hasher.request(wanted, 5, b"/program", 77, "t")
            hasher.request(other, 5, b"/program", 77, "t")
        assert len(wait_for(hasher, 40)) == 40
        hasher.close()
    assert not hasher.request(wanted, 5, b"/program", 77, "t")


def test_file_expected_is_held_until_its_request(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    proc.files[5] = tmp_path / "program"
    wanted = write_old(proc.files[5], b"x")
    hasher = make()
    hasher.expect(wanted, 5, b"/program", 0)
    hasher.expect(wanted, 5, b"/program", 0)
    del proc.files[5]  # the process ends
    assert hasher.request(wanted, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", wanted, sha256(b"x"))]
    assert proc.opened == 1


def test_files_expected_in_vain_are_let_go(
    make: HasherFactory, proc: FakeOpener, tmp_path: Path
) -> None:
    wanted = write_old(tmp_path / "program", b"x")
    hasher = make()
    hasher.start()
    with nothing_stays_open():
        before = open_files()
        for number in range(10):
            proc.files[number] = tmp_path / "program"
            hasher.expect(wanted._replace(ino=number + 1), number, b"/program", 0)
        assert len(open_files().keys() - before.keys()) == 10
        hasher.unexpect()
