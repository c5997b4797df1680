# SPDX-License-Identifier: MIT
"""Calls that may block, made by other threads for a caller that waits briefly only.

The thread that events pass through gives a call to a `Lane`. A lane has threads of its
own, a limit for all of them, and a limit for the time that its caller spends waiting.
A thread that does not come back is given up and replaced; the caller's key of that call
(a user, say) gets no other thread of the lane until it does. A call without an answer
costs one value, which is unknown and counted by reason.

Each thread has a table of descriptors of its own, with the standard ones alone. A
thread may hang in the kernel for ever, also after the process has ended; it then holds
no lock file, no socket and no BPF link of it.
"""

from __future__ import annotations

import _thread
import ctypes
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from sysmonlx.host.patience import Clock, Penalties, WaitBudget

#: Reasons why a value is unknown, keys of `Lane.counts`.
NO_ANSWER = "no answer in time"
NO_TIME = "no time left to wait"
BUSY = "all threads busy"
HELD = "an earlier call of the same user hangs"
NO_THREAD = "no thread could be started"
FAILED = "the call failed"

#: A shorter wait is not begun, in seconds.
_LEAST_WAIT_S = 0.001
#: A key gets a penalty when its call was waited for in vain for this time, in seconds.
_LONG_WAIT_S = 0.01
#: Pause before a thread that could not be started is tried again, in seconds.
_RETRY_S = 1.0
_STACK_BYTES = 1 << 20
_SYS_CLOSE_RANGE, _CLOSE_RANGE_UNSHARE = 436, 2  # v5.9, <linux/close_range.h>
_FIRST_AFTER_STANDARD = 3

T = TypeVar("T")


class _Job(Generic[T]):
    """One call. `worker` makes it now. Its caller waits no more when `is_given_up`."""

    __slots__ = ("done", "is_done", "is_given_up", "key", "result", "work", "worker")

    def __init__(self, work: Callable[[], T], key: Hashable) -> None:
        self.work = work
        self.key = key
        self.done = threading.Lock()
        self.done.acquire()
        self.result: T | None = None
        self.is_done = self.is_given_up = False
        self.worker: _Worker | None = None


class _Worker:
    """One thread: its job, since when it has it, and whether it was given up."""

    __slots__ = ("is_given_up", "job", "since")

    def __init__(self) -> None:
        self.job: _Job[Any] | None = None
        self.since = 0.0
        self.is_given_up = False


class Limits(NamedTuple):
    """The threads and the waiting time that a lane may use.

    `workers` threads are kept, and `threads` at most exist, those given up included.
    The caller may wait for `burst_s` at once and for `share` of the time in all. At
    most `queue` posted calls wait. A thread that makes one posted call for longer than
    `patience_s` is given up.
    """

    workers: int
    threads: int
    burst_s: float
    share: float
    queue: int = 64
    patience_s: float = 5.0


