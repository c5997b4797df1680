# SPDX-License-Identifier: MIT
"""Event 10 from records: who opened, read or traced another process."""

from __future__ import annotations

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builder, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.process import Process


def process_access(layout: Layout, context: Context) -> Maker:
    """Event 10; of a target that has gone only the id given is known."""
    read = layout.reader(
        "boot_ns", "uid", "tid", *_TARGET, "given_pid", "granted_access"
    )

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, tid, start_boot_ns, *who, given, access = read(data)
        tgid, target_uid, exec_id = who
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


_TARGET = tuple(
    f"target_{name}" for name in ("start_boot_ns", "tgid", "uid", "exec_id")
)

#: Record name to (event id, builder) pairs.
ACCESS_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "process_access": ((10, process_access),),
}
