# SPDX-License-Identifier: MIT
"""Threads that hash: that hang, that cannot be started, that have nothing to do."""

from __future__ import annotations

import _thread
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.hashing import (
    PATIENT_S,
    FakeOpener,
    HasherFactory,
    identity,
    sha256,
    wait_for,
)

from sysmonlx.hashing import lanes, worker
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.file_identity import FileId

FUSE = 0x65735546
TMPFS = 0x01021994


@pytest.fixture
def opener(tmp_path: Path) -> FakeOpener:
    return FakeOpener(tmp_path)


@pytest.fixture
def make(opener: FakeOpener) -> Iterator[HasherFactory]:
    made: list[Hasher[str]] = []

    def factory(**options: Any) -> Hasher[str]:
        options = {"wait_s": PATIENT_S, **options}
        made.append(Hasher(opener, ("SHA256",), **options))
        return made[-1]

    yield factory
    opener.gate.set()
    for hasher in made:
        hasher.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are given up soon."""
    monkeypatch.setattr(worker, "HUNG_S", 0.1)
    monkeypatch.setattr(worker, "HUNG_LOOKS", 2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on no thread is given up, however busy the machine is."""
    return lambda: monkeypatch.setattr(worker, "HUNG_S", 3600.0)


def local(path: Path, data: bytes) -> FileId:
    path.write_bytes(data)
    return identity(path)._replace(filesystem=TMPFS)


@pytest.fixture
def file(opener: FakeOpener, tmp_path: Path) -> FileId:
    """The file that process 5 runs."""
    opener.files[5] = tmp_path / "program"
    return local(tmp_path / "program", b"x")


def on_device(file: FileId, number: int) -> FileId:
    """Return the same of a file system of somebody's making, which never answers."""
    return file._replace(filesystem=FUSE, dev=number)


