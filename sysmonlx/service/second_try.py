# SPDX-License-Identifier: MIT
"""When a configuration that was refused at the start is tried once more.

After a refusal the daemon runs the configuration before, the default settings or the
built-in rules. It tries the file again when the file has changed, without a command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds between two tries at least, and between the start and the first.
LEAST_S = 10.0

#: Device, inode, size, and times of change of a file.
_Signature = tuple[int, int, int, int, int]


class SecondTry:
    """Watches one file; a look costs one stat(2)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._tried: _Signature | None = None
        self._next_s = clock() + LEAST_S

    def is_time(self) -> bool:
        """Tell whether it may be tried again by now; no file system is asked."""
        return self._clock() >= self._next_s

    def is_due(self) -> bool:
        """Tell whether to try the file now: once as it is, then when it has changed.

        After a True the answer is False for `LEAST_S` seconds. Its file system may not
        answer.
        """
        now_s = self._clock()
        if not self.is_time():
            return False
        found = _signature(self._path)
        if found in (None, self._tried):
            return False
        self._tried, self._next_s = found, now_s + LEAST_S
        return True


def _signature(path: Path) -> _Signature | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_dev, found.st_ino, found.st_size, *times)
