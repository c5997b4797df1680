# SPDX-License-Identifier: MIT
"""The very file: found, opened, read in pieces, and the same before and after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EMFILE, ENFILE, ENOMEM, EOPNOTSUPP
from typing import Any, Protocol

from sysmonlx.errors import LibbpfError, ProcError
from sysmonlx.hashing.jobs import (
    CHANGED,
    HASHED,
    NO_DESCRIPTOR,
    NO_MEMORY,
    UNREADABLE,
    Digest,
    Job,
)
from sysmonlx.host.file_identity import FileId, leads_to, names_one_content
from sysmonlx.kernel_text import UNKNOWN

#: Read and hashed in one go; in between, another file may have its turn.
PIECE_BYTES = 256 << 10
#: Coarsest step of file times: two changes within one leave the same time behind.
_CLOCK_TICK_NS = 20_000_000
#: Not blocking: a file that somebody holds a lease on keeps others waiting, fcntl(2).
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: Says which file a descriptor leads to, without asking its file system.
Identify = Callable[[int], FileId]


class Opener(Protocol):
    """Opens files for the hasher; `program_opener.ProgramOpener` is one."""

    def exe(self, tgid: int) -> int:
        """Return an O_PATH descriptor of what a process runs; ProcError: it ended."""

    def descriptor(self, tid: int, fd: int) -> int:
        """Return one of what a thread has open; ProcError: it ended, or closed it."""

    def at_once(self, mount_namespace: int, path: bytes) -> int:
        """Return one of a path, without waiting; ProcError: it cannot."""

    def by_path(self, mount_namespace: int, path: bytes, *, may_wait: bool) -> int:
        """Return one of a path; WouldWaitError: it would take another's answer."""

    def close(self) -> None:
        """Let go of what is held."""


class Reader:
    """Carries jobs on, a piece at a time; each thread has its own."""

    def __init__(self, opener: Opener, identify: Identify | None) -> None:
        self._opener = opener
        self._identify = identify
        self._buffer: memoryview | None = None
        self._loading_s = 0.0

    def carry_on(self, job: Job[Any], fd: int) -> bool:
        """Do the next piece of a job; True: it is over, with `text` or `reason`.

        `fd` is an O_PATH descriptor to begin with, which is closed here; -1: none, the
        file is open already or looked for by its path.

        Raises:
            WouldWaitError: its path leads where it may not wait.
        """
        try:
            if job.read_fd < 0:
                if fd < 0:
                    fd = self._find(job)
                self._begin(job, fd)
            return self._read_piece(job)
        except OSError as error:
            return fail(job, _reason_of(error))
        except LibbpfError:
            return fail(job, UNREADABLE)
        except MemoryError:
            return fail(job, NO_MEMORY)

    def take_loading_s(self) -> float:
        """Return the processor time that went into code, not into a file."""
        loading_s, self._loading_s = self._loading_s, 0.0
        return loading_s

    def _find(self, job: Job[Any]) -> int:
        """Return a descriptor by the job's path; ProcError: there is none."""
        try:
            if not job.path.startswith(b"/"):
                raise ProcError("no path")
            return self._opener.by_path(
                job.mount_namespace, job.path, may_wait=job.is_foreign
            )
        finally:
            job.tried_path = True

    def _begin(self, job: Job[Any], fd: int) -> None:
        try:
            if not self._is_wanted(job, fd):
                raise _OtherFileError
            # The file that was executed, so opening it has no effect on anything.
            job.read_fd = os.open(b"/proc/self/fd/%d" % fd, _READ)
        finally:
            os.close(fd)
        job.digests = self._new_digests(job.algorithms)
        if job.also is not None:
            job.also.begin()

    def _new_digests(self, algorithms: tuple[str, ...]) -> list[Digest]:
        begin_s = time.thread_time()
        import hashlib  # 3.7 MB of libcrypto: only where a hash is wanted

        self._loading_s += time.thread_time() - begin_s
        try:
            return [hashlib.new(name, usedforsecurity=False) for name in algorithms]
        except ValueError as error:  # this libcrypto lacks one
            raise OSError(EOPNOTSUPP, str(error)) from error

    def _read_piece(self, job: Job[Any]) -> bool:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(PIECE_BYTES))
        begin_ns = 0 if job.read_bytes else time.time_ns()
        count = os.readv(job.read_fd, [self._buffer])
        job.read_bytes += count
        piece = self._buffer[:count]
        for each in job.digests:
            each.update(piece)
        if job.also is not None:
            job.also.take(piece)
        if begin_ns:
            # Changed again within the same tick it would look like this content.
            is_old = job.file.ctime_ns < begin_ns - _CLOCK_TICK_NS
            job.may_be_kept = is_old and names_one_content(job.file)
        if count and job.read_bytes < job.file.size:
            return False
        is_whole = job.read_bytes == job.file.size
        if not is_whole or not self._is_wanted(job, job.read_fd):
            return fail(job, CHANGED)
        pairs = zip(job.algorithms, job.digests, strict=True)
        job.text = ",".join(f"{name}={each.hexdigest()}" for name, each in pairs)
        job.reason = HASHED
        close_file(job)
        return True

    def _is_wanted(self, job: Job[Any], fd: int) -> bool:
        if self._identify is not None:
            return self._identify(fd) == job.file
        return leads_to(fd, job.file, job.path)


def close_file(job: Job[Any]) -> None:
    """Close what a job has open to read."""
    if job.read_fd >= 0:
        with suppress(OSError):
            os.close(job.read_fd)
        job.read_fd = -1
    job.digests = []
    job.read_bytes = 0


class _OtherFileError(OSError):
    """Another file is there now."""


def fail(job: Job[Any], reason: str) -> bool:
    """End an attempt at a job without a hash; True."""
    job.text, job.reason = UNKNOWN, reason
    job.may_be_kept = False
    close_file(job)
    return True


def _reason_of(error: OSError) -> str:
    if isinstance(error, _OtherFileError):
        return CHANGED
    return shortage(error) or UNREADABLE


def shortage(error: BaseException | None) -> str:
    """Return which reason a lack of something is, "" where it is none."""
    number = getattr(error, "errno", None)
    if number in (EMFILE, ENFILE):
        return NO_DESCRIPTOR
    if number == ENOMEM or isinstance(error, MemoryError):
        return NO_MEMORY
    return ""
