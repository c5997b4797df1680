# SPDX-License-Identifier: MIT
"""Names of files as the process that used them would find them, and what is there.

Everything goes through openat2(2) with RESOLVE_IN_ROOT, so that links of another root
directory or mount namespace stay in it, and RESOLVE_CACHED, so that no network or user
space file system can make us wait. What the cache alone does not answer (a link whose
access time is due, for one) is asked for again in a thread, which may take a moment.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p
from errno import EAGAIN, EINVAL, ESRCH
from typing import NamedTuple

from sysmonlx.errors import ProcError
from sysmonlx.procfs import Procfs

_OPENAT2 = 437  # the same on every architecture
_RESOLVE_IN_ROOT = 0x10
_RESOLVE_CACHED = (
    0x20  # v5.12, 99668f618062 ("fs: expose LOOKUP_CACHED through openat2()")
)
_HOW = struct.Struct("=QQQ")  # struct open_how
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_TYPE_AND_BIRTH = 0x1 | 0x800
_STATX_SIZE = 256
_STATX_BIRTH = 0x800
_MODE_AT, _BIRTH_AT = 28, 80  # stx_mode, stx_btime of struct statx

#: How long a directory found once is taken to be where it was.
_REMEMBER_S = 0.1
#: How long we wait for what is not in the kernel's cache.
_PATIENCE_S = 0.05
_CALLS = (("syscall", c_long), ("statx", c_int))


class Place(NamedTuple):
    """Who used a name: a process, its mount namespace, its root ("" for that of it)."""

    tgid: int
    mount_namespace: int
    root: bytes = b""


#: The same as a plain tuple, for those who may not import this module.
AnyPlace = tuple[int, int, bytes]


class FileState(NamedTuple):
    """What a name leads to; zeroes where it is not known.

    `birth_ns` counts from the epoch.
    """

    mode: int
    birth_ns: int


UNKNOWN_STATE = FileState(0, 0)


def join(root: bytes, base: bytes, path: bytes) -> bytes:
    """Return the path as given, absolute. Nothing is folded: x/.. may be elsewhere."""
    if path.startswith(b"/"):
        return root + path
    return base.rstrip(b"/") + b"/" + path


class _Patience:
    """Runs work that may block; as long as one does not return, no other is begun."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], bytes | None]) -> bytes | None:
        """Return what `work` returns, None when that takes too long."""
        if self._thread is not None and self._thread.is_alive():
            return None
        results: list[bytes | None] = []
        self._thread = threading.Thread(
            target=lambda: results.append(work()), name="resolve", daemon=True
        )
        self._thread.start()
        self._thread.join(_PATIENCE_S)
        return results[0] if results else None


