# SPDX-License-Identifier: MIT
"""A lane: a queue of files and the threads that hash them.

There is one lane for local files and one for files that others serve. A file system
that does not answer keeps only files of its own lane waiting.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Generic, TypeVar

from sysmonlx.hashing.jobs import Job, JobQueue, Usage
from sysmonlx.hashing.worker import Worker

Token = TypeVar("Token")

#: Pause in seconds after a thread has waited for a file system in vain: until then no
#: file of it is read. Where a second thread waits for it, the pause lasts until one of
#: the two returns.
_LEFT_ALONE_S = 10.0


class Lane(Generic[Token]):
    """A queue and its threads: `base` of them, and `spares` for those that hang.

    `reserve` is the part of the share that this lane leaves to others.
    """

    def __init__(
        self,
        lock: threading.Lock,
        usage: Usage,
        *,
        base: int,
        spares: int,
        reserve: float = 0.0,
    ) -> None:
        self.base, self.spares, self.reserve = base, spares, reserve
        self.condition = threading.Condition(lock)
        self.queue: JobQueue[Token] = JobQueue(usage)
        self.live: set[Worker] = set()
        self.given_up = 0
        self.silent: Counter[int] = Counter()
        """Devices that have not answered, and how many threads wait for them."""
        self.left_alone: dict[int, float] = {}
        """Until when nothing is asked of those that have answered nothing since."""
        self.put_off: list[Job[Token]] = []
        """Jobs on file systems that keep `base` threads busy for long already."""
        self.sleeping = 0
        self.rubbish: list[int] = []
        """Descriptors to close, which may take time."""
        self.next_start_s = 0.0
        self.throttled_s = 0.0
        """When the share last kept a wanted job waiting."""

    def quick(self, now_s: float) -> int:
        """Return how many threads can be counted on."""
        return sum(not each.is_slow(now_s) for each in self.live)

    def puts_off(self, device: int, now_s: float) -> bool:
        """Tell whether enough threads are busy with a file system for long."""
        slow = [each for each in self.live if each.device == device and each.job]
        return sum(each.is_slow(now_s) for each in slow) >= self.base

    def leaves_alone(self, device: int, now_s: float) -> bool:
        """Tell whether a file system is asked for nothing now."""
        until_s = self.left_alone.get(device)
        return until_s is not None and (now_s < until_s or self.silent[device] > 1)

    def give_up(self, worker: Worker, now_s: float) -> None:
        """Count on a thread no more."""
        self.live.discard(worker)
        self.given_up += 1
        self.silent[worker.device] += 1
        self.left_alone[worker.device] = now_s + _LEFT_ALONE_S
        worker.is_given_up = True

    def rest(self, worker: Worker, now_s: float) -> None:
        """Note that a thread is back; too many, since it was slow: it is needless."""
        worker.rest()
        if worker.is_given_up:
            self.take_back(worker)
        elif self.quick(now_s) > self.base:
            self.live.discard(worker)
            worker.is_needless = True

    def take_back(self, worker: Worker) -> None:
        """Count on a thread again, unless another has its place."""
        worker.is_given_up = False
        self.given_up -= 1
        self.silent[worker.device] -= 1
        self.silent += Counter()  # without zeroes
        self.left_alone.pop(worker.device, None)
        worker.is_needless = len(self.live) >= self.base
        if not worker.is_needless:
            self.live.add(worker)
