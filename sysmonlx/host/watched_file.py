# SPDX-License-Identifier: MIT
"""A file of the administrator's that another thread reads anew when it changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from sysmonlx.host import inode
from sysmonlx.host.lane import Lane

#: A file changed this recently may change again within the same time stamp.
_CLOCK_TICK_NS = 20_000_000

T = TypeVar("T")
Stamp = tuple[object, ...]
#: Of a file that is not there, and of one of which only its file system knows.
ABSENT: Stamp = ("absent",)
UNSURE: Stamp = ("unsure",)


class WatchedFile(Generic[T]):
    """A file that is read anew when it changes; `value` is what `read` returned for it.

    `value` is `empty` until the file was read for the first time.

    `renew` never waits for the file system: it compares what the kernel has in memory,
    and has `read` called in `lane`.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], T], empty: T, lane: Lane
    ) -> None:
        self.value = empty
        self.was_read = False
        self._path = path
        self._read = read
        self._lane = lane
        self._stamp: Stamp | None = None
        self._found: tuple[Stamp, T] | None = None

    def renew(self) -> bool:
        """Look for a change; say whether `value` is another than before.

        A changed file is waited for a moment; where that is not enough a later call
        finds what was read.
        """
        if self._has_changed():
            self._lane.post(self._look, self._path)
        found, self._found = self._found, None
        if found is None:
            return False
        self.was_read = True
        stamp, value = found
        self._stamp = None if _is_fresh(stamp) else stamp
        is_new, self.value = value != self.value, value
        return is_new

    def _has_changed(self) -> bool:
        stamp = stamp_of(self._path)
        return stamp == UNSURE or stamp != self._stamp

    def _look(self) -> None:  # in the lane
        # The stamp is taken first. One older than the content only costs another
        # reading; one newer than the content would keep stale content.
        stamp = stamp_of(self._path)
        if stamp == UNSURE:
            with suppress(OSError):
                os.stat(self._path)  # afterwards the kernel knows
            stamp = stamp_of(self._path)
        self._found = stamp, self._read(self._path)


def stamp_of(path: Path) -> Stamp:
    """Return numbers that change with a file's content, as the kernel knows them."""
    found = inode.stamp(os.fsencode(path))
    return UNSURE if found is None else found or ABSENT


def _is_fresh(stamp: Stamp) -> bool:
    modified = stamp[-1]
    return isinstance(modified, int) and (
        abs(time.time_ns() - modified) < _CLOCK_TICK_NS
    )
