# SPDX-License-Identifier: MIT
"""Records of files, raw disks, process access and eBPF programs to events."""

from __future__ import annotations

import stat
from collections.abc import Mapping

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builder, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, is_plain_text, path_bytes, path_text, text
from sysmonlx.processes.process import Process

_ANY_EXECUTE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class _Paths:
    """Finds out what the kernel side could not of the file of a record."""

    def __init__(self, layout: Layout, context: Context) -> None:
        self._decode = layout.decode
        self._context = context
        self._flags, self._shortened = layout.reader("flags"), context.path_shortened
        #: Flags of a path that is not just the bytes of the record.
        self.is_unusual = context.path_to_resolve | context.path_truncated

    def is_cut(self, data: bytes) -> bool:
        """Say whether the middle of the path is missing."""
        (flags,) = self._flags(data)
        return bool(flags & self._shortened)

    def text(self, data: bytes) -> str:
        """Return the path of such a record."""
        context, record = self._context, self._decode(data)
        path: bytes = record.path
        if record.flags & context.path_unreadable:
            path = b""
        elif record.flags & context.path_given and record.flags & self._shortened:
            place = (record.tgid, record.mount_namespace, record.root)
            path = context.paths.as_given(place, record.base, path)
        elif record.flags & context.path_given:
            place = (record.tgid, record.mount_namespace, record.root)
            path = context.paths.path(place, record.base, path, record.uid)
        return path_text(path, bool(record.flags & context.path_truncated))

    def birth(self, data: bytes, path: str) -> str | None:
        """Return when the file came into being; None: it is no regular file.

        The kernel side alone proves that: whoever renamed a file may have made its name
        something else meanwhile.
        """
        context, record = self._context, self._decode(data)
        if record.mode and not stat.S_ISREG(record.mode):
            return None
        if not record.flags & self._shortened:  # else it leads elsewhere, if anywhere
            place = (record.tgid, record.mount_namespace, b"")
            mode, birth_ns = context.paths.state(place, path_bytes(path))
            if birth_ns and stat.S_ISREG(mode):
                return context.utc_of_wall(birth_ns)
        is_new = record.flags & context.file_is_new
        return context.utc(record.boot_ns) if is_new else UNKNOWN


def file_create(layout: Layout, context: Context) -> Maker:
    """Event 11; none for what was renamed or linked and is no regular file."""
    read = layout.reader(
        "boot_ns", "uid", "created_ns", "flags", "path_offset", "path_length"
    )
    paths, names, is_plain_name = _Paths(layout, context), *_users(context)
    utc, utc_of_wall, is_unusual = context.utc, context.utc_of_wall, paths.is_unusual

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, created_ns, flags, at, size = read(data)
        try:
            path = data[at : at + size].decode()
        except UnicodeDecodeError:
            path = ""
        if flags & is_unusual or not path:
            path = paths.text(data)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            path,
            created_ns,
            names[uid],
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[1] = utc(values[1])
        path, created_ns = values[5], values[6]
        if created_ns:
            values[6] = utc_of_wall(created_ns)
        else:
            created = paths.birth(data, path)
            values[6] = created or UNKNOWN
            if created is None:
                return None
        return process.is_plain and is_plain_name[values[7]] and is_plain_text(path)

    late = (UTC_TIME, 6)
    return Maker(make, finish, late, "not a regular file", paths.is_cut)


def _users(context: Context) -> tuple[Mapping[int, str], Mapping[str, bool]]:
    return context.users.names, context.is_plain_name


def _is_executable(mode: int) -> str:
    if not mode:
        return UNKNOWN
    return "true" if stat.S_ISREG(mode) and mode & _ANY_EXECUTE else "false"


def file_delete_detected(layout: Layout, context: Context) -> Maker:
    """Event 26."""
    read = layout.reader("boot_ns", "uid", "mode", "flags", "path")
    paths, names, is_plain_name = _Paths(layout, context), *_users(context)
    utc, is_unusual = context.utc, paths.is_unusual

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, mode, flags, name = read(data)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            names[uid],
            process.image,
            paths.text(data) if flags & is_unusual else text(name),
            UNKNOWN,
            _is_executable(mode),
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[1] = utc(values[1])
        is_plain_user = is_plain_name[values[4]]
        return process.is_plain and is_plain_user and is_plain_text(values[6])

    return Maker(make, finish, is_cut=paths.is_cut)


def file_delete(layout: Layout, context: Context) -> Maker:
    """Event 23: the fields of event 26, and Archived, which nothing is."""
    detected = file_delete_detected(layout, context)

    def make(data: bytes, process: Process) -> Values:
        return [*detected.make(data, process), UNKNOWN]

    return Maker(make, detected.finish, is_cut=detected.is_cut)


def raw_access_read(layout: Layout, context: Context) -> Maker:
    """Event 9."""
    read = layout.reader("boot_ns", "uid", "flags", "path")
    paths = _Paths(layout, context)

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, flags, path = read(data)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            path_text(path, bool(flags & context.path_truncated)),
            context.user(uid),
        ]

    return Maker(make, timed(context), is_cut=paths.is_cut)


#: Record name to (event id, builder) pairs.
FILE_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "file_create": ((11, file_create),),
    "file_delete": ((23, file_delete), (26, file_delete_detected)),
    "raw_access_read": ((9, raw_access_read),),
}

FILE_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="system calls",
        events=frozenset({9, 10, 11, 23, 26, 100}),
        alternatives=(("syscall_exit",),),
        missing="no file, raw disk, process access and eBPF events",
    ),
    Hook(
        name="deleted files by directory entry",
        events=frozenset({23, 26}),
        alternatives=(("path_unlink",), ("unlink_ext4",)),
        missing="names of deleted files are read from the caller's memory",
    ),
    Hook(
        name="renamed and linked files by directory entry",
        events=frozenset({11, 23, 26}),
        alternatives=(("path_rename", "path_link"),),
        missing="files replaced by a rename are no FileDelete; "
        "new names are read from the caller's memory",
    ),
    Hook(
        name="types of renamed and linked files",
        events=frozenset({11}),
        alternatives=(
            ("path_rename", "path_link"),
            ("ctime_set", "ctime_exchanged", "ctime_kept"),
        ),
        missing="whatever is renamed or linked is a FileCreate, directories too",
    ),
    Hook(
        name="files by io_uring",
        events=frozenset({9, 10, 11, 23, 26}),
        alternatives=(
            ("io_uring_name_begun", "io_uring_name_done"),
            ("io_uring_name_begun", "io_uring_name_done_by_result"),
            ("io_uring_name_begun_sqe", "io_uring_name_done_by_result"),
        ),
        missing="files opened, named and deleted through io_uring",
    ),
)
