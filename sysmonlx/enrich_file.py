# SPDX-License-Identifier: MIT
"""Records of files, raw disks, process access and eBPF programs to events."""

from __future__ import annotations

import stat

from sysmonlx.enrich import Builder, Built, Context
from sysmonlx.process import NO_GUID, Process
from sysmonlx.processes import ACTOR_FIELDS, Fields
from sysmonlx.texts import UNKNOWN, is_plain, path_text, text

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


def _path(fields: Fields, context: Context) -> bytes:
    """Return the absolute path of a file record, empty when it is not known."""
    flags, mount_namespace, path, base, root = fields[7:]
    if flags & context.path_unreadable:
        return b""
    if not flags & context.path_given:
        whole: bytes = path
        return whole
    place = (fields[2], mount_namespace, root)
    resolved: bytes = context.paths.path(place, base, path)
    return resolved


def _birth(fields: Fields, path: bytes, context: Context) -> str | None:
    """Return when the file came into being; None: it is no regular file."""
    mode, birth_ns = context.paths.state((fields[2], fields[8], b""), path)
    if mode and not stat.S_ISREG(mode):
        return None
    if birth_ns:
        return context.utc_of_wall(birth_ns)
    is_new = fields[7] & context.file_is_new
    return context.utc(fields[0]) if is_new else UNKNOWN


def file_create(fields: Fields, process: Process, context: Context) -> Built | None:
    """Build event 11; what was renamed or linked may turn out to be no regular file."""
    boot_ns, _, tgid, uid, _, created_ns, _, flags, _, path, _, _ = fields
    if flags & context.path_to_resolve:
        path = _path(fields, context)
    created: str | None
    if created_ns:
        created = context.utc_of_wall(created_ns)
    else:
        created = _birth(fields, path, context)
    if created is None:
        return None
    user = context.users.names[uid]
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        process.image,
        path_text(path, True) if flags & context.path_truncated else text(path),
        created,
        user,
    ]
    plain = process.is_plain and context.is_plain_name[user] and is_plain(path)
    return values, plain


def _is_executable(mode: int) -> str:
    if not mode:
        return UNKNOWN
    return "true" if stat.S_ISREG(mode) and mode & _ANY_EXECUTE else "false"


def file_delete_detected(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 26."""
    boot_ns, _, tgid, uid, _, _, mode, flags, _, path, _, _ = fields
    if flags & context.path_to_resolve:
        path = _path(fields, context)
    user = context.users.names[uid]
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        user,
        process.image,
        path_text(path, True) if flags & context.path_truncated else text(path),
        UNKNOWN,
        _is_executable(mode),
    ]
    plain = process.is_plain and context.is_plain_name[user] and is_plain(path)
    return values, plain


def file_delete(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 23: the fields of event 26, and Archived, which nothing is."""
    values, plain = file_delete_detected(fields, process, context)
    values.append(UNKNOWN)
    return values, plain


def raw_access_read(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 9."""
    boot_ns, _, tgid, uid, _, flags, path = fields
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        process.image,
        path_text(path, bool(flags & context.path_truncated)),
        context.user(uid),
    ]
    return values, False


def process_access(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 10; of a target that has gone only the id given is known."""
    boot_ns, _, tgid, uid, _, tid, *of_target, given_pid, granted_access = fields
    start_boot_ns, target_tgid, target_uid, exec_id = of_target
    target = None
    if target_tgid:
        target = context.find(target_tgid, start_boot_ns, exec_id)
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        str(tid),
        process.image,
        target.guid if target else NO_GUID,
        str(target_tgid or given_pid),
        target.image if target else UNKNOWN,
        f"{granted_access:#x}",
        UNKNOWN,
        context.user(uid),
        context.user(target_uid) if target_tgid else UNKNOWN,
    ]
    return values, False


def bpf_program_load(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 100."""
    boot_ns, _, tgid, uid, _, number, program_id, name = fields
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        process.image,
        context.user(uid),
        "BPF_PROG_LOAD",
        PROGRAM_TYPES[number] if number < len(PROGRAM_TYPES) else "UNKNOWN",
        str(program_id),
        text(name),
    ]
    return values, False


_FILE = ("created_ns", "mode", "flags", "mount_namespace", "path", "base", "root")
_TARGET = tuple(
    f"target_{name}" for name in ("start_boot_ns", "tgid", "uid", "exec_id")
)

#: Record name to the fields that its builders take.
FILE_FIELDS: dict[str, tuple[str, ...]] = {
    "file_create": (*ACTOR_FIELDS, *_FILE),
    "file_delete": (*ACTOR_FIELDS, *_FILE),
    "raw_access_read": (*ACTOR_FIELDS, "flags", "path"),
    "process_access": (*ACTOR_FIELDS, "tid", *_TARGET, "given_pid", "granted_access"),
    "bpf_program_load": (*ACTOR_FIELDS, "program_type", "program_id", "name"),
}

#: Record name to (event id, builder) pairs.
FILE_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "file_create": ((11, file_create),),
    "file_delete": ((23, file_delete), (26, file_delete_detected)),
    "raw_access_read": ((9, raw_access_read),),
    "process_access": ((10, process_access),),
    "bpf_program_load": ((100, bpf_program_load),),
}
