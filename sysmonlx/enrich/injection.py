# SPDX-License-Identifier: MIT
"""Event 8 from records: a process wrote into the memory or registers of another one."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, cut_by, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, path_text
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.process import Process

_TARGET = (
    *("target_start_boot_ns", "target_tgid", "target_exec_id"),
    *("target_uid", "target_tid", "given_pid"),
)


def process_write(layout: Layout, context: Context) -> Maker:
    """Event 8.

    Of a target that has ended meanwhile (its tgid is 0 then) only the id is known that
    the caller gave.
    """
    where: Callable[[bytes], tuple[int, int, int, int, bytes]]
    where = layout.reader("boot_ns", "uid", "flags", "address", "module")
    whom: Callable[[bytes], tuple[int, int, int, int, int, int]]
    whom = layout.reader(*_TARGET)

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, flags, address, module = where(data)
        start_boot_ns, tgid, exec_id, target_uid, tid, given = whom(data)
        target = context.find(tgid, start_boot_ns, exec_id) if tgid else None
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            target.guid if target else NO_GUID,
            str(tgid or given),
            target.image if target else UNKNOWN,
            str(tid or given),
            f"0x{address:016X}" if address else UNKNOWN,
            path_text(module, bool(flags & context.path_truncated)),
            UNKNOWN,
            context.user(uid),
            context.user(target_uid) if tgid else UNKNOWN,
        ]

    return Maker(make, timed(context), cut=cut_by(layout, context.path_shortened))


INJECTION_BUILDERS: Builders = {
    "process_write": ((8, process_write),),
}