class Lane:
    """Threads for one purpose; all methods are for one thread, which never hangs here.

    `name` says in reports which values become unknown.
    """

    def __init__(
        self, name: str, limits: Limits, clock: Clock = time.monotonic
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.waited_s = 0.0
        self._limits = limits
        self._clock = clock
        self._budget = WaitBudget(limits.burst_s, limits.share, clock)
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._workers: set[_Worker] = set()
        self._live = 0  # of them, those not given up
        self._idle = 0  # of these, those to which no job is promised
        self._backlog = 0  # jobs promised to no thread yet
        self._held: Counter[Hashable] = Counter()
        self._pending: set[Hashable] = set()
        self._penalties = Penalties()
        self._has_begun = False
        self._retry_at = 0.0

    @property
    def threads(self) -> int:
        """How many threads there are, those given up included."""
        return len(self._workers)

    def begin(self, when_needed: bool = False) -> None:
        """Start the threads, now or one by one; earlier questions have no answer."""
        self._has_begun = True
        if not when_needed:
            self.renew()

    def end(self) -> None:
        """Let the threads end, each after its call; one that hangs is left behind."""
        self._has_begun = False
        for _ in range(len(self._workers)):
            self._jobs.put(None)

    def renew(self) -> None:
        """Replace threads that are missing; call it every second or so."""
        if not self._pending and self._live >= self._limits.workers:
            return  # none is missing, and only what was posted can be stuck unseen
        with self._lock:
            self._give_up_stuck()
            self._fill()

    def run(self, work: Callable[[], T], key: Hashable = None) -> T | None:
        """Return what `work` returns, None when that is not known soon.

        Args:
            work: The call. It takes no locks and opens what it needs itself.
            key: Whose call it is. While one of a key hangs, no other is begun.
        """
        now = self._clock()
        wait_s = self._budget.left_s()
        reason = self._why_not(key, now, wait_s)
        if reason:
            self.counts[reason] += 1
            return None
        job = _Job(work, key)
        with self._lock:
            if not self._idle:
                self._fill()
            if not self._idle:
                self.counts[BUSY] += 1
                return None
            self._idle -= 1
        self._jobs.put(job)
        self._wait(job, wait_s)
        return job.result if self._is_answered(job, wait_s) else None

    def post(
        self, work: Callable[[], object], key: Hashable, wait: bool = True
    ) -> bool:
        """Have `work` done some time; say whether it was done before the return.

        Of each key one call waits or is made at a time. `wait` for the answer, if there
        is time for it.
        """
        if key in self._pending:
            return False
        if len(self._pending) >= self._limits.queue:
            self.counts[BUSY] += 1
            return False
        self._pending.add(key)
        job = _Job(work, key)
        with self._lock:
            if not self._idle:
                self._give_up_stuck()
                self._fill()
            if self._idle:
                self._idle -= 1
            else:
                self._backlog += 1
        self._jobs.put(job)
        wait_s = self._budget.left_s()
        if wait and wait_s >= _LEAST_WAIT_S:
            self._wait(job, wait_s)
        return job.is_done

    def _why_not(self, key: Hashable, now: float, wait_s: float) -> str:
        if key is not None and (key in self._held or self._penalties.applies(key, now)):
            return HELD
        return NO_TIME if wait_s < _LEAST_WAIT_S else ""

    def _wait(self, job: _Job[Any], wait_s: float) -> None:
        start = self._clock()
        job.done.acquire(timeout=wait_s)
        waited_s = self._clock() - start
        self._budget.spend(waited_s)
        self.waited_s += waited_s

    def _is_answered(self, job: _Job[Any], waited_s: float) -> bool:
        """Give a job up that is not done; say whether it is."""
        with self._lock:
            if job.is_done:
                if job.key is not None:
                    self._penalties.remove(job.key)
                return True
            job.is_given_up = True
            if job.worker is not None:
                self._give_up(job.worker)
                if job.key is not None and waited_s >= _LONG_WAIT_S:
                    self._penalties.add(job.key, self._clock())
        self.counts[NO_ANSWER] += 1
        return False

    def _give_up(self, worker: _Worker) -> None:
        worker.is_given_up = True
        self._live -= 1
        if worker.job is not None and worker.job.key is not None:
            self._held[worker.job.key] += 1

    def _give_up_stuck(self) -> None:
        """Give up the threads that have been at one call for too long."""
        due = self._clock() - self._limits.patience_s
        for worker in self._workers:
            if worker.job is not None and not worker.is_given_up and worker.since < due:
                self._give_up(worker)
                self.counts[NO_ANSWER] += 1

    def _fill(self) -> None:
        """Start threads that are missing, where that is possible."""
        limits = self._limits
        if not self._has_begun or self._clock() < self._retry_at:
            return
        while self._live < limits.workers and len(self._workers) < limits.threads:
            worker = _Worker()
            if not _start(self._serve, worker):
                self.counts[NO_THREAD] += 1
                self._retry_at = self._clock() + _RETRY_S
                return
            self._workers.add(worker)
            self._live += 1
            self._is_free()

    def _is_free(self) -> None:
        if self._backlog:
            self._backlog -= 1
        else:
            self._idle += 1

    def _serve(self, worker: _Worker) -> None:  # this and all below: in the threads
        stand_alone()
        goes_on = True
        while goes_on:
            job = self._jobs.get()
            if job is None:
                self._workers.discard(worker)
                return
            if self._takes(worker, job):
                try:
                    job.result = job.work()
                except Exception:
                    self.counts[FAILED] += 1
            goes_on = self._finish(worker, job)
            del job

    def _takes(self, worker: _Worker, job: _Job[Any]) -> bool:
        with self._lock:
            if job.is_given_up:
                return False
            worker.job, worker.since, job.worker = job, self._clock(), worker
            return True

    def _finish(self, worker: _Worker, job: _Job[Any]) -> bool:
        """Note that a call is over; False: the thread is not needed any more."""
        with self._lock:
            job.is_done, worker.job, job.worker = True, None, None
            self._pending.discard(job.key)
            job.done.release()
            if worker.is_given_up and not self._comes_back(worker, job.key):
                return False
            self._is_free()
            return True

    def _comes_back(self, worker: _Worker, key: Hashable) -> bool:
        if key is not None:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
        if self._live >= self._limits.workers:
            self._workers.discard(worker)
            return False
        worker.is_given_up = False
        self._live += 1
        return True


def _start(serve: Callable[[_Worker], None], worker: _Worker) -> bool:
    """Start a thread without waiting for it; False: the system has none to give."""
    before = _thread.stack_size(_STACK_BYTES)
    try:
        _thread.start_new_thread(serve, (worker,))
    except (RuntimeError, MemoryError):
        return False
    finally:
        _thread.stack_size(before)
    return True


def stand_alone() -> None:
    """Take no signals, and share no descriptors with the other threads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    unsigned = ctypes.c_uint
    ctypes.CDLL(None).syscall(
        ctypes.c_long(_SYS_CLOSE_RANGE),
        unsigned(_FIRST_AFTER_STANDARD),
        unsigned(0xFFFFFFFF),
        unsigned(_CLOSE_RANGE_UNSHARE),
    )
