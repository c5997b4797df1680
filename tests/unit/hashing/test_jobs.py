# SPDX-License-Identifier: MIT
from __future__ import annotations

from collections.abc import Callable

import pytest

from sysmonlx.hashing import jobs as hashjobs
from sysmonlx.hashing.jobs import Job, JobQueue, Usage
from sysmonlx.host.file_identity import FileId

MIB = 1 << 20


@pytest.fixture
def usage() -> Usage:
    return Usage()


@pytest.fixture
def queue(usage: Usage) -> JobQueue[str]:
    return JobQueue(usage)


Jobs = Callable[..., Job[str]]


@pytest.fixture
def job() -> Jobs:
    made: list[Job[str]] = []

    def make(size: int = 1000, uid: int = 0, waiting: int = 1) -> Job[str]:
        file = FileId(1, len(made) + 1, size, 0, 0)
        made.append(Job(file, b"/x", 0, uid, ("MD5",), 0.0, waiting=waiting))
        return made[-1]

    return make


def order(queue: JobQueue[str], now_s: float = 0.0) -> list[Job[str]]:
    found = []
    while (first := queue.first(now_s)[0]) is not None:
        queue.remove(first)
        found.append(first)
    return found


def test_small_files_go_before_large_ones(queue: JobQueue[str], job: Jobs) -> None:
    large, small, middle = job(200 * MIB), job(1000), job(20 * MIB)
    for each in (large, small, middle):
        queue.put(each, 0.0)
    assert order(queue) == [small, middle, large]


def test_what_is_nearly_done_goes_first(queue: JobQueue[str], job: Jobs) -> None:
    whole, begun = job(10 * MIB), job(200 * MIB)
    begun.read_bytes = 199 * MIB
    queue.put(whole, 0.0)
    queue.put(begun, 0.0)
    assert order(queue) == [begun, whole]


def test_equal_files_keep_their_order(queue: JobQueue[str], job: Jobs) -> None:
    jobs = [job() for _ in range(5)]
    for each in jobs:
        queue.put(each, 0.0)
    assert order(queue) == jobs


def test_who_has_used_much_comes_after_who_has_not(
    queue: JobQueue[str], usage: Usage, job: Jobs
) -> None:
    usage.charge(1000, 2.0, 0.0)
    greedy, other = job(1000, uid=1000), job(200 * MIB, uid=1001)
    queue.put(greedy, 0.0)
    queue.put(other, 0.0)
    assert order(queue) == [other, greedy]


def test_use_is_forgotten_by_half(usage: Usage) -> None:
    usage.charge(1000, 2.0, 0.0)
    usage.charge(1000, 1.0, 5.0)
    assert usage.of(1000, 10.0) == pytest.approx(1.0)
    assert usage.of(1001, 10.0) == 0


def test_many_users_take_bounded_memory(usage: Usage) -> None:
    for uid in range(3 * hashjobs._USERS_LIMIT):
        usage.charge(uid, 1.0, 0.0)
    assert len(usage._used_s) <= hashjobs._USERS_LIMIT


def test_thousand_users_with_large_files_do_not_keep_a_small_one_waiting(
    queue: JobQueue[str], job: Jobs
) -> None:
    for uid in range(1000):
        queue.put(job(250 * MIB, uid=uid), 0.0)
    small = job(100_000, uid=5000)
    queue.put(small, 0.0)
    assert queue.first(0.0)[0] is small


def test_many_files_of_one_user_queued_at_once_do_not_keep_others_waiting(
    queue: JobQueue[str], usage: Usage, job: Jobs
) -> None:
    """None of them has cost anything when it is queued."""
    for _ in range(2000):
        queue.put(job(1000, uid=1000), 0.0)
    other = job(60_000, uid=1001)
    queue.put(other, 0.0)
    served = 0
    while (first := queue.first(0.0)[0]) is not other:
        assert first is not None
        queue.remove(first)
        usage.charge(1000, 2e-4, 0.0)
        served += 1
    assert served < 5


def test_full_queue_makes_room_by_what_users_have_used_since(
    queue: JobQueue[str], usage: Usage, job: Jobs
) -> None:
    jobs = [job(1000, uid=1000) for _ in range(40)]
    for each in jobs:
        queue.put(each, 0.0)
    newcomer = job(60_000, uid=1001)
    assert queue.dearer(newcomer, jobs, 0.0) == []
    usage.charge(1000, 0.1, 0.0)
    assert queue.dearer(newcomer, jobs, 0.0) == []  # looked a moment ago
    assert len(queue.dearer(newcomer, jobs, 0.1)) == 6


def test_what_nobody_waits_for_comes_last_and_leaves_some_of_the_share(
    queue: JobQueue[str], job: Jobs
) -> None:
    left, wanted = job(waiting=0), job(200 * MIB)
    queue.put(left, 0.0)
    queue.put(wanted, 0.0)
    assert queue.first(0.0)[:2] == (wanted, 0.0)
    queue.remove(wanted)
    first, reserve, _ = queue.first(0.0)
    assert first is left
    assert reserve > 0


def test_job_whose_waiters_went_away_moves_to_the_end(
    queue: JobQueue[str], job: Jobs
) -> None:
    left, wanted = job(1000), job(200 * MIB)
    queue.put(left, 0.0)
    queue.put(wanted, 0.0)
    left.waiting = 0
    assert order(queue) == [wanted, left]


def test_wanted_again_it_takes_its_place(queue: JobQueue[str], job: Jobs) -> None:
    left, wanted = job(1000, waiting=0), job(200 * MIB)
    queue.put(left, 0.0)
    queue.put(wanted, 0.0)
    left.waiting = 1
    queue.put(left, 0.0)
    assert order(queue) == [left, wanted]


def test_what_nobody_waits_for_is_given_up_in_the_end(
    queue: JobQueue[str], job: Jobs
) -> None:
    left = job(waiting=0)
    assert queue.put(left, 0.0) == []
    assert queue.first(29.0)[0] is left
    assert queue.first(31.0) == (None, 0.0, [left])
    assert queue.first(31.0) == (None, 0.0, [])


def test_few_are_kept_that_nobody_waits_for_the_cheapest(
    queue: JobQueue[str], job: Jobs
) -> None:
    jobs = [job(size, waiting=0) for size in range(MIB, 21 * MIB, MIB)]
    given_up = [each for one in jobs for each in queue.put(one, 0.0)]
    assert given_up == jobs[8:]
    assert order(queue) == jobs[:8]


def test_removed_jobs_do_not_fill_memory(queue: JobQueue[str], job: Jobs) -> None:
    stays = job(1)
    queue.put(stays, 0.0)
    for _ in range(3 * hashjobs._HEAP_LIMIT):
        large = job(250 * MIB)
        queue.put(large, 0.0)
        queue.remove(large)
    assert len(queue) <= hashjobs._HEAP_LIMIT
    assert order(queue) == [stays]


def test_all_can_be_taken_out(queue: JobQueue[str], job: Jobs) -> None:
    jobs = [job(), job(waiting=0), job(200 * MIB)]
    for each in jobs:
        queue.put(each, 0.0)
    assert set(queue.take_all()) == set(jobs)
    assert queue.first(0.0)[0] is None
