# SPDX-License-Identifier: MIT
"""What stays of a piece of a test: threads, child processes, open files.

A thread ends, and closes what it has, a moment after it was told to. All of these wait
for it; that a busy machine is slow is no mistake.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_WAIT_S = 30.0
_LOOK_S = 0.002


def open_files() -> dict[int, str]:
    """Return the descriptors of this process, and where each leads."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own, which is closed
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@contextlib.contextmanager
def nothing_stays_open() -> Iterator[None]:
    """Fail where a descriptor stays open that was opened within.

    Ones that others had open before may be closed meanwhile.
    """
    before = open_files()
    yield
    end_s = time.monotonic() + _WAIT_S
    while new := {fd: to for fd, to in open_files().items() if before.get(fd) != to}:
        assert time.monotonic() < end_s, f"these stay open: {new}"
        time.sleep(_LOOK_S)


class Snapshot(NamedTuple):
    """Numbers of the threads and descriptors of this process."""

    threads: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls) -> Snapshot:
        """Take one; the descriptor of the listing is the lowest that is free."""
        os.close(own := os.open("/", os.O_PATH))
        return cls(
            frozenset(os.listdir("/proc/self/task")),
            frozenset(os.listdir("/proc/self/fd")) - {str(own)},
        )

    def is_exceeded(self) -> bool:
        """Tell whether there is more now, or a child that nobody waited for."""
        now = Snapshot.now()
        is_more = now.threads - self.threads or now.files - self.files
        return bool(is_more) or has_children()

    def left(self) -> str:
        """Wait until nothing more is there; return in words what stays."""
        if not self.is_exceeded():
            return ""
        gc.collect()
        end_s = time.monotonic() + _WAIT_S
        while self.is_exceeded():
            if time.monotonic() > end_s:
                return self._told()
            time.sleep(_LOOK_S)
        return ""

    def _told(self) -> str:
        now = Snapshot.now()
        threads = sorted(now.threads - self.threads)
        named = [Path(f"/proc/self/task/{each}/comm").read_text() for each in threads]
        files = {fd: to for fd, to in open_files().items() if str(fd) not in self.files}
        return (
            f"threads {list(map(str.strip, named))}, descriptors {files},"
            f" children: {has_children()}"
        )


def has_children() -> bool:
    """Tell whether this process has children, ended ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
