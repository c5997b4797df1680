# SPDX-License-Identifier: MIT
"""Event 10 from records: a process opened, read or traced another one."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.process import Process

_TARGET = (
    "target_start_boot_ns",
    "target_tgid",
    "target_uid",
    "target_exec_id",
)


def process_access(layout: Layout, context: Context) -> Maker:
    """Event 10.

    Of a target that has ended meanwhile (its tgid is 0 then) only the id is known that
    the caller gave.
    """
    read: Callable[[bytes], tuple[int, int, int, int, int, int, int, int, int]]
    read = layout.reader(
        "boot_ns", "uid", "tid", *_TARGET, "given_pid", "granted_access"
    )

    def make(data: bytes, process: Process) -> Values:
        fields = read(data)
        boot_ns, uid, tid, start_boot_ns, tgid, target_uid, exec_id = fields[:7]
        given, access = fields[7:]
        target = context.find(tgid, start_boot_ns, exec_id) if tgid else None
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            str(tid),
            process.image,
            target.guid if target else NO_GUID,
            str(tgid or given),
            target.image if target else UNKNOWN,
            f"{access:#x}",
            UNKNOWN,
            context.user(uid),
            context.user(target_uid) if tgid else UNKNOWN,
        ]

    return Maker(make, timed(context))


ACCESS_BUILDERS: Builders = {
    "process_access": ((10, process_access),),
}
