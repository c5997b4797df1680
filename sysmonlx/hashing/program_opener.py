# SPDX-License-Identifier: MIT
"""Descriptors of program files that ran a moment ago, without waiting for anybody.

All descriptors are O_PATH: they hold a file and ask its file system nothing. To close
one may take long, if it is the last that holds a deleted file or a mount.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EAGAIN, EINVAL, ENOSYS

from sysmonlx.bounded import Bounded
from sysmonlx.errors import ProcError
from sysmonlx.host.inode import NAME, RESOLVE_CACHED, RESOLVE_IN_ROOT, openat2
from sysmonlx.host.procfs import Procfs

#: Mount namespaces of which a process is remembered.
_HOLDERS_LIMIT = 256
#: A rename anywhere can spoil one look into the kernel's cache of names.
_TRIES = 3


class WouldWaitError(ProcError):
    """A path leads where only a file system can tell on; it may take its time."""


class ProgramOpener:
    """Opens program files through /proc and by path.

    `at_once`, `exe` and `descriptor` are for one thread, `by_path` for all others.
    """

    def __init__(self, procfs: Procfs) -> None:
        self._procfs = procfs
        self._root, self._namespace = -1, 0
        with suppress(ProcError):
            self._namespace = procfs.mount_namespace(1)
            self._root = procfs.open_in_root(1, b"/")
        self._holders: Bounded[int, int] = Bounded(_HOLDERS_LIMIT)

    def close(self) -> None:
        """Let go of the root directory."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def exe(self, tgid: int) -> int:
        """Return a descriptor of the program that a process runs now.

        Raises:
            ProcError: the process has ended; its cause is the OSError.
        """
        return self._procfs.open_exe(tgid)

    def descriptor(self, tid: int, fd: int) -> int:
        """Return a descriptor of what a thread has open there now.

        Raises:
            ProcError: the thread has ended, or has it closed.
        """
        return self._procfs.open_descriptor(tid, fd)

    def at_once(self, mount_namespace: int, path: bytes) -> int:
        """Return a descriptor of a path in the mount namespace of process 1.

        Raises:
            ProcError: it is another namespace, or the kernel's cache does not know.
        """
        if self._root < 0 or mount_namespace != self._namespace:
            raise ProcError("another mount namespace")
        return _open_below(self._root, path, may_wait=False)

    def by_path(self, mount_namespace: int, path: bytes, *, may_wait: bool) -> int:
        """Return a descriptor of a path in a mount namespace that a process is in.

        Raises:
            WouldWaitError: the kernel's cache does not know, and it may not wait.
            ProcError: there is no such file, or nobody is in the namespace.
        """
        for pid in self._in_namespace(mount_namespace):
            root = self._procfs.open_in_root(pid, b"/")
            try:
                return _open_below(root, path, may_wait=may_wait)
            finally:
                os.close(root)
        raise ProcError("nobody is in the mount namespace")

    def _in_namespace(self, mount_namespace: int) -> Iterator[int]:
        """Yield a process of the namespace: the last one found, if it lives."""
        pid = self._holders.get(mount_namespace, 1)
        with suppress(ProcError):
            if (
                self._procfs.mount_namespace(pid) == mount_namespace
                and self._procfs.root(pid) == b"/"
            ):
                yield pid
                return
        for pid in self._procfs.in_mount_namespace(mount_namespace):
            self._holders[mount_namespace] = pid
            yield pid
            return


def _open_below(root: int, path: bytes, *, may_wait: bool) -> int:
    if not path.startswith(b"/"):
        raise ProcError("no path")
    resolve = RESOLVE_IN_ROOT | (0 if may_wait else RESOLVE_CACHED)
    error = 0
    for _ in range(_TRIES):
        fd = openat2(path, NAME, root, resolve)
        if fd >= 0:
            return fd
        error = -fd
        if error != EAGAIN:
            break
    if error in (EAGAIN, EINVAL, ENOSYS) and not may_wait:
        raise WouldWaitError(os.strerror(error))
    cause = OSError(error, os.strerror(error))
    raise ProcError(cause.strerror or "") from cause
