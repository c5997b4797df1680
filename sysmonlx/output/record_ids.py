# SPDX-License-Identifier: MIT
"""The counter of EventRecordID: it goes on after a restart, even one by SIGKILL.

Who takes a number must not wait for a disk. A page of a file that is mapped does wait:
while its file system is frozen or does not answer. On one that fails or is full, it
even ends the process by SIGBUS. So the counter is mapped from a file in memory, below
/run. The file that outlives the machine has a number that is not reached yet, and a
thread writes there. The exact number is written at an orderly end.

Where /run is not in memory, as in some containers, the file itself is mapped.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from functools import partial
from pathlib import Path

from sysmonlx.host import root_files
from sysmonlx.host.file_calls import Call, Worker

_COUNTER = struct.Struct("=Q")
_COUNTER_BYTES = _COUNTER.size
_COUNTER_MASK = (1 << 64) - 1

#: The file in memory: the next number; what the other file has; what it may have too.
_LIVE = struct.Struct("=QQQ")
_NEXT, _STORED, _COMING = 0, 1, 2
#: How far the other file is ahead of the numbers that were given. After an end of the
#: machine without warning numbers go on from there, so that none is given twice: at
#: most this count of numbers is given to no event.
AHEAD = 1 << 16
#: The byte behind a number that was not reached; an exact one has none.
_NOT_REACHED = b"\1"
#: How long the end waits for the file, in seconds.
_CLOSE_S = 0.5
#: Pause between two tries to write there, in seconds.
_AGAIN_S = 1.0


class RecordIds:
    """The counter of EventRecordID: a native 64-bit number in a mapping of a file.

    The mapping is shared, so the kernel keeps it however the process ends, and no event
    needs a system call for its number. Where no file can be used, the count starts at 0
    in memory and `warning` says why. Without a path the count is in memory only.
    """

    def __init__(self, path: Path | None, live: Path | None = None) -> None:
        """Begin where the numbers ended.

        Args:
            path: The file that outlives the machine.
            live: The file that outlives the process; it counts where it is in memory.
        """
        self.warning = ""
        self._path, self._live = path, live
        self._is_ahead = False
        self._worker: Worker | None = None
        self._writing: Call[int] | None = None
        self._again_at_s = 0.0
        self._map: mmap.mmap | None = None
        try:
            self._map = self._open(path) if path is not None else None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self.warning = (
                f"Cannot keep the record id in {path}: {reason};"
                " record ids start at 0 and are given again after the next start"
            )
        memory = self._map if self._map is not None else bytearray(_COUNTER_BYTES)
        self._words = memoryview(memory).cast("Q")

    def _open(self, path: Path) -> mmap.mmap:
        fd = root_files.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            self._have_counter(fd, path)
            with contextlib.suppress(OSError):  # then without
                if self._live is not None and (found := self._opened(self._live, fd)):
                    self._is_ahead = True
                    return found
            self._tell_of_skipped(fd)
            os.ftruncate(fd, _COUNTER_BYTES)
            return mmap.mmap(fd, _COUNTER_BYTES)
        finally:
            os.close(fd)

    def _have_counter(self, fd: int, path: Path) -> None:
        """Have a counter in the file, which begins at 0 where there is none."""
        size = os.fstat(fd).st_size
        if size == _COUNTER_BYTES or _is_not_reached(fd):
            return
        if size:
            self.warning = f"{path} had {size} bytes; record ids start at 0"
        # The file is written, not only enlarged: on a full disk, a page that has no
        # block in the file system would end us with SIGBUS.
        os.ftruncate(fd, 0)
        _put(fd, bytes(_COUNTER_BYTES))

    def _opened(self, live: Path, kept: int) -> mmap.mmap | None:
        """Return the mapping of the file in memory; None: it would not be in memory.

        `kept` is the other file, which gets a number that is not reached yet.

        Raises:
            OSError: there is none, or one of the two cannot be written.
        """
        fd = root_files.open_file(live, os.O_RDWR | os.O_CREAT)
        try:
            if not root_files.is_in_memory(fd):
                live.unlink()
                return None
            (stored,) = _COUNTER.unpack(os.pread(kept, _COUNTER_BYTES, 0))
            first = _next_number(os.pread(fd, _LIVE.size + 1, 0), stored)
            if first == stored:
                self._tell_of_skipped(kept)
            ahead = (first + AHEAD) & _COUNTER_MASK
            _put(fd, _LIVE.pack(first, stored, ahead))
            os.ftruncate(fd, _LIVE.size)
            _put(kept, _COUNTER.pack(ahead) + _NOT_REACHED)
            _put(fd, _LIVE.pack(first, ahead, ahead))
            return mmap.mmap(fd, _LIVE.size)
        finally:
            os.close(fd)

    def _tell_of_skipped(self, kept: int) -> None:
        """Tell if numbers go on at one that was not reached."""
        if _is_not_reached(kept):
            (stored,) = _COUNTER.unpack(os.pread(kept, _COUNTER_BYTES, 0))
            self.warning = (
                f"record ids go on at {stored}, since the machine ended unforeseen:"
                f" {AHEAD:,} before at most were given to no event"
            )

    def take(self, count: int = 1) -> int:
        """Take `count` numbers in sequence, never given before; return the first."""
        first: int = self._words[_NEXT]
        after = self._words[_NEXT] = (first + count) & _COUNTER_MASK
        if self._is_ahead:
            left = (self._words[_STORED] - after) & _COUNTER_MASK
            if not AHEAD // 2 < left <= AHEAD:
                self._keep_ahead(after)
        return first

    def _keep_ahead(self, number: int) -> None:
        """Have a thread write a number that is not reached yet; look what became of it.

        The file has one of two numbers meanwhile, and both are known. One that could
        not be written is tried again, so that there is no third.
        """
        if self._writing is not None and not self._is_written():
            return
        if self._again_at_s and time.monotonic() < self._again_at_s:
            return
        if self._words[_STORED] == self._words[_COMING]:
            left = (self._words[_COMING] - number) & _COUNTER_MASK
            if AHEAD // 2 < left <= AHEAD:
                return
            self._words[_COMING] = (number + AHEAD) & _COUNTER_MASK
        self._begin_to_write(self._words[_COMING], _NOT_REACHED)

    def _begin_to_write(self, number: int, mark: bytes) -> None:
        assert self._path is not None, "who is ahead has a file"
        try:
            self._worker = Worker()
        except OSError:  # there is no thread to be had
            self._again_at_s = time.monotonic() + _AGAIN_S
            return
        self._writing = self._worker.begin(partial(_write, self._path, number, mark))

    def _is_written(self, wait_s: float = 0) -> bool:
        """Return whether the thread has ended; note what the file has then."""
        call, worker = self._writing, self._worker
        if call is None or worker is None or not call.wait(wait_s):
            return False
        self._writing = self._worker = None
        worker.end()
        try:
            self._words[_STORED] = call.result()
        except OSError:
            self._again_at_s = time.monotonic() + _AGAIN_S
        return True

    def close(self) -> None:
        """Write the counter to disk and give the mapping back."""
        if self._is_ahead and self._live is not None and self._has_ended():
            with contextlib.suppress(OSError):
                self._live.unlink()
        self._words.release()
        if self._map is None:
            return
        if not self._is_ahead:
            self._map.flush()
        self._map.close()
        self._map = None

    def _has_ended(self) -> bool:
        """Return whether the file has the exact number now; wait a moment for that."""
        if self._writing is not None and not self._is_written(_CLOSE_S):
            return False
        number: int = self._words[_NEXT]
        self._begin_to_write(number, b"")
        return self._is_written(_CLOSE_S) and self._words[_STORED] == number


def _is_not_reached(fd: int) -> bool:
    return os.pread(fd, _COUNTER_BYTES + 2, 0)[_COUNTER_BYTES:] == _NOT_REACHED


def _next_number(data: bytes, stored: int) -> int:
    """Return where numbers go on, by the file in memory and what the other one has."""
    if len(data) != _LIVE.size:
        return stored
    number, *known = _LIVE.unpack(data)
    return int(number) if stored in known else stored


def _put(fd: int, data: bytes) -> None:
    if os.pwrite(fd, data, 0) != len(data):
        raise OSError(0, "short write")


def _write(path: Path, number: int, mark: bytes) -> int:
    """Write a number into a file of our own, and have it on the disk; in a thread."""
    data = _COUNTER.pack(number) + mark
    fd = root_files.open_file(path, os.O_WRONLY | os.O_CREAT)
    try:
        _put(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
        return number
    finally:
        os.close(fd)
