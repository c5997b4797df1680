# SPDX-License-Identifier: MIT
"""Paths of control groups by their numbers: cgroups(7), open_by_handle_at(2).

A number is what the kernel side makes of a control group (`cgroup_number`): its id, and
in the highest byte its hierarchy. Most paths come from records of `cgroup_created`,
before any process can be in the group. Those of older groups are read from cgroupfs.
Where a record was lost cgroupfs is asked by the number. Both are done in a lane:
whoever changes groups holds locks of cgroupfs.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sysmonlx.host.aside import Aside

#: How many paths are kept, and their bytes together. A user who makes many long ones
#: crowds out others: these are asked for again.
LIMIT, LIMIT_BYTES = 16384, 2 << 20
#: A group that was not found is not looked for again in this time, in seconds.
_PAUSE_S = 1.0

_HIERARCHY_SHIFT = 56
#: FILEID_KERNFS of <linux/exportfs.h>, since v5.8: a handle that is the number alone.
_KERNFS_HANDLE = 0xFE
_DELETED = b" (deleted)"


class _Handle(ctypes.Structure):
    """struct file_handle, of open_by_handle_at(2), with a kernfs id."""

    _fields_ = [
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("id", ctypes.c_uint64),
    ]


class ControlGroups:
    """Knows paths by number; all methods are for one thread, which never hangs here."""

    def __init__(self, aside: Aside, proc: Path = Path("/proc")) -> None:
        self._lane = aside.control_groups
        self._proc = proc
        self._paths: dict[int, bytes] = {}
        self._size_bytes = 0
        self._missing: dict[int, float] = {}
        self._answers: deque[tuple[int, bytes]] = deque()

    def made(self, number: int, path: bytes) -> None:
        """Take the path of a group that was just made."""
        if number not in self._paths:
            self._paths[number] = path
            self._size_bytes += len(path)
        while len(self._paths) > LIMIT or self._size_bytes > LIMIT_BYTES:
            oldest = next(iter(self._paths))
            self._size_bytes -= len(self._paths.pop(oldest))

    def path(self, number: int) -> bytes:
        """Return the path of a group from the root of its hierarchy; b"": not known."""
        path = self._paths.get(number)
        if path is None and self._answers:
            self._take_answers()
            path = self._paths.get(number)
        return self._look_up(number) if path is None else path

    def expect_all(self) -> None:
        """Have the paths of all groups read that are there now."""
        self._lane.post(self._walk, "all")

    def _look_up(self, number: int) -> bytes:
        now = time.monotonic()
        if not number or self._missing.get(number, 0.0) > now:
            return b""
        if len(self._missing) >= LIMIT:
            self._missing.clear()
        self._missing[number] = now + _PAUSE_S
        self._lane.post(lambda: self._answer(number), number)
        self._take_answers()  # one that is late serves later events
        return self._paths.get(number, b"")

    def _take_answers(self) -> None:
        while self._answers:
            self.made(*self._answers.popleft())

    def _answer(self, number: int) -> None:  # this and all below: in the lane
        path = _path_by_handle(number, self._proc)
        if path:
            self._answers.append((number, path))

    def _walk(self) -> None:
        for hierarchy, mount in mounts(self._proc).items():
            for number, path in _groups_of(mount):
                self._answers.append((number | hierarchy << _HIERARCHY_SHIFT, path))


def mounts(proc: Path = Path("/proc")) -> dict[int, tuple[bytes, bytes]]:
    """Return what is mounted of the hierarchies that tell containers, and where.

    By the number of the hierarchy: the directory of it that is mounted, and the place.
    """
    found = {}
    for line in (proc / "self/cgroup").read_bytes().splitlines():
        number, controllers, _ = line.split(b":", 2)
        if not controllers or {b"memory", b"pids"} & {*controllers.split(b",")}:
            root, mount = _mount_of(int(number), proc)
            if mount:
                found[int(number)] = root, mount
    return found


def _groups_of(place: tuple[bytes, bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield id and path of each group of a hierarchy, `LIMIT` at most."""
    root, mount = place
    yield os.stat(mount).st_ino, root
    left, directories = LIMIT, [mount]
    while directories:
        with suppress(OSError), os.scandir(directories.pop()) as entries:
            for entry in entries:
                if left and entry.is_dir(follow_symlinks=False):
                    left -= 1
                    directories.append(entry.path)
                    yield entry.inode(), _below(root, mount, entry.path)


def _path_by_handle(number: int, proc: Path) -> bytes:
    """Return the path of a group, asked of cgroupfs; b"" where it is not there."""
    root, mount = _mount_of(number >> _HIERARCHY_SHIFT, proc)
    if not mount:
        return b""
    identifier = number & (1 << _HIERARCHY_SHIFT) - 1
    return _below(root, mount, _opened_path(mount, identifier))


def _below(root: bytes, mount: bytes, path: bytes) -> bytes:
    """Return a path from the root of the hierarchy, of which `root` is at `mount`."""
    if path != mount and not path.startswith(mount.rstrip(b"/") + b"/"):
        return b""  # not below what is mounted here
    inner = path[len(mount.rstrip(b"/")) :]
    return (root.rstrip(b"/") + inner) or b"/"


def _opened_path(mount: bytes, identifier: int) -> bytes:
    """Return the path of a directory of kernfs by its number; b"": there is none."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    handle = _Handle(8, _KERNFS_HANDLE, identifier)
    directory = os.open(mount, flags)
    try:
        call = ctypes.CDLL(None, use_errno=True).open_by_handle_at
        fd = call(directory, ctypes.byref(handle), flags)
        if fd < 0:
            return b""  # ESTALE: the group is gone
        try:
            path = os.readlink(b"/proc/thread-self/fd/%d" % fd)
        finally:
            os.close(fd)
    finally:
        os.close(directory)
    return b"" if path.endswith(_DELETED) else path


def _mount_of(hierarchy: int, proc: Path) -> tuple[bytes, bytes]:
    """Return what part of a hierarchy is mounted and where: proc_pid_mountinfo(5).

    The whole of it where that is to be had; b"" twice where nothing is.
    """
    controllers = _controllers(hierarchy, proc)
    found = []
    for line in (proc / "self/mountinfo").read_bytes().splitlines():
        before, _, behind = line.partition(b" - ")
        kind, _, options = behind.split(b" ", 2)
        kinds = b"cgroup" if hierarchy else b"cgroup2"
        if kind == kinds and controllers <= {*options.split(b",")}:
            root, mount = before.split(b" ")[3:5]
            found.append((root != b"/", _plain(root), _plain(mount)))
    if not found:
        return b"", b""
    _, root, mount = min(found)
    return root, mount


def _controllers(hierarchy: int, proc: Path) -> set[bytes]:
    """Return the controllers of a hierarchy of version 1, as a mount's options."""
    if not hierarchy:
        return set()
    for line in (proc / "self/cgroup").read_bytes().splitlines():
        number, controllers, _ = line.split(b":", 2)
        if number == b"%d" % hierarchy:
            return {*controllers.split(b",")}
    return {b"-"}  # no such hierarchy: no mount has this


def _plain(path: bytes) -> bytes:
    """Return a path of mountinfo without its octal escapes."""
    return path.decode("unicode_escape").encode("latin-1")
