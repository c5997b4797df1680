# SPDX-License-Identifier: MIT
"""Files to be hashed, and whose turn it is."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from sysmonlx.bounded import Bounded
from sysmonlx.host.file_identity import FileId
from sysmonlx.kernel_text import UNKNOWN

Token = TypeVar("Token")


#: Why there is a hash, or none.
HASHED = "hashed"
GONE = "gone"
CHANGED = "changed"
TOO_LARGE = "too large"
QUEUE_FULL = "queue full"
TIMEOUT = "timeout"
UNREADABLE = "unreadable"
ERROR = "error"
OVER_SHARE = "over share"
HUNG = "hung"
NO_THREAD = "no thread"
NO_DESCRIPTOR = "no descriptor"
NO_MEMORY = "no memory"

#: About what hashing costs: to tell small work from large no more is needed.
_S_PER_BYTE, _S_PER_FILE = 3e-9, 1e-4
#: A file is small up to this size.
SMALL_BYTES = 64 << 10
#: Seconds in which half of the time that a user's files have cost is forgotten.
_HALF_LIFE_S = 5.0
_USERS_LIMIT = 4096
#: Most places in the heap. Jobs that were taken out leave theirs until it is reached.
_HEAP_LIMIT = 8192
#: A job goes back into the queue when its key has grown by this factor meanwhile.
_STALE = 2.0
#: A full queue makes room for a cheaper job: one dearer job in this many is taken out.
_ROOM = 8
#: Seconds for which a full queue refuses jobs as dear as one that it has refused.
_NO_ROOM_S = 0.05
#: Most jobs that go on although nobody waits for them any more, and for how long.
_ABANDONED_LIMIT, _ABANDONED_S = 8, 30.0
#: Work that nobody waits for leaves this part of the share to others.
_ABANDONED_RESERVE = 0.5


class Digest(Protocol):
    """A hash that grows with the bytes of a file, as hashlib has it."""

    def update(self, data: memoryview, /) -> None:
        """Add the next bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes until now, in hexadecimal digits."""
        ...


class Listener(Protocol):
    """Receives the bytes of a file while it is hashed, from a thread of a lane."""

    def begin(self) -> None:
        """Note that the file is read from its beginning, maybe once more."""

    def take(self, piece: memoryview) -> None:
        """Take the next bytes; an empty piece is the end."""


@dataclass(eq=False, slots=True)
class Waiter(Generic[Token]):
    """Somebody who asked for a hash, and until when it is of use."""

    token: Token
    job: Job[Token]
    deadline_s: float
    is_answered: bool = False


@dataclass(eq=False, slots=True)
class Job(Generic[Token]):
    """One file to hash: how to get at it, how far it is, who waits for it."""

    file: FileId
    path: bytes
    mount_namespace: int
    uid: int
    algorithms: tuple[str, ...]
    since_s: float
    also: Listener | None = None
    fds: list[int] = field(default_factory=list)
    waiters: list[Waiter[Token]] = field(default_factory=list)
    waiting: int = 0
    """How many of the waiters have no answer yet."""
    tried_path: bool = False
    is_foreign: bool = False
    """Which lane has it: that of files which may keep their readers waiting."""
    is_light: bool = False
    """Whether it is small, and its user had used little when it was taken."""
    is_running: bool = False
    is_over: bool = False
    read_fd: int = -1
    digests: list[Digest] = field(default_factory=list)
    read_bytes: int = 0
    text: str = UNKNOWN
    reason: str = GONE
    may_be_kept: bool = False
    key: float = 0.0
    ticket: int = 0
    """Of its place in the queue; 0: it has none."""

    @property
    def cost_s(self) -> float:
        """About how much processor time the rest takes."""
        return _S_PER_FILE + (self.file.size - self.read_bytes) * _S_PER_BYTE

    def take_descriptors(self) -> list[int]:
        """Return what is open for the job; somebody else closes it from now on."""
        fds, self.fds = self.fds, []
        if self.read_fd >= 0:
            fds.append(self.read_fd)
            self.read_fd = -1
        return fds


class Usage:
    """Processor time that the files of each user have cost lately."""

    def __init__(self) -> None:
        self._used_s: Bounded[int, tuple[float, float]] = Bounded(_USERS_LIMIT)

    def charge(self, uid: int, cpu_s: float, now_s: float) -> None:
        """Note what a piece of work has cost."""
        self._used_s[uid] = self.of(uid, now_s) + cpu_s, now_s

    def of(self, uid: int, now_s: float) -> float:
        """Return the seconds of a user; half of them is forgotten in `_HALF_LIFE_S`."""
        used_s, then_s = self._used_s.get(uid, (0.0, now_s))
        return float(used_s * 0.5 ** ((now_s - then_s) / _HALF_LIFE_S))


class JobQueue(Generic[Token]):
    """Jobs in the order of their keys, least first.

    A key is the time that the user's files have cost lately plus the time that this
    file will still cost. Therefore a small file goes before a large one, and a user who
    has used little before one who has used much. It helps nobody to bring many files or
    users, or to queue many files before they have cost anything.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._heap: list[tuple[float, int, Job[Token]]] = []
        self._abandoned: list[Job[Token]] = []
        self._tickets = 0
        self._no_room = 0.0, 0.0
        """A full queue refuses jobs from this key on, until this time in seconds."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._abandoned)

    def key(self, job: Job[Token], now_s: float) -> float:
        """Return where a job stands in the queue."""
        return self._usage.of(job.uid, now_s) + job.cost_s

    def put(self, job: Job[Token], now_s: float) -> list[Job[Token]]:
        """Queue a job; return those that are given up for it."""
        if not job.waiting:
            self.remove(job)
            self._abandoned.append(job)
            return self._give_up(now_s)
        if job in self._abandoned:
            self._abandoned.remove(job)
        self._tickets += 1
        job.ticket, job.key = self._tickets, self.key(job, now_s)
        if len(self._heap) >= _HEAP_LIMIT:
            self._tidy()
        heapq.heappush(self._heap, (job.key, job.ticket, job))
        return []

    def first(self, now_s: float) -> tuple[Job[Token] | None, float, list[Job[Token]]]:
        """Return whose turn it is, and the part of the share that must stay for it.

        The job stays in the queue. The last value are jobs that are given up.
        """
        given_up: list[Job[Token]] = []
        while self._heap:
            _, ticket, job = self._heap[0]
            if ticket == job.ticket and job.waiting:
                key = self.key(job, now_s)
                if key <= job.key * _STALE:
                    return job, 0.0, given_up
                job.key = key
                heapq.heapreplace(self._heap, (key, ticket, job))
                continue
            heapq.heappop(self._heap)
            if ticket == job.ticket:  # nobody waits for it any more
                given_up += self.put(job, now_s)
        given_up += self._give_up(now_s)
        if not self._abandoned:
            return None, 0.0, given_up
        job = min(self._abandoned, key=lambda each: each.cost_s)
        return job, _ABANDONED_RESERVE, given_up

    def remove(self, job: Job[Token]) -> None:
        """Take a job out, wherever it stands."""
        if self._heap and self._heap[0][2] is job:
            heapq.heappop(self._heap)
        job.ticket = 0
        if job in self._abandoned:
            self._abandoned.remove(job)

    def dearer(
        self, newcomer: Job[Token], jobs: Collection[Job[Token]], now_s: float
    ) -> list[Job[Token]]:
        """Return those of `jobs`, the dearest, that make room for a newcomer."""
        key, (refused_key, until_s) = self.key(newcomer, now_s), self._no_room
        if now_s < until_s and key >= refused_key:
            return []
        used_s = {uid: self._usage.of(uid, now_s) for uid in {job.uid for job in jobs}}
        keys = {
            job: used_s[job.uid] + job.cost_s
            for job in jobs
            if job.waiting and not job.is_running
        }
        dearer = [job for job in keys if keys[job] > key]
        if not dearer:
            self._no_room = key, now_s + _NO_ROOM_S
        dearer.sort(key=keys.__getitem__, reverse=True)
        return dearer[: len(dearer) // _ROOM + 1]

    def _tidy(self) -> None:
        """Remove the places in the heap of jobs that are no longer in the queue."""
        self._heap = [place for place in self._heap if place[1] == place[2].ticket]
        heapq.heapify(self._heap)

    def take_all(self) -> Iterable[Job[Token]]:
        """Take all jobs out."""
        jobs = [job for _, ticket, job in self._heap if ticket == job.ticket]
        jobs += self._abandoned
        self._heap.clear()
        self._abandoned.clear()
        return jobs

    def _give_up(self, now_s: float) -> list[Job[Token]]:
        """Take out jobs nobody waits for: old ones, and the dearest of too many."""
        late = [job for job in self._abandoned if now_s > job.since_s + _ABANDONED_S]
        kept = [job for job in self._abandoned if job not in late]
        kept.sort(key=lambda each: each.cost_s)
        late += kept[_ABANDONED_LIMIT:]
        self._abandoned = kept[:_ABANDONED_LIMIT]
        return late
