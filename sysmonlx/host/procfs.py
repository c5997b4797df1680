# SPDX-License-Identifier: MIT
"""Processes as /proc shows them, proc(5). Tests give another directory than /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sysmonlx.errors import ProcError

_BOOT_ID_BYTES = 64


class Procfs:
    """Reads below one proc mount. Every method raises ProcError where a file is gone.

    A pid may belong to another process by the time it is read: whoever needs to be sure
    compares what was read with what the kernel recorded.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = os.fsencode(root)

    def pids(self) -> list[int]:
        """Return the thread group id of every process there is."""
        try:
            return [int(name) for name in os.listdir(self._root) if name.isdigit()]
        except OSError as error:
            raise ProcError(f"{os.fsdecode(self._root)}: {error.strerror}") from error

    def root(self, pid: int) -> bytes:
        """Return the path of the root directory; "/" but in a chroot."""
        return self._link(b"%d/root" % pid)

    def open_exe(self, tgid: int) -> int:
        """Return an O_PATH descriptor of the program file, deleted or not.

        It holds the file, whatever becomes of the process, and asks nothing of a file
        system that might not answer.
        """
        return self._open(b"%d/exe" % tgid, os.O_PATH)

    def open_descriptor(self, tid: int, fd: int) -> int:
        """Return an O_PATH descriptor of what a thread has open there.

        It asks no file system, as `open_exe`.
        """
        return self._open(b"%d/fd/%d" % (tid, fd), os.O_PATH)

    def open_in_root(self, pid: int, path: bytes) -> int:
        """Return an O_PATH descriptor of `path` as the root directory of `pid` has it.

        A link as the last component is not followed. This may block: on a network file
        system, for example.
        """
        return self._open(b"%d/root%b" % (pid, path), os.O_PATH | os.O_NOFOLLOW)

    def mount_namespace(self, pid: int) -> int:
        """Return the inode number of the mount namespace, namespaces(7)."""
        return self._inode(b"%d/ns/mnt" % pid)

    def in_mount_namespace(self, inode: int) -> Iterator[int]:
        """Yield live processes of a mount namespace that are in no chroot."""
        for pid in self.pids():
            try:
                if self.mount_namespace(pid) == inode and self.root(pid) == b"/":
                    yield pid
            except ProcError:
                continue

    def by_mount_namespace(self, limit: int) -> dict[int, list[int]]:
        """Return up to `limit` processes of each mount namespace, the youngest first.

        The time it takes grows with the number of processes on the machine.
        """
        found: dict[int, list[int]] = {}
        with suppress(ProcError):
            for pid in sorted(self.pids(), reverse=True):
                with suppress(ProcError):
                    pids = found.setdefault(self.mount_namespace(pid), [])
                    if len(pids) < limit and self.root(pid) == b"/":
                        pids.append(pid)
        return found

    def boot_id(self) -> str:
        """Return the id that the kernel made for this boot, random(4)."""
        name = b"sys/kernel/random/boot_id"
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                return file.read(_BOOT_ID_BYTES).strip().decode("ascii", "replace")
        except OSError as error:
            raise _gone(name, error) from error

    def _path(self, name: bytes) -> bytes:
        return self._root + b"/" + name

    def _link(self, name: bytes) -> bytes:
        try:
            return os.readlink(self._path(name))
        except OSError as error:
            raise _gone(name, error) from error

    def _inode(self, name: bytes) -> int:
        try:
            return os.stat(self._path(name)).st_ino
        except OSError as error:
            raise _gone(name, error) from error

    def _open(self, name: bytes, flags: int) -> int:
        try:
            return os.open(self._path(name), flags | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise _gone(name, error) from error


def _gone(name: bytes, error: OSError | ValueError) -> ProcError:
    reason = getattr(error, "strerror", None) or str(error)
    return ProcError(f"{os.fsdecode(name)}: {reason}")
