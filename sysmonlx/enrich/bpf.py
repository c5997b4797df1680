# SPDX-License-Identifier: MIT
"""Event 100 from records: eBPF programs that were loaded.

The hook of system calls, which `enrich.file` has, sees programs that bpf(2) loads.
`BPF_HOOKS` has what tells of programs that another eBPF program loads: those are in no
system call of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import ALIVE_PROGRAM, Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, text
from sysmonlx.processes.process import Process
from sysmonlx.schema.field_values import PROGRAM_TYPES

#: NO_PROGRAM_TYPE in ebpf/record.h: the program had gone when its type was asked for.
NO_PROGRAM_TYPE = 0xFFFFFFFF


def _type_name(number: int) -> str:
    if number == NO_PROGRAM_TYPE:
        return UNKNOWN
    return PROGRAM_TYPES[number] if number < len(PROGRAM_TYPES) else "UNKNOWN"


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
            _type_name(number),
            str(program_id),
            text(name),
        ]

    return Maker(make, timed(context))


BPF_BUILDERS: Builders = {
    "bpf_program_load": ((100, bpf_program_load),),
}

BPF_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="eBPF programs that others load",
        events=frozenset({100}),
        alternatives=((ALIVE_PROGRAM,),),
        missing="eBPF programs that another eBPF program loads, as light skeletons do",
        has_side_band=True,
    ),
)
