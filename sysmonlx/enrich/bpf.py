# SPDX-License-Identifier: MIT
"""Event 100 from records: eBPF programs that were loaded."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, text
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import PROGRAM_TYPES


def bpf_program_load(layout: Layout, context: Context) -> Maker:
    """Event 100: an eBPF program that the kernel took."""
    read: Callable[[bytes], tuple[int, int, int, int, bytes]]
    read = layout.reader("boot_ns", "uid", "program_type", "program_id", "name")

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, number, program_id, name = read(data)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            context.user(uid),
            "BPF_PROG_LOAD",
            PROGRAM_TYPES[number] if number < len(PROGRAM_TYPES) else "UNKNOWN",
            str(program_id),
            text(name),
        ]

    return Maker(make, timed(context))


BPF_BUILDERS: Builders = {
    "bpf_program_load": ((100, bpf_program_load),),
}
