# SPDX-License-Identifier: MIT
"""Events 9, 11, 23 and 26 from records: raw disks read, files made, files deleted."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Protocol

from sysmonlx.capture.hooks import NAME_PROGRAMS, Hook, ring_hooks
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import (
    UTC_TIME,
    Builders,
    Cut,
    Finish,
    Maker,
    Values,
    cut_by,
    timed,
)
from sysmonlx.enrich.context import Context, Place
from sysmonlx.kernel_text import UNKNOWN, is_plain_text, path_bytes, path_text, text
from sysmonlx.processes.process import Process

_ANY_EXECUTE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_CREATED = 6  # position of CreationUtcTime in event 11


class _FileRecord(Protocol):
    """A decoded struct file_event. A struct pipe_event has these but `mode`.

    `path` is the name as the caller gave it, or as the kernel resolved it; `base` is
    the directory where a relative name begins, `root` the root directory of the caller,
    empty where that is the root of its mount namespace.
    """

    boot_ns: int
    tgid: int
    uid: int
    flags: int
    mode: int
    mount_namespace: int
    path: bytes
    base: bytes
    root: bytes


class RecordPaths:
    """Finds out the path or the birth of a file where the record does not have it.

    Most records have both: the path in them is whole, and as it is to be shown.
    """

    def __init__(self, layout: Layout, context: Context) -> None:
        self._decode: Callable[[bytes], _FileRecord] = layout.decode
        self._context = context
        #: Flags of a path that is not just the bytes of the record.
        self.is_unusual = context.path_to_resolve | context.path_truncated

    def text(self, data: bytes) -> str:
        """Return the path of a record that has one of the flags `is_unusual`."""
        context, record = self._context, self._decode(data)
        path = record.path
        if record.flags & context.path_unreadable:
            path = b""
        elif (
            record.flags & context.path_given and record.flags & context.path_shortened
        ):
            path = context.paths.as_given(_place(record), record.base, path)
        elif record.flags & context.path_given:
            path = context.paths.path(_place(record), record.base, path, record.uid)
        return path_text(path, bool(record.flags & context.path_truncated))

    def birth(self, data: bytes, path: str) -> str | None:
        """Return when the file came into being; None: it is no regular file.

        Only the kernel side can prove that it is none. To look at the name now proves
        nothing: whoever renamed the file may have put something else there meanwhile.
        """
        context, record = self._context, self._decode(data)
        if record.mode and not stat.S_ISREG(record.mode):
            return None
        if record.flags & context.is_unproven:
            return UNKNOWN
        # A name whose middle is missing leads to another file, if to any.
        if not record.flags & context.path_shortened:
            place = (record.tgid, record.mount_namespace, b"")
            mode, birth_ns = context.paths.state(place, path_bytes(path))
            if birth_ns and stat.S_ISREG(mode):
                return context.utc_of_wall(birth_ns)
        is_new = record.flags & context.file_is_new
        return context.utc(record.boot_ns) if is_new else UNKNOWN


def _place(record: _FileRecord) -> Place:
    return record.tgid, record.mount_namespace, record.root


def _cut(layout: Layout, context: Context) -> Cut:
    return cut_by(layout, context.path_shortened)


def file_create(layout: Layout, context: Context) -> Maker:
    """Event 11; a name given by rename or link is none, unless to a regular file."""
    read: Callable[[bytes], tuple[int, int, int, int, int, int]] = layout.reader(
        "boot_ns", "uid", "created_ns", "flags", "path_offset", "path_length"
    )
    paths, names = RecordPaths(layout, context), context.users.names
    is_unusual = paths.is_unusual

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

    late, cut = (UTC_TIME, _CREATED), _cut(layout, context)
    finish = _finish_create(paths, context)
    return Maker(make, finish, late, "not a regular file", cut)


def _finish_create(paths: RecordPaths, context: Context) -> Finish:
    """Return the second step of event 11: when the file was made, if it is a file."""
    utc, utc_of_wall = context.utc, context.utc_of_wall
    is_plain_name = context.is_plain_name

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        path, created_ns = values[5], values[_CREATED]
        if created_ns:
            values[_CREATED] = utc_of_wall(created_ns)
        else:
            created = paths.birth(data, path)
            values[_CREATED] = created or UNKNOWN
            if created is None:
                return None
        return process.is_plain and is_plain_name[values[7]] and is_plain_text(path)

    return finish


def _is_executable(mode: int) -> str:
    """Return IsExecutable of a file type and mode; 0: the kernel could not tell."""
    if not mode:
        return UNKNOWN
    return "true" if stat.S_ISREG(mode) and mode & _ANY_EXECUTE else "false"


def file_delete_detected(layout: Layout, context: Context) -> Maker:
    """Event 26; no hash is made of a file that is gone, so Hashes is unknown."""
    read: Callable[[bytes], tuple[int, int, int, int, bytes]]
    read = layout.reader("boot_ns", "uid", "mode", "flags", "path")
    paths, names = RecordPaths(layout, context), context.users.names
    utc, is_plain_name = context.utc, context.is_plain_name
    is_unusual = paths.is_unusual

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
        values[UTC_TIME] = utc(values[UTC_TIME])
        is_plain_user = is_plain_name[values[4]]
        return process.is_plain and is_plain_user and is_plain_text(values[6])

    return Maker(make, finish, cut=_cut(layout, context))


def file_delete(layout: Layout, context: Context) -> Maker:
    """Event 23: the fields of event 26, and Archived; sysmonlx archives no files."""
    detected = file_delete_detected(layout, context)

    def make(data: bytes, process: Process) -> Values:
        return [*detected.make(data, process), UNKNOWN]

    return detected._replace(make=make)


def raw_access_read(layout: Layout, context: Context) -> Maker:
    """Event 9."""
    read: Callable[[bytes], tuple[int, int, int, bytes]]
    read = layout.reader("boot_ns", "uid", "flags", "path")

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

    return Maker(make, timed(context), cut=_cut(layout, context))


FILE_BUILDERS: Builders = {
    "file_create": ((11, file_create),),
    "file_delete": ((23, file_delete), (26, file_delete_detected)),
    "raw_access_read": ((9, raw_access_read),),
}

FILE_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="system calls",
        events=frozenset({8, 9, 10, 11, 23, 26, 100}),
        alternatives=(("syscall_exit",),),
        missing="no file, raw disk, process access, injection and eBPF events",
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
        alternatives=(("path_rename", "path_link"), NAME_PROGRAMS),
        missing="files replaced by a rename are no FileDelete; "
        "new names are read from the caller's memory; "
        "whatever is renamed or linked is a FileCreate, directories too",
    ),
    *ring_hooks(
        "files by io_uring",
        frozenset({8, 9, 10, 11, 23, 26}),
        "files opened, named and deleted through io_uring",
    ),
)
