# SPDX-License-Identifier: MIT
"""What stays of tests: threads, child processes, open files; files, mounts, daemons.

A thread ends, and closes what it has, a moment after it was told to. That is waited
for: that a busy machine is slow is no mistake.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sysmonlx.service.installed import ROOT_VARIABLE

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
    """Numbers of the threads, descriptors and children of this process."""

    threads: frozenset[str]
    files: frozenset[str]
    children: frozenset[str]

    @classmethod
    def now(cls) -> Snapshot:
        """Take one; the descriptor of the listing is the lowest that is free."""
        os.close(own := os.open("/", os.O_PATH))
        threads = frozenset(os.listdir("/proc/self/task"))
        files = frozenset(os.listdir("/proc/self/fd")) - {str(own)}
        children = _children_of(threads) if has_children() else frozenset[str]()
        return cls(threads, files, children)

    def is_exceeded(self) -> bool:
        """Tell whether there is more now; a child that has ended counts, too."""
        now = Snapshot.now()
        return any(new - old for new, old in zip(now, self, strict=True))

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
        children = sorted(map(_command_of, now.children - self.children))
        return (
            f"threads {list(map(str.strip, named))}, descriptors {files},"
            f" children {children}"
        )


def has_children() -> bool:
    """Tell whether this process has children, ended ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children_of(threads: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    for each in threads:
        with contextlib.suppress(OSError):  # it has ended
            found.update(Path(f"/proc/self/task/{each}/children").read_text().split())
    return frozenset(found)


def _command_of(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return pid


#: Directories of the machine in which tests make something.
_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run")
#: Names of the daemon and of its keeper: to read the environment of others may hang.
_OURS = ("sysmonlx", "sysmonlx-keeper")


def mark_temporary_names() -> str:
    """Let names of temporary files tell this process; return the part that does."""
    tempfile.template = f"sysmonlx-{os.getpid()}."
    return tempfile.template


def left_on_the_machine(base: Path, mark: str) -> list[str]:
    """Return what a session left: its files, its mounts, and daemons of its roots.

    A daemon that ends has a while to do so.

    Args:
        base: The directory below which pytest makes those of the tests.
        mark: A part of each name that the session made elsewhere.
    """
    end_s = time.monotonic() + _WAIT_S
    while (found := _found_on_the_machine(base, mark)) and time.monotonic() < end_s:
        time.sleep(0.1)
    return found


def _found_on_the_machine(base: Path, mark: str) -> list[str]:
    found = [
        os.path.join(folder, name)
        for folder in _SHARED
        for name in os.listdir(folder)
        if mark in name
    ]
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    found += [each for each in places if mark in each or each.startswith(f"{base}/")]
    return found + [f"process {pid}" for pid in _daemons_below(base)]


def _daemons_below(base: Path) -> list[str]:
    return [
        name
        for name in os.listdir("/proc")
        if name.isdecimal()
        and _command_of(name) in _OURS
        and _has_root_below(name, f"{ROOT_VARIABLE}={base}/".encode())
    ]


def _has_root_below(pid: str, wanted: bytes) -> bool:
    with contextlib.suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(each.startswith(wanted) for each in variables)
    return False
