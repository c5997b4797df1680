# SPDX-License-Identifier: MIT
"""Hashes of program files, made off the event path and of the very file only."""

from __future__ import annotations

import resource
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from sysmonlx.errors import ProcError
from sysmonlx.hashing.file_reading import Identify, Opener, shortage
from sysmonlx.hashing.jobs import (
    CHANGED,
    GONE,
    HASHED,
    HUNG,
    NO_DESCRIPTOR,
    OVER_SHARE,
    QUEUE_FULL,
    TIMEOUT,
    TOO_LARGE,
    Job,
    Listener,
    Waiter,
)
from sysmonlx.hashing.lanes import Lanes
from sysmonlx.hashing.share import Share
from sysmonlx.host.file_identity import FileId
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.policy import ALGORITHMS

CACHE_LIMIT = 4096
QUEUE_LIMIT = 2048
_DESCRIPTORS_PER_FILE = 2
#: How often threads are looked at while somebody waits.
_LOOK_S = 0.05
#: Everyday reasons: a program that was deleted, or replaced, when it had run. They are
#: worth telling in number only.
_EVERYDAY, _MANY = (GONE, CHANGED), 10

Token = TypeVar("Token")
#: The token of the request, the file, and the text for `Hashes`.
Answer = tuple[Token, FileId, str]


