# SPDX-License-Identifier: MIT
"""What is attached for files, raw disks, access to processes, and eBPF programs."""

from __future__ import annotations

from sysmonlx.capture.hooks import Hook

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