class Resolver:
    """Resolves names of other processes; `own_root` stands for our mount namespace."""

    def __init__(self, procfs: Procfs, own_root: str = "/") -> None:
        self._procfs = procfs
        self._own = os.open(own_root, _DIRECTORY)
        self._namespace = procfs.mount_namespace(os.getpid())
        self._libc = ctypes.CDLL(None, use_errno=True)
        for name, restype in _CALLS:
            getattr(self._libc, name).restype = restype
        self._libc.syscall.argtypes = [c_long, c_int, c_char_p, c_char_p, c_size_t]
        self._libc.statx.argtypes = [c_int, c_char_p, c_int, c_uint, c_void_p]
        self._cached = _RESOLVE_IN_ROOT | _RESOLVE_CACHED
        self._patience = _Patience()
        self._buffer = ctypes.create_string_buffer(_STATX_SIZE)
        self._remembered: dict[tuple[AnyPlace, bytes, bytes], bytes | None] = {}
        self._since = 0.0

    def close(self) -> None:
        """Let go of the root directory."""
        os.close(self._own)

    def path(self, place: AnyPlace, base: bytes, path: bytes) -> bytes:
        """Return the absolute path of `path`, the directory it is in resolved.

        `base` is where a relative path begins, resolved. A directory that has gone, or
        that only a slow file system knows, leaves the path as given.
        """
        directory, slash, name = path.rstrip(b"/").rpartition(b"/")
        if not slash:
            return join(b"", base, name)
        now = time.monotonic()
        if now - self._since > _REMEMBER_S:
            self._remembered.clear()
            self._since = now
        key = (place, base, path[: len(directory) + 1])
        try:
            found = self._remembered[key]
        except KeyError:
            found = self._remembered[key] = self._find_directory(*key)
        return join(place[2], base, path) if found is None else found + name

    def state(self, place: AnyPlace, path: bytes) -> FileState:
        """Return type and time of birth of what a resolved path leads to."""
        _, namespace, _ = place
        try:
            if namespace == self._namespace:
                return self._read_state(self._own, path)
            with self._root(Place(*place)._replace(root=b"")) as root:
                return self._read_state(root, path)
        except OSError:
            return UNKNOWN_STATE

    def _read_state(self, root: int, path: bytes) -> FileState:
        fd = self._open(root, path, _FILE, self._cached)
        try:
            return self._statx(fd)
        finally:
            os.close(fd)

    def _find_directory(
        self, given: AnyPlace, base: bytes, directory: bytes
    ) -> bytes | None:
        """Return the absolute path of a directory, with a slash at its end."""
        place = Place(*given)
        if not directory.startswith(b"/"):
            place, directory = _inside(place, base, directory)
        try:
            return self._read_directory(place, directory, self._cached)
        except OSError as error:
            if error.errno != EAGAIN:
                return None
        return self._patience.run(lambda: self._read_slowly(place, directory))

    def _read_slowly(self, place: Place, path: bytes) -> bytes | None:
        with suppress(OSError):
            return self._read_directory(place, path, _RESOLVE_IN_ROOT)
        return None

    def _read_directory(self, place: Place, path: bytes, resolve: int) -> bytes | None:
        with self._root(place) as root:
            fd = self._open(root, path, _DIRECTORY, resolve)
        try:
            if os.fstat(fd).st_nlink == 0:
                return None
            return os.readlink(b"/proc/self/fd/%d" % fd).rstrip(b"/") + b"/"
        finally:
            os.close(fd)

    def _open(self, root: int, path: bytes, flags: int, resolve: int) -> int:
        """Open `path` below `root`, without leaving it."""
        how = _HOW.pack(flags, 0, resolve)
        fd = int(self._libc.syscall(_OPENAT2, root, path, how, len(how)))
        if fd >= 0:
            return fd
        error = ctypes.get_errno()
        if error == EINVAL and resolve & _RESOLVE_CACHED:
            self._cached = _RESOLVE_IN_ROOT
            return self._open(root, path, flags, _RESOLVE_IN_ROOT)
        raise OSError(error, os.strerror(error))

    def _statx(self, fd: int) -> FileState:
        data = self._buffer
        flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
        if self._libc.statx(fd, b"", flags, _STATX_TYPE_AND_BIRTH, data) != 0:
            return UNKNOWN_STATE
        (known,) = struct.unpack_from("=I", data, 0)
        (mode,) = struct.unpack_from("=H", data, _MODE_AT)
        second, ns = struct.unpack_from("=qI", data, _BIRTH_AT)
        return FileState(mode, second * 10**9 + ns if known & _STATX_BIRTH else 0)

    @contextmanager
    def _root(self, place: Place) -> Iterator[int]:
        """Yield the root directory of `place`.

        Raises:
            OSError: no process that still lives has it.
        """
        fd = self._open_root(place)
        try:
            yield fd
        finally:
            if fd != self._own:
                os.close(fd)

    def _open_root(self, place: Place) -> int:
        if place.root:
            with self._root(place._replace(root=b"")) as root:
                return self._open(root, place.root, _DIRECTORY, self._cached)
        if place.mount_namespace == self._namespace:
            return self._own
        for pid in self._holders(place):
            with suppress(ProcError):
                return self._procfs.open_in_root(pid, b"/")
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH))

    def _holders(self, place: Place) -> Iterator[int]:
        """Yield processes of a mount namespace whose root directory is its root."""
        with suppress(ProcError):
            if (
                self._procfs.mount_namespace(place.tgid) == place.mount_namespace
                and self._procfs.root(place.tgid) == b"/"
            ):
                yield place.tgid
        yield from self._procfs.in_mount_namespace(place.mount_namespace)


def _inside(place: Place, base: bytes, directory: bytes) -> tuple[Place, bytes]:
    """Return where to look for a directory that is relative to `base`.

    A base outside of the root directory is looked for in the mount namespace.
    """
    if place.root and not (base + b"/").startswith(place.root + b"/"):
        place = place._replace(root=b"")
    return place, join(b"", base[len(place.root) :], directory)
