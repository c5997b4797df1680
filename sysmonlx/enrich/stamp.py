# SPDX-License-Identifier: MIT
"""Event 2 from records: files whose time of change a process puts back."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Protocol

from sysmonlx.capture.hooks import NAME_PROGRAMS, Hook, ring_hooks
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Maker, Values, cut_by
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.file import RecordPaths
from sysmonlx.kernel_text import UNKNOWN, path_bytes, text
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import FILE_CREATE_TIME

_NAMES = [field.name for field in FILE_CREATE_TIME.fields]
_CREATED = _NAMES.index("CreationUtcTime")
_PREVIOUS = _NAMES.index("PreviousCreationUtcTime")


class _TimeRecord(Protocol):
    """Members of struct time_set that are read; times in ns of the wall clock."""

    birth_ns: int
    tgid: int
    mount_namespace: int


def _proof(layout: Layout, context: Context) -> Callable[[bytes, str], str]:
    """Return what tells the path of a record, "-" where another file has it now."""
    decode: Callable[[bytes], _TimeRecord] = layout.decode

    def proved(data: bytes, path: str) -> str:
        record = decode(data)
        place = (record.tgid, record.mount_namespace, b"")
        mode, birth_ns = context.paths.state(place, path_bytes(path))
        if stat.S_ISREG(mode) and birth_ns and record.birth_ns:
            return path if birth_ns == record.birth_ns else UNKNOWN
        return path

    return proved


def time_set(layout: Layout, context: Context) -> Maker:
    """Event 2: the time of change, since the time of birth cannot be set on Linux.

    Where the path is the caller's string, the file that it leads to must have the same
    birth as the one whose time was set, if both are known: else the string was changed
    meanwhile, and TargetFilename is "-".
    """
    read: Callable[[bytes], tuple[int, int, int, int, int, bytes]]
    read = layout.reader(
        *("boot_ns", "uid", "flags", "mtime_ns", "previous_ns", "path")
    )
    paths, names = RecordPaths(layout, context), context.users.names
    utc, utc_of_wall, proved = context.utc, context.utc_of_wall, _proof(layout, context)

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, flags, mtime_ns, previous_ns, path = read(data)
        shown = paths.text(data) if flags & paths.is_unusual else text(path)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            proved(data, shown) if flags & context.path_given else shown,
            mtime_ns,
            previous_ns,
            names[uid],
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        values[_CREATED] = utc_of_wall(values[_CREATED])
        values[_PREVIOUS] = utc_of_wall(values[_PREVIOUS])
        return False

    late = (UTC_TIME, _CREATED, _PREVIOUS)
    return Maker(make, finish, late, cut=cut_by(layout, context.path_shortened))


STAMP_BUILDERS: Builders = {
    "time_set": ((FILE_CREATE_TIME.id, time_set),),
}

STAMP_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="times of files by system calls",
        events=frozenset({2}),
        alternatives=(("syscall_exit",),),
        missing="no times of files that are put back",
    ),
    Hook(
        name="times of files before they are set",
        events=frozenset({2}),
        alternatives=(("times_setting",), NAME_PROGRAMS),
        missing="no times of files that are put back (needs Linux 6.13, or fentry)",
    ),
    *ring_hooks(
        "files that are made by io_uring",
        frozenset({2}),
        "files that a program makes through io_uring count as made by others",
    ),
)
