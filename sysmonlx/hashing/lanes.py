# SPDX-License-Identifier: MIT
"""Both lanes and what their threads do: local files, and files that others serve.

All state is under one lock. No thread holds it while it waits for a file.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from sysmonlx.errors import ProcError
from sysmonlx.hashing.file_reading import PIECE_BYTES, Identify, Opener, Reader, fail
from sysmonlx.hashing.finished import Finished
from sysmonlx.hashing.jobs import (
    ERROR,
    HASHED,
    HUNG,
    NO_THREAD,
    SMALL_BYTES,
    Job,
    Usage,
    Waiter,
)
from sysmonlx.hashing.lane import Lane
from sysmonlx.hashing.program_opener import WouldWaitError
from sysmonlx.hashing.share import Share
from sysmonlx.hashing.worker import Worker
from sysmonlx.host.file_identity import FileId, answers_at_once

Token = TypeVar("Token")

#: Pause before a thread that could not be started is tried again, in seconds.
_AGAIN_S = 1.0
#: Stack of a thread, in bytes of address space; the default may be 8 MiB.
_STACK_BYTES = 512 << 10
#: How many hashes of small files may be ready before the reader is woken.
_UNTOLD_LIMIT = 16
#: How long `close` waits for the threads to end, in seconds.
_END_S = 0.5


class _Turn(NamedTuple):
    """The next turn of a thread, without the lock: tell, close, carry a job on."""

    job: Job[Any] | None
    fd: int
    rubbish: list[int]
    tells: bool


class Lanes(Generic[Token]):
    """Both lanes. The methods without underscore are for the thread that asks."""

    def __init__(self, opener: Opener, identify: Identify | None, share: Share) -> None:
        self.lock = threading.Lock()
        self._usage = usage = Usage()
        self.local: Lane[Token] = Lane(self.lock, usage, base=2, spares=4)
        self.foreign: Lane[Token] = Lane(
            self.lock, usage, base=1, spares=4, reserve=0.25
        )
        self.jobs: dict[FileId, Job[Token]] = {}
        self.share = share
        self.held_fds = 0
        self._opener, self._identify = opener, identify
        self.finished: Finished[Token] = Finished(self.lock)
        self._running = 0
        self.is_closed = False

    def start(self) -> None:
        """Start the threads; one that cannot be started is tried again later."""
        with self.lock:
            for lane in (self.local, self.foreign):
                self._staff(lane, time.monotonic())

    def lane_of(self, job: Job[Token]) -> Lane[Token]:
        """Return the lane that has a job."""
        return self.foreign if job.is_foreign else self.local

    def refusal(self, file: FileId, now_s: float) -> str:
        """Return why no thread can take a file, "" where one can; under the lock."""
        lane = self.local if answers_at_once(file) else self.foreign
        if lane.leaves_alone(file.dev, now_s):
            return HUNG
        if not lane.live:
            self._staff(lane, now_s)
        if lane.live:
            return ""
        return HUNG if lane.given_up else NO_THREAD

    def enlist(self, waiter: Waiter[Token], fd: int, now_s: float) -> None:
        """Queue a waiter's job, a new one or one wanted again; under the lock.

        `fd` is a descriptor that may be that of its file; -1: there is none.
        """
        job = waiter.job
        if fd >= 0:
            job.fds.append(fd)
            self.held_fds += 1
        job.waiters.append(waiter)
        job.waiting += 1
        if job.waiting > 1:
            return
        if self.jobs.get(job.file) is not job:
            job.is_foreign = not answers_at_once(job.file)
            self.jobs[job.file] = job
        if not job.is_running:
            self._put(self.lane_of(job), job, now_s)

    def drop(self, job: Job[Token]) -> None:
        """Give up a job that waits in a queue; under the lock."""
        lane = self.lane_of(job)
        lane.queue.remove(job)
        self._discard(lane, job)
        self._wake(lane)

    def abandon(self, job: Job[Token]) -> None:
        """Let a job wait for times when nobody waits, or give it up."""
        with self.lock:
            if job.ticket and not job.waiting:
                self._put(self.lane_of(job), job, time.monotonic())

    def throw_away(self, fd: int) -> None:
        """Let a thread close a descriptor; under the lock."""
        self.local.rubbish.append(fd)
        self._wake(self.local)

    def look(self, now_s: float) -> list[Job[Token]]:
        """Give up threads that hang, and start others; return what waited for them."""
        lost: list[Job[Token]] = []
        with self.lock:
            for lane in (self.local, self.foreign):
                for worker in [each for each in lane.live if each.hangs(now_s)]:
                    lost += self._give_up(lane, worker, now_s)
                if lane.quick(now_s) < lane.base:
                    self._staff(lane, now_s)
        return lost

    def close(self) -> None:
        """End the threads; one that hangs is left behind."""
        with self.lock:
            self.is_closed = True
            for lane in (self.local, self.foreign):
                lane.condition.notify_all()
            end_s = time.monotonic() + _END_S
            while self._running and time.monotonic() < end_s:
                self.local.condition.wait(_END_S / 10)
            if not self._running:  # else it may be written to yet
                self.finished.close()

    def _give_up(
        self, lane: Lane[Token], worker: Worker, now_s: float
    ) -> list[Job[Token]]:
        """Count on a thread no more; return the jobs on the same file system."""
        device = worker.device
        lane.give_up(worker, now_s)
        lost = [
            each
            for each in self.jobs.values()
            if each.file.dev == device and self.lane_of(each) is lane
        ]
        for each in lost:
            if each.is_running:
                self._forget(each)
            else:
                self.drop(each)
        return [*lost, worker.job] if worker.job is not None else lost

    def _staff(self, lane: Lane[Token], now_s: float) -> None:
        """Start the threads that a lane lacks."""
        while (
            lane.quick(now_s) < lane.base
            and len(lane.live) + lane.given_up < lane.base + lane.spares
            and now_s >= lane.next_start_s
            and not self.is_closed
        ):
            worker = Worker()
            size = threading.stack_size(_STACK_BYTES)
            try:
                _thread.start_new_thread(self._run, (lane, worker))
            except (RuntimeError, MemoryError):
                lane.next_start_s = now_s + _AGAIN_S
                return
            finally:
                threading.stack_size(size)
            lane.live.add(worker)
            self._running += 1

    def _run(self, lane: Lane[Token], worker: Worker) -> None:  # from here: in threads
        try:
            # Signals are for the thread that polls, whose sleep they must end.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            self._work(lane, worker)
        except Exception as error:  # another thread takes its place, see `look`
            self._break_off(lane, worker, error)
        finally:
            with self.lock:
                lane.live.discard(worker)
                self._running -= 1
                self.local.condition.notify_all()

    def _work(self, lane: Lane[Token], worker: Worker) -> None:
        reader = Reader(self._opener, self._identify)
        job: Job[Token] | None = None
        ended: Lane[Token] | None = lane
        began_s = ended_s = time.thread_time()
        while True:
            aside_s = began_s - ended_s
            ended_s = time.thread_time()
            with self.lock:
                now_s = time.monotonic()
                if job is not None:
                    cpu_s = ended_s - began_s - reader.take_loading_s()
                    self._usage.charge(job.uid, cpu_s, now_s)
                    self.share.spend(now_s, cpu_s + aside_s, is_light=job.is_light)
                    self._after(lane, job, ended, now_s)
                else:
                    self.share.spend(now_s, aside_s)
                turn = self._next(lane, worker, now_s)
            job = turn.job
            if turn.tells:
                self.finished.tell()
            _close_all(turn.rubbish)
            began_s = time.thread_time()
            if job is not None:
                ended = self._carry_on(lane, reader, job, turn.fd)
            elif not turn.rubbish and not turn.tells:
                return

    def _carry_on(
        self, lane: Lane[Token], reader: Reader, job: Job[Token], fd: int
    ) -> Lane[Token] | None:
        """Do a piece of a job; return in which lane it goes on, None: it is over."""
        try:
            return None if reader.carry_on(job, fd) else lane
        except WouldWaitError:
            job.is_foreign, job.tried_path = True, False
            return self.foreign
        except ProcError:
            return None
        except Exception as error:  # a mistake here costs one file its hash
            with self.lock:
                self.finished.note(error)
            fail(job, ERROR)
            return None

    def _break_off(self, lane: Lane[Token], worker: Worker, error: Exception) -> None:
        """Note why a thread ends that should not; its job has no hash."""
        with self.lock:
            self.finished.note(error)
            job: Job[Token] | None = worker.job
            if worker.is_given_up:
                lane.take_back(worker)
            if job is not None and not job.is_over:
                fail(job, ERROR)
                self._finish(lane, job)
            is_untold = self.finished.must_tell()
        if is_untold:
            self.finished.tell()

    def _after(
        self,
        lane: Lane[Token],
        job: Job[Token],
        goes_on: Lane[Token] | None,
        now_s: float,
    ) -> None:
        """Put a job where it belongs after a piece of work."""
        job.is_running = False
        if job.read_bytes or job.reason == HASHED:
            lane.left_alone.pop(job.file.dev, None)
        can_try = job.fds or (not job.tried_path and job.mount_namespace)
        if goes_on is not None:
            self._put(goes_on, job, now_s)
        elif job.reason != HASHED and can_try:
            self._put(lane, job, now_s)
        else:
            self._finish(lane, job)

    def _next(self, lane: Lane[Token], worker: Worker, now_s: float) -> _Turn:
        """Wait for something to do; nothing at all: end."""
        lane.rest(worker, now_s)
        self._resume(lane, now_s)
        while True:
            rubbish, lane.rubbish = lane.rubbish, []
            if self.is_closed or worker.is_needless:
                return self._last(lane, rubbish)
            job, wait_s = self._first(lane, now_s)
            if job is not None and not wait_s:
                return self._take(lane, worker, job, rubbish)
            tells = self.finished.must_tell()
            if rubbish or tells:
                worker.begin(None)
                return _Turn(None, -1, rubbish, tells)
            lane.sleeping += 1
            lane.condition.wait(wait_s if job is not None else None)
            lane.sleeping -= 1
            now_s = time.monotonic()

    def _last(self, lane: Lane[Token], rubbish: list[int]) -> _Turn:
        """Return what a thread does before it ends: nothing, in the end."""
        if self.is_closed:
            for each in (*lane.queue.take_all(), *lane.put_off):
                rubbish += each.take_descriptors()
        return _Turn(None, -1, rubbish, self.finished.must_tell())

    def _first(
        self, lane: Lane[Token], now_s: float
    ) -> tuple[Job[Token] | None, float]:
        """Return whose turn it is, and how long the share makes it wait."""
        while True:
            job, reserve, given_up = lane.queue.first(now_s)
            for each in given_up:
                self._discard(lane, each)
            if job is not None and lane.puts_off(job.file.dev, now_s):
                lane.queue.remove(job)
                lane.put_off.append(job)
                continue
            if job is None or not lane.leaves_alone(job.file.dev, now_s):
                break
            lane.queue.remove(job)
            job.reason = HUNG
            self._finish(lane, job)
        if job is None:
            return None, 0.0
        is_light = self._is_light(job, now_s)
        reserve = max(reserve, lane.reserve)
        wait_s = self.share.wait_s(now_s, reserve, is_light=is_light)
        if wait_s and job.waiting:
            lane.throttled_s = now_s
        return job, wait_s

    def _resume(self, lane: Lane[Token], now_s: float) -> None:
        """Queue again what was put off for a thread that has come back."""
        jobs, lane.put_off = lane.put_off, []
        for each in jobs:
            if not (each.is_over or each.is_running or each.ticket):
                self._put(lane, each, now_s)

    def _is_light(self, job: Job[Token], now_s: float) -> bool:
        """Tell whether a job may use what the share keeps for small files.

        The answer is noted in the job.
        """
        job.is_light = (
            job.file.size <= SMALL_BYTES
            and job.waiting > 0
            and self._usage.of(job.uid, now_s) <= self.share.little_s
        )
        return job.is_light

    def _take(
        self, lane: Lane[Token], worker: Worker, job: Job[Token], rubbish: list[int]
    ) -> _Turn:
        lane.queue.remove(job)
        worker.begin(job)
        job.is_running = True
        fd = -1
        if job.read_fd < 0 and job.fds:
            self.held_fds -= 1
            fd = job.fds.pop(0)
        is_quick = job.file.size <= PIECE_BYTES and lane is self.local
        may_tell = not is_quick or len(self.finished) >= _UNTOLD_LIMIT
        return _Turn(job, fd, rubbish, may_tell and self.finished.must_tell())

    def _put(self, lane: Lane[Token], job: Job[Token], now_s: float) -> None:
        for each in lane.queue.put(job, now_s):
            self._discard(lane, each)
        self._wake(lane)

    def _wake(self, lane: Lane[Token]) -> None:
        if lane.sleeping:
            lane.condition.notify()

    def _finish(self, lane: Lane[Token], job: Job[Token]) -> None:
        self._discard(lane, job)
        self.finished.add(job)

    def _discard(self, lane: Lane[Token], job: Job[Token]) -> None:
        """Forget a job, and let its descriptors be closed."""
        self._forget(job)
        job.is_over = True
        self.held_fds -= len(job.fds)
        lane.rubbish += job.take_descriptors()

    def _forget(self, job: Job[Token]) -> None:
        job.ticket = 0
        if self.jobs.get(job.file) is job:
            del self.jobs[job.file]


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
