# SPDX-License-Identifier: MIT
"""Hashes of program files, made off the event path and of the very file only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from sysmonlx.errors import ProcError

#: Order of output, whatever the configuration's. IMPHASH is no algorithm for ELF.
ALGORITHMS = ("SHA1", "MD5", "SHA256")
UNKNOWN = "-"

#: Outcomes, keys of `Hasher.counts`; all but the first mean "-".
HASHED = "hashed"
GONE = "gone"
CHANGED = "changed"
TOO_LARGE = "too large"
QUEUE_FULL = "queue full"
TIMEOUT = "timeout"
UNREADABLE = "unreadable"

CACHE_LIMIT = 4096
WORKERS = 2
_CHUNK_BYTES = 256 << 10
_DESCRIPTORS_PER_FILE = 2
#: Coarsest step of file times: two changes within one leave the same time behind.
_CLOCK_TICK_NS = 20_000_000

#: statfs(2) types of file systems whose stat(2) shows another device than sb->s_dev.
_BTRFS = 0x9123683E
_OVERLAYFS = 0x794C7630

Token = TypeVar("Token")


class FileId(NamedTuple):
    """Which content: it changes with every write, so it keys the cache.

    `dev` is the kernel's dev_t of the superblock, major << 20 | minor; times in ns.
    """

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Opener(Protocol):
    """What the hasher asks of /proc; `procfs.Procfs` is one."""

    def open_exe(self, tgid: int) -> int:
        """Return an O_PATH descriptor of the program file."""

    def open_in_root(self, pid: int, path: bytes) -> int:
        """Return an O_PATH descriptor of `path` below the root of `pid`."""

    def in_mount_namespace(self, inode: int) -> Iterator[int]:
        """Yield live processes of a mount namespace."""


def kernel_dev(st_dev: int) -> int:
    """Return a device number of stat(2) as the kernel has it, 12 and 20 bits."""
    return os.major(st_dev) << 20 | os.minor(st_dev)


def file_id(fd: int) -> FileId:
    """Return the identity of an open file as stat(2) shows it."""
    st = os.fstat(fd)
    times = st.st_mtime_ns, st.st_ctime_ns
    return FileId(kernel_dev(st.st_dev), st.st_ino, st.st_size, *times)


def is_same_file(found: FileId, wanted: FileId, fd: int, path: bytes) -> bool:
    """Tell whether `found`, seen by fstat(2) of `fd`, is what the kernel recorded.

    Size and times must always agree. Where the device agrees the inode must too. It
    cannot on btrfs, where stat(2) shows a device for each subvolume, nor on overlayfs
    over several file systems, where it shows the layer's device and inode: there the
    inode, and the path, stand in.
    """
    if found[2:] != wanted[2:]:
        return False
    if found.dev == wanted.dev:
        return found.ino == wanted.ino
    kind = _filesystem_type(fd)
    if kind == _BTRFS:
        return found.ino == wanted.ino
    return kind == _OVERLAYFS and os.readlink(b"/proc/self/fd/%d" % fd) == path


def hash_text(fd: int, algorithms: tuple[str, ...], size_limit: int) -> str | None:
    """Return `ALGO=<hex>,...` of what can be read from `fd`; None beyond the limit."""
    import hashlib  # 3.7 MB of libcrypto: only where a hash is wanted

    hashes = [hashlib.new(name, usedforsecurity=False) for name in algorithms]
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    total = 0
    while count := os.readv(fd, [buffer]):
        total += count
        if total > size_limit:
            return None
        for each in hashes:
            each.update(buffer[:count])
    parts = zip(algorithms, hashes, strict=True)
    return ",".join(f"{name}={each.hexdigest()}" for name, each in parts)


@dataclass(eq=False, slots=True)
class _Waiter(Generic[Token]):
    token: Token
    file_id: FileId
    deadline: float
    is_answered: bool = False


@dataclass(eq=False, slots=True)
class _Job(Generic[Token]):
    file_id: FileId
    path: bytes
    mnt_ns: int
    algorithms: tuple[str, ...]
    fds: list[int] = field(default_factory=list)
    waiters: list[_Waiter[Token]] = field(default_factory=list)
    tried_path: bool = False
    text: str = UNKNOWN
    reason: str = GONE
    may_be_kept: bool = False


class Hasher(Generic[Token]):
    """Hashes files in threads, and remembers the hashes.

    The threads start at the first request, so after capabilities were dropped. All
    methods belong to one thread. Each request that was accepted comes back exactly
    once from `results`, after `wait_s` at the latest; `fileno` becomes readable when
    there is something to fetch, but for requests that only ran out of time.
    """

    def __init__(
        self,
        opener: Opener,
        algorithms: Iterable[str],
        *,
        size_limit: int = 256 << 20,
        queue_limit: int = 256,
        wait_s: float = 2.0,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.size_limit = size_limit
        self.wait_s = wait_s
        self._opener = opener
        self._queue_limit = queue_limit
        self._cache: OrderedDict[FileId, str] = OrderedDict()
        self._waiters: deque[_Waiter[Token]] = deque()
        self._open_requests = self._idle = 0
        self._condition = threading.Condition()
        self._jobs: dict[FileId, _Job[Token]] = {}
        self._queue: deque[_Job[Token]] = deque()
        self._done: list[_Job[Token]] = []
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._algorithms: tuple[str, ...] = ()
        self.has_work = False  # whether any algorithm is asked for
        self.set_algorithms(algorithms)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._eventfd

    def set_algorithms(self, algorithms: Iterable[str]) -> None:
        """Use these from now on; what was remembered counts no more.

        Requests under way finish with the algorithms they began with.
        """
        wanted = {name.upper() for name in algorithms}
        chosen = tuple(name for name in ALGORITHMS if name in wanted)
        if chosen == self._algorithms:
            return
        self._algorithms, self.has_work = chosen, bool(chosen)
        self._cache.clear()
        with self._condition:
            self._jobs.clear()

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

    def request(
        self, file_id: FileId, tgid: int, path: bytes, mnt_ns: int, token: Token
    ) -> bool:
        """Ask for the hash of a file that `cached` did not know; False: there is none.

        The file is opened here and now through /proc/TGID/exe: a short process is gone
        soon. Where that fails, a thread looks for `path` in the root of a live process
        of the mount namespace `mnt_ns` (0: unknown). `results` answers with `token`.
        """
        if self._open_requests >= self._queue_limit or self._is_closed:
            self.counts[QUEUE_FULL] += 1
            return False
        try:
            fd = self._opener.open_exe(tgid)
        except ProcError:
            fd = -1
        waiter = _Waiter(token, file_id, time.monotonic() + self.wait_s)
        self._waiters.append(waiter)
        self._open_requests += 1
        with self._condition:
            job = self._jobs.get(file_id)
            if job is None:
                job = _Job(file_id, path, mnt_ns, self._algorithms)
                self._jobs[file_id] = job
                self._queue.append(job)
                self._wake_worker()
            job.waiters.append(waiter)
            if fd >= 0 and len(job.fds) < _DESCRIPTORS_PER_FILE:
                job.fds.append(fd)
                fd = -1
        if fd >= 0:
            os.close(fd)
        return True

    def results(self) -> list[tuple[Token, FileId, str]]:
        """Return what is decided since the last call: token, file, text or "-"."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._eventfd)
        with self._condition:
            done, self._done = self._done, []
        answers: list[tuple[Token, FileId, str]] = []
        for job in done:
            if job.may_be_kept and job.algorithms == self._algorithms:
                self._remember(job.file_id, job.text)
            for waiter in job.waiters:
                self._answer(waiter, job.text, job.reason, answers)
        now = time.monotonic()
        while self._waiters:
            first = self._waiters[0]
            if not first.is_answered and first.deadline > now:
                break
            self._waiters.popleft()
            self._answer(first, UNKNOWN, TIMEOUT, answers)
        return answers

    def close(self) -> None:
        """Stop: what is under way is given up. A thread that hangs is left behind."""
        with self._condition:
            self._is_closed = True
            for job in self._queue:
                _close_all(job.fds)
            self._queue.clear()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(0.2)
        if self._eventfd >= 0:
            os.close(self._eventfd)
            self._eventfd = -1

    def _answer(
        self,
        waiter: _Waiter[Token],
        text: str,
        reason: str,
        answers: list[tuple[Token, FileId, str]],
    ) -> None:
        if waiter.is_answered:
            return
        waiter.is_answered = True
        self._open_requests -= 1
        self.counts[reason] += 1
        answers.append((waiter.token, waiter.file_id, text))

    def _remember(self, file_id: FileId, text: str) -> None:
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.popitem(last=False)
        self._cache[file_id] = text

    def _wake_worker(self) -> None:
        if not self._idle and len(self._threads) < WORKERS:
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()
        self._condition.notify()

    def _work(self) -> None:  # this and all below: in the threads
        # Signals are for the thread that polls, whose sleep they must end.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (job := self._next_job()) is not None:
            while (fd := self._next_descriptor(job)) >= 0:
                try:
                    self._hash(job, fd)
                finally:
                    os.close(fd)
                if job.text != UNKNOWN:
                    break
            self._finish(job)

    def _next_job(self) -> _Job[Token] | None:
        with self._condition:
            self._idle += 1
            while not self._queue and not self._is_closed:
                self._condition.wait()
            self._idle -= 1
            return None if self._is_closed else self._queue.popleft()

    def _next_descriptor(self, job: _Job[Token]) -> int:
        """Return a descriptor to try, -1 when all have been; the job then is over."""
        with self._condition:
            if job.fds:
                return job.fds.pop(0)
        if not job.tried_path:
            job.tried_path = True
            fd = self._open_path(job)
            if fd >= 0:
                return fd
        with self._condition:
            if job.fds:
                return job.fds.pop(0)
            self._forget(job)
        return -1

    def _open_path(self, job: _Job[Token]) -> int:
        if not job.mnt_ns or not job.path.startswith(b"/"):
            return -1
        with contextlib.suppress(ProcError):
            for pid in self._opener.in_mount_namespace(job.mnt_ns):
                return self._opener.open_in_root(pid, job.path)
        return -1

    def _hash(self, job: _Job[Token], path_fd: int) -> None:
        start_ns = time.time_ns()
        job.reason = CHANGED
        try:
            if not self._is_wanted(job, path_fd):
                return
            # A regular file, so opening it has no effect on anything (no tape rewinds).
            with open(f"/proc/self/fd/{path_fd}", "rb", buffering=0) as file:
                text = hash_text(file.fileno(), job.algorithms, job.file_id.size)
                if text is None or not self._is_wanted(job, file.fileno()):
                    return
        except (OSError, ValueError):
            job.reason = UNREADABLE
            return
        job.text, job.reason = text, HASHED
        # Changed again within the same tick it would look like this content.
        job.may_be_kept = job.file_id.ctime_ns < start_ns - _CLOCK_TICK_NS

    def _is_wanted(self, job: _Job[Token], fd: int) -> bool:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        return is_same_file(file_id(fd), job.file_id, fd, job.path)

    def _finish(self, job: _Job[Token]) -> None:
        with self._condition:
            self._forget(job)
            _close_all(job.fds)
            self._done.append(job)
            if not self._is_closed:
                os.eventfd_write(self._eventfd, 1)

    def _forget(self, job: _Job[Token]) -> None:
        if self._jobs.get(job.file_id) is job:
            del self._jobs[job.file_id]


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _filesystem_type(fd: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    # struct statfs begins with f_type; 256 bytes hold it on every machine.
    buffer = (ctypes.c_long * 32)()
    if libc.fstatfs(ctypes.c_int(fd), buffer) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return int(buffer[0]) & 0xFFFFFFFF
