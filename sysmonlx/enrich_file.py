# SPDX-License-Identifier: MIT
"""Records of files, raw disks, process access and eBPF programs to events."""

from __future__ import annotations

import stat

from sysmonlx.decode import Record
from sysmonlx.enrich import Builder, Context
from sysmonlx.processes import NO_GUID, UNKNOWN, Process, path_text, text

_ANY_EXECUTE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_PROGRAM_TYPES = (
    "UNSPEC SOCKET_FILTER KPROBE SCHED_CLS SCHED_ACT TRACEPOINT XDP PERF_EVENT "
    "CGROUP_SKB CGROUP_SOCK LWT_IN LWT_OUT LWT_XMIT SOCK_OPS SK_SKB CGROUP_DEVICE "
    "SK_MSG RAW_TRACEPOINT CGROUP_SOCK_ADDR LWT_SEG6LOCAL LIRC_MODE2 SK_REUSEPORT "
    "FLOW_DISSECTOR CGROUP_SYSCTL RAW_TRACEPOINT_WRITABLE CGROUP_SOCKOPT TRACING "
    "STRUCT_OPS EXT LSM SK_LOOKUP SYSCALL NETFILTER"
)
#: Names of enum bpf_prog_type, <linux/bpf.h>, by number.
PROGRAM_TYPES = tuple(_PROGRAM_TYPES.split())


def _path(record: Record, context: Context) -> bytes:
    """Return the absolute path of a file record, empty when it is not known."""
    flags = context.processes.flags
    if record.flags & flags["PATH_UNREADABLE"]:
        return b""
    if not record.flags & flags["PATH_GIVEN"]:
        path: bytes = record.path
        return path
    place = (record.tgid, record.mount_namespace, record.root)
    resolved: bytes = context.paths.path(place, record.base, record.path)
    return resolved


def _path_text(record: Record, path: bytes, context: Context) -> str:
    return path_text(path, bool(record.flags & context.path_truncated))


def _birth(record: Record, path: bytes, context: Context) -> str | None:
    """Return when the file came into being; None: it is no regular file."""
    place = (record.tgid, record.mount_namespace, b"")
    mode, birth_ns = context.paths.state(place, path)
    if mode and not stat.S_ISREG(mode):
        return None
    if birth_ns:
        return context.utc_of_wall(birth_ns)
    is_new = record.flags & context.processes.flags["FILE_IS_NEW"]
    return context.utc(record.boot_ns) if is_new else UNKNOWN


def file_create(record: Record, process: Process, context: Context) -> list[str] | None:
    """Build event 11; what was renamed or linked may turn out to be no regular file."""
    path = _path(record, context)
    created: str | None
    if record.created_ns:
        created = context.utc_of_wall(record.created_ns)
    else:
        created = _birth(record, path, context)
    if created is None:
        return None
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        _path_text(record, path, context),
        created,
        context.user(record.uid),
    ]


def _is_executable(mode: int) -> str:
    if not mode:
        return UNKNOWN
    return "true" if stat.S_ISREG(mode) and mode & _ANY_EXECUTE else "false"


def file_delete_detected(
    record: Record, process: Process, context: Context
) -> list[str]:
    """Build event 26."""
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        context.user(record.uid),
        process.image,
        _path_text(record, _path(record, context), context),
        UNKNOWN,
        _is_executable(record.mode),
    ]


def file_delete(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 23: the fields of event 26, and Archived, which nothing is."""
    return [*file_delete_detected(record, process, context), UNKNOWN]


def raw_access_read(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 9."""
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        _path_text(record, record.path, context),
        context.user(record.uid),
    ]


def process_access(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 10; of a target that has gone only the id given is known."""
    target = None
    if record.target_tgid:
        target = context.find(
            record.target_tgid, record.target_start_boot_ns, record.target_exec_id
        )
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        str(record.tid),
        process.image,
        target.guid if target else NO_GUID,
        str(record.target_tgid or record.given_pid),
        target.image if target else UNKNOWN,
        f"{record.granted_access:#x}",
        UNKNOWN,
        context.user(record.uid),
        context.user(record.target_uid) if record.target_tgid else UNKNOWN,
    ]


def bpf_program_load(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 100."""
    number = record.program_type
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        context.user(record.uid),
        "BPF_PROG_LOAD",
        PROGRAM_TYPES[number] if number < len(PROGRAM_TYPES) else "UNKNOWN",
        str(record.program_id),
        text(record.name),
    ]


#: Record name to (event id, builder) pairs.
FILE_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "file_create": ((11, file_create),),
    "file_delete": ((23, file_delete), (26, file_delete_detected)),
    "raw_access_read": ((9, raw_access_read),),
    "process_access": ((10, process_access),),
    "bpf_program_load": ((100, bpf_program_load),),
}
