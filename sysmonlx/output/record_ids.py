# SPDX-License-Identifier: MIT
"""The counter of EventRecordID: it goes on after a restart, even one by SIGKILL."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from sysmonlx.host import root_files

_COUNTER_BYTES = 8

_COUNTER_MASK = (1 << 64) - 1


class RecordIds:
    """The counter of EventRecordID: a native 64-bit number in a mapping of a file.

    The mapping is shared, so the kernel writes it to the file however the process ends,
    and no event needs a system call for its number. Where the file cannot be used, the
    count starts at 0 in memory and `warning` says why. Without a path the count is in
    memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.warning = ""
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
        self._next = memoryview(memory).cast("Q")

    def _open(self, path: Path) -> mmap.mmap:
        fd = root_files.open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            size = os.fstat(fd).st_size
            if size != _COUNTER_BYTES:
                if size:
                    self.warning = f"{path} had {size} bytes; record ids start at 0"
                # The file is written, not only enlarged: on a full disk, a page
                # that has no block in the file system would end us with SIGBUS.
                os.ftruncate(fd, 0)
                if os.pwrite(fd, bytes(_COUNTER_BYTES), 0) != _COUNTER_BYTES:
                    raise OSError(0, "short write")
            return mmap.mmap(fd, _COUNTER_BYTES)
        finally:
            os.close(fd)

    def take(self, count: int = 1) -> int:
        """Take `count` numbers in sequence, never given before; return the first."""
        first: int = self._next[0]
        self._next[0] = (first + count) & _COUNTER_MASK
        return first

    def close(self) -> None:
        """Write the counter to disk and give the mapping back."""
        self._next.release()
        if self._map is not None:
            self._map.flush()
            self._map.close()
            self._map = None
