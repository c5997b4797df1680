# SPDX-License-Identifier: MIT
"""Names of files as the process that used them would find them, and what is there.

Everything goes through openat2(2) with RESOLVE_IN_ROOT, so that links of another root
directory or mount namespace stay in it, and RESOLVE_CACHED, so that no network or user
space file system can make us wait. Where the cache alone has no answer (a link whose
access time is due, for one), another thread asks again, see `aside`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EAGAIN, ESRCH
from typing import NamedTuple

from sysmonlx.errors import ProcError
from sysmonlx.host import inode
from sysmonlx.host.aside import Aside, begun
from sysmonlx.host.inode import RESOLVE_IN_ROOT
from sysmonlx.host.namespace_holders import Holders
from sysmonlx.host.procfs import Procfs

#: How long a directory found once is taken to be where it was.
_REMEMBER_S = 0.1
#: User ids from here on belong to accounts of a directory server, or are handed out by
#: the block to users for their own user namespaces, subuid(5). All ids of one block
#: count as one user.
_BLOCK_BITS = 16


class Place(NamedTuple):
    """A process that used a path, its mount namespace, and root ("": that of it)."""

    tgid: int
    mount_namespace: int
    root: bytes = b""


#: The same as a plain tuple, for those who may not import this module.
AnyPlace = tuple[int, int, bytes]


class FileState(NamedTuple):
    """The state of the file at a path; zeroes where it is not known.

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


class Resolver:
    """Resolves names of other processes."""

    def __init__(self, procfs: Procfs, aside: Aside | None = None) -> None:
        self._procfs = procfs
        self._own = os.open("/", inode.DIRECTORY)
        self._namespace = procfs.mount_namespace(os.getpid())
        self._aside = aside or begun()
        self._holders = Holders(procfs, self._aside.processes)
        self._remembered: dict[tuple[AnyPlace, bytes, bytes], bytes | None] = {}
        self._since = 0.0

    def close(self) -> None:
        """Let go of the root directory."""
        os.close(self._own)

    def path(self, place: AnyPlace, base: bytes, path: bytes, uid: int = 0) -> bytes:
        """Return the absolute path of `path`, the directory it is in resolved.

        `base` is where a relative path begins, resolved. A directory that has gone, or
        that only a slow file system knows, leaves the path as given. `uid` is charged
        for the time that a slow one takes.
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
            found = self._remembered[key] = self._find_directory(*key, uid)
        return join(place[2], base, path) if found is None else found + name

    def as_given(self, place: AnyPlace, base: bytes, path: bytes) -> bytes:
        """Return the same path without a look at any file system."""
        return join(place[2], base, path)

    def state(self, place: AnyPlace, path: bytes) -> FileState:
        """Return type and time of birth of what a resolved path leads to."""
        tgid, namespace, _ = place
        try:
            if namespace == self._namespace:
                return self._read_state(self._own, path)
            with self._root(Place(tgid, namespace)) as root:
                return self._read_state(root, path)
        except OSError:
            return UNKNOWN_STATE

    def _read_state(self, root: int, path: bytes) -> FileState:
        fd = inode.open_cached(path, inode.NAME, root, RESOLVE_IN_ROOT)
        try:
            return FileState(*inode.kind_and_birth(fd))
        finally:
            os.close(fd)

    def _find_directory(
        self, given: AnyPlace, base: bytes, directory: bytes, uid: int
    ) -> bytes | None:
        """Return the absolute path of a directory, with a slash at its end."""
        place = Place(*given)
        if not directory.startswith(b"/"):
            place, directory = _inside(place, base, directory)
        if not directory.strip(b"/"):
            return place.root.rstrip(b"/") + b"/"
        try:
            if not _may_ask_anyway(directory):
                with self._root(place) as root:
                    flags, way = inode.DIRECTORY, RESOLVE_IN_ROOT
                    return _path_of(inode.open_cached(directory, flags, root, way))
            holder = self._holder(place)
        except OSError as error:
            if error.errno != EAGAIN:
                return None
            holder = self._holder(place)
        # Root of a container is not the administrator.
        lane = self._aside.paths if uid or holder else self._aside.root_paths
        key = uid >> _BLOCK_BITS << _BLOCK_BITS or uid or place.mount_namespace
        return lane.run(lambda: self._read_slowly(place, holder, directory), key)

    def _holder(self, place: Place) -> int:
        """Return a live process of a mount namespace, 0 for our own.

        Raises:
            OSError: there is none.
        """
        if place.mount_namespace == self._namespace:
            return 0
        for pid in self._holders.of(place.mount_namespace, place.tgid):
            return pid
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH))

    def _read_slowly(  # in a lane, which has descriptors of its own
        self, place: Place, holder: int, path: bytes
    ) -> bytes | None:
        with suppress(OSError), ExitStack() as stack:
            root = self._open_holder(holder, place.mount_namespace)
            stack.callback(os.close, root)
            if place.root:
                flags, way = inode.DIRECTORY, RESOLVE_IN_ROOT
                root = inode.open_anyhow(place.root, flags, root, way)
                stack.callback(os.close, root)
            way = RESOLVE_IN_ROOT
            return _path_of(inode.open_anyhow(path, inode.DIRECTORY, root, way))
        return None

    def _open_holder(self, holder: int, namespace: int) -> int:
        if not holder:
            return os.open("/", inode.DIRECTORY)
        try:
            root = self._procfs.open_in_root(holder, b"/")
            if self._procfs.mount_namespace(holder) == namespace:
                return root
            os.close(root)
        except ProcError:
            pass
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH))

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
                flags = inode.DIRECTORY
                return inode.open_cached(place.root, flags, root, RESOLVE_IN_ROOT)
        holder = self._holder(place)
        return self._open_holder(holder, place.mount_namespace) if holder else self._own


def _path_of(fd: int) -> bytes | None:
    """Return the path of an open directory; None: it was removed. Closes `fd`."""
    try:
        if not inode.link_count(fd):
            return None
        # A thread of a lane has descriptors of its own.
        return os.readlink(b"/proc/thread-self/fd/%d" % fd).rstrip(b"/") + b"/"
    finally:
        os.close(fd)


def _may_ask_anyway(directory: bytes) -> bool:
    """Say whether a lookup may ask a file system in spite of RESOLVE_CACHED.

    A path that ends in ".." is checked again by file systems of the network:
    d_weak_revalidate in Documentation/filesystems/locking.rst.
    """
    parts = [part for part in directory.split(b"/") if part not in (b"", b".")]
    return parts[-1:] == [b".."]


def _inside(place: Place, base: bytes, directory: bytes) -> tuple[Place, bytes]:
    """Return where to look for a directory that is relative to `base`.

    A base outside of the root directory is looked for in the mount namespace. Only ".."
    in front of all is folded: there are no links in `base`.
    """
    if place.root and not (base + b"/").startswith(place.root + b"/"):
        place = place._replace(root=b"")
    base, rest = base[len(place.root) :], directory
    while rest:
        first, _, following = rest.partition(b"/")
        if first == b"..":
            base = base.rstrip(b"/").rpartition(b"/")[0]
        elif first not in (b"", b"."):
            break
        rest = following
    return place, join(b"", base, rest)