def await_that(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let descriptors lead to whatever is asked for, on the devices of the tests."""
    monkeypatch.setattr("sysmonlx.hashing.file_reading.leads_to", lambda *_: True)


@pytest.mark.usefixtures("same")
def test_file_systems_that_hang_cost_only_files_of_their_lane(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
) -> None:
    patient()
    hasher = make()
    mine = local(tmp_path / "mine", b"mine")
    opener.files[6] = tmp_path / "mine"
    opener.gate.clear()
    for number in range(20):
        foreign = on_device(mine, 100 + number)
        assert hasher.request(foreign, 5, b"/mine", 77, f"hangs{number}")
    assert hasher.request(mine, 6, b"/mine", 77, "mine")
    assert wait_for(hasher, 1) == [("mine", mine, sha256(b"mine"))]


@pytest.mark.parametrize("kind", [TMPFS, FUSE])
@pytest.mark.usefixtures("same")
def test_file_system_that_is_slow_keeps_no_others_of_its_lane_waiting(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
    kind: int,
) -> None:
    """Nobody has to be given up for it, and the slow ones have their hashes.

    The others have theirs while not one of the slow ones can be read.
    """
    patient()
    hasher = make()
    file = local(tmp_path / "program", b"x")._replace(filesystem=kind)
    opener.files[6] = tmp_path / "program"
    opener.gate.clear()
    lane = hasher._lanes.local if kind == TMPFS else hasher._lanes.foreign
    for number in range(30):
        slow = file._replace(dev=100, ino=number + 1)
        assert hasher.request(slow, 5, b"/program", 77, "slow")
    for number in range(5):
        other = file._replace(dev=101, ino=number + 1)
        assert hasher.request(other, 6, b"/program", 77, f"other{number}")
    answers = {token: text for token, _, text in wait_for(hasher, 5)}
    assert answers == {f"other{n}": sha256(b"x") for n in range(5)}
    assert lane.given_up == 0
    assert len(lane.live) <= 2 * lane.base
    opener.gate.set()
    assert {text for _, _, text in wait_for(hasher, 30)} == {sha256(b"x")}
    await_that(lambda: len(lane.live) == lane.base)
    assert hasher.counts == {"hashed": 35}


@pytest.mark.usefixtures("same")
def test_hash_of_a_thread_that_was_slow_and_is_needless_is_told(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
) -> None:
    patient()
    hasher = make()
    file = local(tmp_path / "program", b"x")
    opener.gate.clear()
    slow = on_device(file, 100)
    assert hasher.request(slow, 5, b"/program", 77, "slow")
    lane = hasher._lanes.foreign
    await_that(lambda: hasher.results() == [] and len(lane.live) == 2)
    await_that(lambda: lane.sleeping == 1)
    opener.gate.set()
    assert select.select([hasher], [], [], PATIENT_S)[0]
    assert hasher.results() == [("slow", slow, sha256(b"x"))]
    assert len(lane.live) == lane.base


@pytest.mark.usefixtures("quick", "same")
def test_thread_that_hangs_is_given_up_counted_and_replaced(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
) -> None:
    hasher = make()
    file = local(tmp_path / "program", b"x")
    silent, other = on_device(file, 100), on_device(file, 101)
    opener.gate.clear()
    assert hasher.request(silent, 5, b"/program", 77, "hangs")
    assert wait_for(hasher, 1) == [("hangs", silent, "-")]
    assert hasher.counts == {"hung": 1}
    patient()
    opener.files[6] = tmp_path / "program"
    assert hasher.request(other, 6, b"/program", 77, "other")
    assert wait_for(hasher, 1) == [("other", other, sha256(b"x"))]


@pytest.mark.usefixtures("quick", "same")
def test_file_system_that_hangs_gets_no_second_thread_until_it_answers(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
) -> None:
    hasher = make()
    file = on_device(local(tmp_path / "program", b"x"), 100)
    second = file._replace(ino=file.ino + 1)
    opener.gate.clear()
    for token, each in (("first", file), ("second", second)):
        assert hasher.request(each, 5, b"/program", 77, token)
    answers = wait_for(hasher, 2)
    assert sorted(answers) == [("first", file, "-"), ("second", second, "-")]
    opener.files[6] = tmp_path / "program"
    assert not hasher.request(second, 6, b"/program", 77, "third")
    assert hasher.counts == {"hung": 3}
    patient()
    opener.gate.set()
    await_that(lambda: hasher.request(file, 6, b"/program", 77, "again"))
    assert wait_for(hasher, 1) == [("again", file, sha256(b"x"))]


@pytest.mark.usefixtures("quick", "same")
def test_file_that_hangs_costs_others_of_its_file_system_a_while_only(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    patient: Callable[[], None],
) -> None:
    hasher = make()
    file = on_device(local(tmp_path / "program", b"x"), 100)
    second = file._replace(ino=file.ino + 1)
    opener.gate.clear()
    opener.files[6] = tmp_path / "program"
    assert hasher.request(file, 5, b"/program", 77, "hangs")
    assert wait_for(hasher, 1) == [("hangs", file, "-")]
    assert not hasher.request(second, 6, b"/program", 77, "too soon")
    patient()
    let_the_while_be_over(hasher)
    assert hasher.request(second, 6, b"/program", 77, "second")
    assert wait_for(hasher, 1) == [("second", second, sha256(b"x"))]
    assert hasher.request(second, 6, b"/program", 77, "third")
    assert wait_for(hasher, 1) == [("third", second, sha256(b"x"))]
    lane = hasher._lanes.foreign
    assert lane.given_up == 1


def let_the_while_be_over(hasher: Hasher[str]) -> None:
    """Let the time have passed for which silent file systems are left alone."""
    lane = hasher._lanes.foreign
    with hasher._lanes.lock:
        lane.left_alone = dict.fromkeys(lane.left_alone, time.monotonic())


@pytest.mark.usefixtures("quick", "same")
def test_file_system_that_hangs_costs_two_threads_at_most(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    hasher = make()
    file = on_device(local(tmp_path / "program", b"x"), 100)
    opener.gate.clear()
    for _ in range(10):
        if hasher.request(file, 5, b"/program", 77, "hangs"):
            assert wait_for(hasher, 1) == [("hangs", file, "-")]
        let_the_while_be_over(hasher)
    lane = hasher._lanes.foreign
    assert lane.given_up == 2
    assert hasher.counts == {"hung": 10}
    opener.gate.set()
    await_that(lambda: lane.given_up == 0)
    assert not lane.silent
    assert not lane.left_alone


@pytest.mark.usefixtures("quick", "same")
def test_threads_are_bounded_whatever_hangs(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    hasher = make()
    file = local(tmp_path / "program", b"x")
    hasher.start()
    opener.gate.clear()
    for number in range(9):
        if hasher.request(on_device(file, number), 5, b"/program", 77, "t"):
            assert len(wait_for(hasher, 1)) == 1
    lane = hasher._lanes.foreign
    assert hasher.counts == {"hung": 9}
    running = hasher._lanes._running - hasher._lanes.local.base
    assert running == lane.base + lane.spares
    opener.gate.set()
    await_that(lambda: lane.given_up == 0 and len(lane.live) == lane.base)
    assert not lane.silent
    await_that(lambda: hasher._lanes._running == 3)


@pytest.mark.usefixtures("quick", "same")
def test_late_hash_of_a_thread_that_was_given_up_is_remembered(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    nfs = 0x6969
    hasher = make()
    file = local(tmp_path / "program", b"x")._replace(filesystem=nfs)
    os.utime(tmp_path / "program")
    opener.gate.clear()
    await_that(lambda: time.time_ns() - file.ctime_ns > 30_000_000)
    assert hasher.request(file, 5, b"/program", 77, "t")
    assert wait_for(hasher, 1) == [("t", file, "-")]
    opener.gate.set()
    assert select.select([hasher], [], [], PATIENT_S)[0]
    assert hasher.results() == []
    assert hasher.cached(file) == sha256(b"x")


@pytest.mark.usefixtures("quick")
def test_descriptors_whose_end_takes_long_cost_no_thread_for_good(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patient: Callable[[], None],
) -> None:
    """The last descriptor of a file system that was unmounted may end it."""
    gate, real = threading.Event(), lanes._close_all
    number = os.open("/dev/null", os.O_RDONLY)

    def close_slowly(fds: list[int]) -> None:
        if number in fds:
            gate.wait(PATIENT_S)
        real(fds)

    monkeypatch.setattr(lanes, "_close_all", close_slowly)
    file = local(tmp_path / "program", b"x")
    hasher = make()
    hasher.start()
    lane = hasher._lanes.local
    await_that(lambda: lane.sleeping == lane.base)
    with hasher._lanes.lock:
        hasher._lanes.throw_away(number)
    opener.gate.clear()
    assert hasher.request(on_device(file, 100), 5, b"/program", 77, "waits")
    await_that(lambda: hasher.results() == [] and lane.given_up == 1)
    patient()
    opener.files[6] = tmp_path / "program"
    assert hasher.request(file, 6, b"/program", 77, "t")
    await_that(lambda: ("t", file, sha256(b"x")) in hasher.results())
    gate.set()
    opener.gate.set()
    await_that(lambda: lane.given_up == 0 and len(lane.live) == lane.base)
    assert not lane.silent


def test_thread_that_cannot_be_started_costs_the_hash_and_is_tried_again(
    make: HasherFactory,
    file: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[float] = []

    def fail(*_: object) -> int:
        tried.append(time.monotonic())
        raise RuntimeError("can't start new thread")

    hasher = make()
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", fail)
        hasher.start()
        for _ in range(100):
            assert not hasher.request(file, 5, b"/program", 77, "t")
    assert hasher.counts == {"no thread": 100}
    assert len(tried) <= 3
    hasher._lanes.local.next_start_s = 0
    assert hasher.request(file, 5, b"/program", 77, "t")
    assert len(wait_for(hasher, 1)) == 1


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "ENOMEM"])
def test_shortage_costs_one_hash_and_is_counted(
    make: HasherFactory,
    file: FileId,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
) -> None:
    import errno

    real = os.open

    def fail(path: Any, flags: int, *more: Any) -> int:
        if not flags & os.O_PATH:
            raise OSError(getattr(errno, number), "shortage")
        return real(path, flags, *more)

    hasher = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert hasher.request(file, 5, b"/program", 0, "t")
        assert wait_for(hasher, 1) == [("t", file, "-")]
    reason = "no memory" if number == "ENOMEM" else "no descriptor"
    assert hasher.counts == {reason: 1}
    assert hasher.request(file, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", file, sha256(b"x"))]


def test_thread_survives_whatever_goes_wrong(
    make: HasherFactory,
    file: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasher = make()
    with monkeypatch.context() as patch:
        patch.setattr("sysmonlx.hashing.file_reading.leads_to", lambda *_: 1 // 0)
        for _ in range(5):
            assert hasher.request(file, 5, b"/program", 0, "t")
            assert wait_for(hasher, 1) == [("t", file, "-")]
    assert hasher.counts == {"error": 5}
    assert hasher.losses() == {"error": 5}
    assert isinstance(hasher.take_error(), ZeroDivisionError)
    assert hasher.take_error() is None
    assert hasher.request(file, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", file, sha256(b"x"))]


def test_mistake_of_a_lane_costs_one_hash_and_is_told(
    make: HasherFactory,
    file: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two threads serve the lane; each of five mistakes ends one."""
    hasher = make()
    with monkeypatch.context() as patch:
        patch.setattr(lanes.Lanes, "_after", lambda *_: 1 // 0)
        for _ in range(5):
            await_that(lambda: hasher.request(file, 5, b"/program", 0, "t"))
            assert wait_for(hasher, 1) == [("t", file, "-")]
    assert hasher.counts == {"error": 5}
    assert isinstance(hasher.take_error(), ZeroDivisionError)
    assert hasher.request(file, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", file, sha256(b"x"))]


def test_no_mistake_is_remembered_as_a_hash(
    make: HasherFactory,
    file: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await_that(lambda: time.time_ns() - file.ctime_ns > 30_000_000)
    divisors = iter((1, 0))
    monkeypatch.setattr(
        "sysmonlx.hashing.file_reading.leads_to", lambda *_: 1 // next(divisors)
    )
    hasher = make()
    assert hasher.request(file, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", file, "-")]
    assert hasher.counts == {"error": 1}
    assert hasher.cached(file) is None


def test_nobody_woken_for_a_hash_that_was_fetched(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    """A descriptor that stays readable would keep the reader from sleeping."""
    hasher = make(wait_s=0.02)
    file = local(tmp_path / "program", b"x")
    opener.gate.clear()
    assert hasher.request(file, 5, b"/program", 77, "t")
    assert wait_for(hasher, 1) == [("t", file, "-")]
    opener.gate.set()
    assert select.select([hasher], [], [], 10)[0]
    assert hasher.results() == []
    assert select.select([hasher], [], [], 0.05)[0] == []


def test_idle_threads_do_not_wake_up(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    others = set(os.listdir("/proc/self/task"))
    hasher = make(share_percent=1)
    hasher._lanes.share.spend(time.monotonic(), 0.1)
    file = local(tmp_path / "program", bytes(1 << 20))
    opener.files[5] = tmp_path / "program"
    assert hasher.request(file, 5, b"/program", 77, "t")
    assert len(wait_for(hasher, 1)) == 1
    await_that(lambda: are_asleep(others))


@pytest.mark.usefixtures("quick", "same")
def test_idle_threads_do_not_wake_up_after_trouble_either(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """File systems hang for good, others are put off, a thread made a mistake."""
    others = set(os.listdir("/proc/self/task"))
    hasher = make(wait_s=0.5)
    file = local(tmp_path / "program", b"x")
    opener.files[6] = tmp_path / "program"
    with monkeypatch.context() as patch:
        patch.setattr(lanes.Lanes, "_after", lambda *_: 1 // 0)
        assert hasher.request(file, 6, b"/program", 77, "mistake")
        assert len(wait_for(hasher, 1)) == 1
    opener.gate.clear()
    for number in range(20):
        for each in (file._replace(dev=100), on_device(file, 101)):
            numbered = each._replace(ino=number + 1)
            assert hasher.request(numbered, 5, b"/program", 77, "hangs")
    assert len(wait_for(hasher, 40)) == 40
    await_that(lambda: are_asleep(others))


def are_asleep(others: set[str]) -> bool:
    """Tell whether no thread but these wakes up within a while."""
    before = switches(others)
    time.sleep(0.3)
    return bool(before) and switches(others) == before


def switches(others: set[str]) -> list[tuple[str, str]]:
    """Return how often each thread but these went to sleep; one may end meanwhile."""
    found = []
    for task in sorted(set(os.listdir("/proc/self/task")) - others):
        with suppress(OSError):
            text = Path(f"/proc/self/task/{task}/status").read_text()
            lines = text.splitlines()
            found += [(task, each) for each in lines if each.startswith("voluntary")]
    return found


@pytest.mark.parametrize("percent", [1, 5])
@pytest.mark.usefixtures("same")
def test_large_files_of_one_user_do_not_cost_others_their_hashes(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path, percent: int
) -> None:
    """The share is used up, and still a small file has its turn at once.

    Each has it in time. A busy machine lets some of them wait, not most.
    """
    hasher = make(share_percent=percent, wait_s=5.0)
    waits_s = []
    with open(tmp_path / "large", "wb") as large:
        large.truncate(200 << 20)
    for number in range(20):
        file = identity(tmp_path / "large")._replace(filesystem=TMPFS, ino=number + 1)
        opener.files[number] = tmp_path / "large"
        assert hasher.request(file, number, b"/large", 0, "large", uid=1000)
    wanted = local(tmp_path / "large2", bytes(180 << 20))
    opener.files[50] = tmp_path / "large2"

    def is_used_up() -> bool:
        """Tell whether the share is; burn more where that was not seen in time."""
        if wanted not in hasher._lanes.jobs:
            assert hasher.request(wanted, 50, b"/large2", 0, "burn", uid=1000)
        hasher.results()
        return hasher._share.wait_s(time.monotonic()) > 0

    await_that(is_used_up)
    for number in range(20):
        path = tmp_path / f"small{number}"
        file = local(path, b"%d" % number)
        opener.files[100 + number] = path
        started_s = time.monotonic()
        assert hasher.request(file, 100 + number, bytes(path), 0, "small", uid=1001)
        answers = [each for each in wait_for(hasher, 1) if each[0] == "small"]
        while not answers and time.monotonic() < started_s + 5:
            answers = [each for each in wait_for(hasher, 1) if each[0] == "small"]
        assert answers == [("small", file, sha256(b"%d" % number))]
        waits_s.append(time.monotonic() - started_s)
    assert sorted(waits_s)[10] < 1


def test_full_queue_throws_out_what_costs_most(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    hasher = make(queue_limit=40, wait_s=10.0)
    opener.gate.clear()
    large = local(tmp_path / "program", b"x")._replace(size=100 << 20)
    for number in range(40):
        assert hasher.request(large._replace(ino=number + 1), 5, b"/program", 77, "l")
    assert not hasher.request(large._replace(size=200 << 20), 5, b"/program", 77, "l")
    small = large._replace(size=1)
    opener.files[6] = tmp_path / "program"
    assert hasher.request(small, 6, b"/program", 77, "small")
    answers = hasher.results()
    assert {text for _, _, text in answers} == {"-"}
    assert 0 < len(answers) < 10
    assert hasher.counts == {"queue full": len(answers) + 1}


@pytest.mark.usefixtures("same")
def test_jobs_that_are_put_off_make_room_as_well(
    make: HasherFactory,
    opener: FakeOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "HUNG_S", 3600.0)
    hasher = make(queue_limit=40, wait_s=60.0)
    opener.gate.clear()
    large = local(tmp_path / "program", b"x")._replace(size=100 << 20, dev=100)
    for number in range(40):
        assert hasher.request(large._replace(ino=number + 1), 5, b"/program", 77, "l")
    lane, jobs = hasher._lanes.local, hasher._lanes.jobs

    def are_put_off() -> bool:
        """Say whether no job waits in the queue; a thread or two more may have one."""
        running = sum(job.is_running for job in jobs.values())
        return hasher.results() == [] and len(lane.put_off) == 40 - running < 40

    await_that(are_put_off)
    small = large._replace(size=1, dev=101)
    opener.files[6] = tmp_path / "program"
    assert hasher.request(small, 6, b"/program", 77, "small")
    answers = wait_for(hasher, 2)
    assert ("small", small, sha256(b"x")) in answers
    assert hasher.counts["queue full"] == len(answers) - 1


def test_over_the_share_is_told_apart_from_too_slow(
    make: HasherFactory, file: FileId
) -> None:
    hasher = make(share_percent=1, wait_s=0.1)
    hasher._share.spend(time.monotonic(), 1.0)
    assert hasher.request(file, 5, b"/program", 0, "t")
    assert wait_for(hasher, 1) == [("t", file, "-")]
    assert hasher.counts == {"over share": 1}


def test_waiting_for_ever_holds_no_descriptors(
    make: HasherFactory, opener: FakeOpener, tmp_path: Path
) -> None:
    """What nobody waits for any more is given up, but for a few files."""
    hasher = make(share_percent=1, wait_s=0.05)
    hasher._share.spend(time.monotonic(), 5.0)
    path = tmp_path / "program"
    file = local(path, b"x")
    opener.files[5] = path
    hasher.start()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        assert hasher.request(file._replace(ino=number + 1), 5, b"/program", 0, "t")
    assert len(wait_for(hasher, 100)) == 100
    await_that(lambda: len(os.listdir("/proc/self/fd")) - before <= 8)
    assert hasher._lanes.held_fds <= 8


def test_losses_tell_what_is_worth_telling(make: HasherFactory) -> None:
    hasher = make()
    hasher.counts.update({"hashed": 5, "too large": 7, "gone": 9, "queue full": 1})
    assert hasher.losses() == {"queue full": 1}
    hasher.counts.update({"gone": 2, "changed": 3})
    assert hasher.losses() == {"queue full": 1, "gone": 11}
    hasher.counts.update({"gone": 9})
    assert hasher.losses() == {"queue full": 1, "gone": 11}
