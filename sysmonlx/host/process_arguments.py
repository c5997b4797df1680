# SPDX-License-Identifier: MIT
"""Arguments of processes that run already, read where it does no harm to wait.

Linux takes the mmap_lock of a process to read its arguments for /proc/PID/cmdline. That
process can keep the lock for as long as it likes: one of its threads takes a page fault
in a file whose server does not answer, another asks for the lock to change the address
space, and every reader queues up behind. A thread that reads may thus hang.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import NamedTuple

#: Bytes of a command line that are kept: ARGS_SIZE in ebpf/emit/scratch.bpf.h.
LIMIT_BYTES = 16383
#: A worker that has been at one process for this many seconds is replaced.
_STALL_S = 0.01
#: Workers that may hang at a time: in all, and at processes of one user.
HUNG_LIMIT, HUNG_LIMIT_OF_USER = 16, 2


class Job(NamedTuple):
    """Whose arguments to read; `key` names the image, `uid` is the user."""

    key: bytes
    tgid: int
    uid: int


class _Worker:
    """A thread, the job that it is at, and since when by the monotonic clock."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.since_s = 0.0


class CommandLines:
    """Reads arguments in one thread, which is replaced when it hangs.

    `proc` is the directory that stands for /proc. The caller has to check afterwards
    that the tgid still belonged to the image.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._asked: set[bytes] = set()
        self._answers: list[tuple[bytes, bytes]] = []
        self._worker: _Worker | None = None
        self._hung: dict[_Worker, Job] = {}
        self._done = 0
        self.given_up = 0
        """Workers that were replaced, since the start."""

    @property
    def hung(self) -> int:
        """How many workers hang now."""
        return len(self._hung)

    def ask(self, jobs: list[Job]) -> None:
        """Begin to read; jobs that cannot be begun now have to be asked for again."""
        with self._changed:
            self._replace_stalled()
            for job in jobs:
                if job.key not in self._asked and not self._is_refused(job.uid):
                    self._asked.add(job.key)
                    self._queue.append(job)
            if self._queue and not self._has_worker():
                self._forget_queue()
            self._changed.notify_all()

    def wait(self, patience_s: float) -> None:
        """Wait until all is read but processes that hang, for `patience_s` at most."""
        deadline_s = time.monotonic() + patience_s
        with self._changed:
            while self._is_busy():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return
                done = self._done
                self._changed.wait(min(left_s, _STALL_S))
                if self._done == done:
                    self._replace_stalled()

    def answers(self) -> list[tuple[bytes, bytes]]:
        """Return key and arguments of what was read since the last call.

        Each argument is followed by NUL; without one at the end the last was cut. A
        byte more than LIMIT_BYTES says that there are more.
        """
        with self._changed:
            found, self._answers = self._answers, []
            self._asked.difference_update(key for key, _ in found)
        return found

    def close(self) -> None:
        """Let the worker end; one that hangs ends with the process."""
        with self._changed:
            self._worker = None
            self._forget_queue()
            self._changed.notify_all()

    def _is_busy(self) -> bool:
        worker = self._worker
        return worker is not None and bool(self._queue or worker.job)

    def _is_refused(self, uid: int) -> bool:
        """Say whether a user's processes hang already as many workers as they may."""
        count = sum(job.uid == uid for job in self._hung.values())
        return count >= HUNG_LIMIT_OF_USER

    def _forget_queue(self) -> None:
        self._asked.difference_update(job.key for job in self._queue)
        self._queue.clear()

    def _has_worker(self) -> bool:
        """Start a worker where there is none; False: there cannot be one now."""
        if self._worker is not None:
            return True
        if len(self._hung) >= HUNG_LIMIT:
            return False
        worker = _Worker()
        thread = threading.Thread(
            target=self._work, args=(worker,), name="arguments", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread can be had
            return False
        self._worker = worker
        return True

    def _replace_stalled(self) -> None:
        """Give up a worker that is stuck, and let another do the rest."""
        worker = self._worker
        if worker is None or worker.job is None:
            return
        if time.monotonic() - worker.since_s < _STALL_S:
            return
        self.given_up += 1
        self._hung[worker] = worker.job
        self._worker = None
        self._drop_refused()
        if self._queue and not self._has_worker():
            self._forget_queue()

    def _drop_refused(self) -> None:
        rest = [job for job in self._queue if not self._is_refused(job.uid)]
        dropped = len(rest) < len(self._queue)
        if dropped:
            self._forget_queue()
            self._queue.extend(rest)
            self._asked.update(job.key for job in rest)

    def _work(self, worker: _Worker) -> None:
        while (job := self._next_job(worker)) is not None:
            args = self._read(job.tgid)
            with self._changed:
                self._hung.pop(worker, None)
                self._answers.append((job.key, args))
                self._done += 1
                worker.job = None

    def _next_job(self, worker: _Worker) -> Job | None:
        """Wait for work; None: this worker is not needed any more."""
        with self._changed:
            while worker is self._worker:
                if self._queue:
                    worker.job, worker.since_s = self._queue.popleft(), time.monotonic()
                    return worker.job
                self._changed.notify_all()
                self._changed.wait()
        return None

    def _read(self, tgid: int) -> bytes:
        """Return what can be read, at most a byte more than the limit."""
        found = b""
        try:
            fd = os.open(f"{self._proc}/{tgid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended
            return found
        try:
            while len(found) <= LIMIT_BYTES:
                part = os.read(fd, LIMIT_BYTES + 1 - len(found))
                if not part:
                    break
                found += part
        except OSError:
            pass  # a page cannot be read: the bytes in front of it are the answer
        finally:
            os.close(fd)
        return found
