# SPDX-License-Identifier: MIT
"""The state of one thread that hashes: whether it is slow, whether it hangs."""

from __future__ import annotations

import time
from typing import Any

from sysmonlx.hashing.jobs import Job

#: A piece of work hangs when it takes longer than this time in seconds, and was looked
#: at this often meanwhile. Looks are counted because a process that was stopped has
#: not looked, and its threads have not worked.
HUNG_S, HUNG_LOOKS = 2.0, 20
#: A piece of work that takes longer than this time in seconds is slow: another thread
#: takes the place of its thread.
_SLOW_S = 0.1


class Worker:
    """One thread: the job that it works on, and what `hangs` saw of it last."""

    def __init__(self) -> None:
        self.job: Job[Any] | None = None
        self.device = 0
        self.is_busy = False
        self.step = 0
        self.is_given_up = False
        self.is_needless = False
        """Whether another thread had its place when it came back: it ends."""
        self._since_s = 0.0
        self._seen = 0, 0.0, 0

    def begin(self, job: Job[Any] | None) -> None:
        """Note that a piece of work begins, on a job or on descriptors to close."""
        self.job = job
        self.device = job.file.dev if job is not None else 0
        self.is_busy = True
        self.step += 1
        self._since_s = time.monotonic()

    def rest(self) -> None:
        """Note that the piece of work ended."""
        self.job, self.is_busy = None, False

    def is_slow(self, now_s: float) -> bool:
        """Tell whether its piece of work takes long; it may end nevertheless."""
        return self.is_busy and now_s - self._since_s > _SLOW_S

    def hangs(self, now_s: float) -> bool:
        """Tell, when asked again and again, whether one piece of work does not end."""
        step, since_s, looks = self._seen
        if not self.is_busy or step != self.step:
            self._seen = self.step, now_s, 0
            return False
        self._seen = step, since_s, looks + 1
        return looks >= HUNG_LOOKS and now_s - since_s >= HUNG_S