class Hasher(Generic[Token]):
    """Hashes files in threads, and remembers the hashes.

    `start` starts the threads, after capabilities were dropped; else the first request
    does. All methods belong to one thread, and none of them waits. Each request that
    was accepted comes back exactly once from `results`, after `wait_s` at the latest;
    `fileno` becomes readable when there is something to fetch, but for requests that
    only ran out of time.
    """

    def __init__(
        self,
        opener: Opener,
        algorithms: Iterable[str],
        *,
        size_limit: int = 256 << 20,
        queue_limit: int = QUEUE_LIMIT,
        wait_s: float = 2.0,
        share_percent: int = 0,
        identify: Identify | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.size_limit = size_limit
        self.wait_s = wait_s
        self._opener = opener
        self._queue_limit = queue_limit
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._fds_limit = max(16, min(queue_limit, soft // 2))
        self._share = Share(share_percent, time.monotonic())
        self._lanes: Lanes[Token] = Lanes(opener, identify, self._share)
        self._cache: OrderedDict[FileId, str] = OrderedDict()
        self._waiters: deque[Waiter[Token]] = deque()
        self._answers: list[Answer[Token]] = []
        self._told: Counter[str] = Counter()
        self._early: dict[FileId, tuple[int, str]] = {}
        self._open_requests = 0
        self._next_look_s = 0.0
        self._algorithms: tuple[str, ...] = ()
        self.has_work = False  # whether any algorithm is asked for
        self.set_algorithms(algorithms)

    def start(self) -> None:
        """Start the threads; one that cannot be started is tried again later."""
        self._lanes.start()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._lanes.finished.eventfd

    def set_share(self, percent: int) -> None:
        """Let hashing take this part of one core from now on; 0 is no limit."""
        with self._lanes.lock:
            self._share.change(percent, time.monotonic())

    def set_algorithms(self, algorithms: Iterable[str]) -> None:
        """Hash with these algorithms from now on.

        Where they differ from those before, all remembered hashes are forgotten.
        Requests under way finish with the algorithms they began with.
        """
        wanted = {name.upper() for name in algorithms}
        chosen = tuple(name for name in ALGORITHMS if name in wanted)
        if chosen == self._algorithms:
            return
        self._algorithms, self.has_work = chosen, bool(chosen)
        self._cache.clear()
        with self._lanes.lock:
            self._lanes.jobs.clear()

    def cached(self, file_id: FileId) -> str | None:
        """Return the text for `Hashes` if no work is needed for it.

        That is a remembered hash, or "-" where none is to be had: no algorithm is
        asked for, or the file is unknown or too large.
        """
        text = self._cache.get(file_id)
        if text is not None:
            self._cache.move_to_end(file_id)
            return text
        if not self._algorithms or not file_id.ino:
            return UNKNOWN
        if file_id.size > self.size_limit:
            self.counts[TOO_LARGE] += 1
            return UNKNOWN
        return None

    def expect(self, file: FileId, tgid: int, path: bytes, namespace: int) -> None:
        """Hold a file for a request that follows; see `unexpect`."""
        job = self._lanes.jobs.get(file)
        if file in self._early or file in self._cache or job is not None:
            return
        if not file.ino or file.size > self.size_limit or not self._algorithms:
            return
        self._early[file] = self._open(tgid, path, namespace)

    def unexpect(self) -> None:
        """Let go of the files that no request followed for."""
        if self._early:
            with self._lanes.lock:
                for fd, _ in self._early.values():
                    if fd >= 0:
                        self._lanes.throw_away(fd)
            self._early.clear()

    def request(
        self,
        file: FileId,
        tgid: int,
        path: bytes,
        mount_namespace: int,
        token: Token,
        uid: int = 0,
        *,
        descriptor: int = -1,
        also: Listener | None = None,
    ) -> bool:
        """Ask for the hash of a file that `cached` did not know; False: refused.

        The file is opened here and now, through /proc/TGID/exe or by its path: a short
        process is gone soon. Where neither can be had at once, a thread looks for
        `path` in the mount namespace (0: unknown). The file waits for its turn among
        the files of the user `uid`. `results` answers a request that was accepted, with
        `token`. `counts` has the reason of a refusal.

        With `descriptor`, the file is not what a process runs but what the thread
        `tgid` has open there. `also` gets what is read, if no algorithm is asked for
        too: the text is "" then. It is whole where the answer is not "-".
        """
        now_s, lanes = time.monotonic(), self._lanes
        with lanes.lock:
            reason = QUEUE_FULL if lanes.is_closed else lanes.refusal(file, now_s)
            if reason:
                return self._refuse(reason)
            job = lanes.jobs.get(file) if also is None else None
        new: Job[Token] = Job(
            file, path, mount_namespace, uid, self._algorithms, now_s, also
        )
        if not self._has_room(job or new, now_s):
            return self._refuse(QUEUE_FULL)
        # Without the lock, as it gives others their turn.
        fd = self._held(job or new, tgid, descriptor)
        waiter = Waiter(token, job or new, now_s + self.wait_s)
        self._enlist(waiter, fd, new, now_s)
        return True

    def _enlist(
        self, waiter: Waiter[Token], fd: int, new: Job[Token], now_s: float
    ) -> None:
        """Let a request wait for its job; for `new` where that is over meanwhile."""
        with self._lanes.lock:
            if waiter.job.is_over:
                waiter.job = new
            self._lanes.enlist(waiter, fd, now_s)
        self._waiters.append(waiter)
        self._open_requests += 1

    def _held(self, job: Job[Token], tgid: int, descriptor: int) -> int:
        """Return a descriptor for a job, -1: it has enough, or there is none."""
        if len(job.fds) >= _DESCRIPTORS_PER_FILE or job.read_fd >= 0:
            return -1
        early = self._early.pop(job.file, None)
        if early is None:
            early = self._open(tgid, job.path, job.mount_namespace, descriptor)
        fd, job.reason = early
        return fd

    def results(self) -> list[Answer[Token]]:
        """Return what is decided since the last call: token, file, text or "-"."""
        now_s = time.monotonic()
        for job in self._lanes.finished.take():
            is_kept = job.may_be_kept and job.algorithms == self._algorithms
            if is_kept and job.text:
                self._remember(job.file, job.text)
            self._answer_all(job, job.text, job.reason)
        if self._waiters and now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_S
            for job in self._lanes.look(now_s):
                self._answer_all(job, UNKNOWN, HUNG)
        self._expire(now_s)
        answers, self._answers = self._answers, []
        return answers

    def take_error(self) -> Exception | None:
        """Return an error of a thread that nobody expected, once; None: there is none.

        It has cost hashes, counted as "error".
        """
        return self._lanes.finished.take_error()

    def losses(self) -> dict[str, int]:
        """Return how many hashes could not be had since the start, by reason.

        Files that the configuration rules out are left out. Everyday reasons are told
        only when many hashes were lost to them.
        """
        for reason, count in self.counts.items():
            is_many = count - self._told[reason] >= _MANY
            if reason not in _EVERYDAY or is_many:
                self._told[reason] = count
        return {
            reason: count
            for reason, count in self._told.items()
            if reason not in (HASHED, TOO_LARGE)
        }

    def close(self) -> None:
        """Stop, and give up jobs under way. A thread that hangs is left behind."""
        if not self._lanes.is_closed:
            self._lanes.close()
            self._opener.close()

    def _refuse(self, reason: str) -> bool:
        self.counts[reason] += 1
        return False

    def _open(
        self, tgid: int, path: bytes, namespace: int, descriptor: int = -1
    ) -> tuple[int, str]:
        """Return a descriptor of the file, or -1 and why none can be had at once."""
        if self._lanes.held_fds + len(self._early) >= self._fds_limit:
            return -1, NO_DESCRIPTOR
        try:
            if descriptor >= 0:
                return self._opener.descriptor(tgid, descriptor), GONE
            return self._opener.exe(tgid), GONE
        except ProcError as error:
            reason = shortage(error.__cause__) or GONE
        try:
            return self._opener.at_once(namespace, path), GONE
        except ProcError:
            return -1, reason

    def _has_room(self, newcomer: Job[Token], now_s: float) -> bool:
        """Return whether there is room for one more; throw out what costs much more."""
        if self._open_requests < self._queue_limit:
            return True
        lanes = self._lanes
        with lanes.lock:
            jobs = lanes.jobs.values()
            for job in lanes.local.queue.dearer(newcomer, jobs, now_s):
                lanes.drop(job)
                self._answer_all(job, UNKNOWN, QUEUE_FULL)
        return self._open_requests < self._queue_limit

    def _expire(self, now_s: float) -> None:
        """Answer those who have waited long enough."""
        while self._waiters:
            first = self._waiters[0]
            if not first.is_answered:
                if first.deadline_s > now_s:
                    return
                throttled_s = self._lanes.lane_of(first.job).throttled_s
                was_throttled = throttled_s >= first.deadline_s - self.wait_s
                reason = OVER_SHARE if was_throttled else TIMEOUT
                self._answer(first, UNKNOWN, reason)
                self._lanes.abandon(first.job)
            self._waiters.popleft()

    def _answer_all(self, job: Job[Token], text: str, reason: str) -> None:
        for waiter in job.waiters:
            self._answer(waiter, text, reason)

    def _answer(self, waiter: Waiter[Token], text: str, reason: str) -> None:
        if waiter.is_answered:
            return
        waiter.is_answered = True
        waiter.job.waiting -= 1
        self._open_requests -= 1
        self.counts[reason] += 1
        self._answers.append((waiter.token, waiter.job.file, text))

    def _remember(self, file: FileId, text: str) -> None:
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.popitem(last=False)
        self._cache[file] = text
