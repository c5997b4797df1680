# SPDX-License-Identifier: MIT
"""Event 25 from records: images that no file system keeps, and code in memory."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import NAME_PROGRAMS, Hook, ring_hooks
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process
from sysmonlx.schema.field_values import TAMPERINGS


def process_tampering(layout: Layout, context: Context) -> Maker:
    """Event 25.

    Image is what the process has run since its last exec, as in its event 1. Where the
    image was replaced, the file that stands in its place is not told: nobody runs it.
    """
    read: Callable[[bytes], tuple[int, int, int]]
    read = layout.reader("boot_ns", "uid", "kind")
    names, is_plain_name, utc = context.users.names, context.is_plain_name, context.utc

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, number = read(data)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            TAMPERINGS[number] if number < len(TAMPERINGS) else UNKNOWN,
            names[uid],
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        return process.is_plain and is_plain_name[values[6]]

    return Maker(make, finish)


TAMPERING_BUILDERS: Builders = {
    "process_tampering": ((25, process_tampering),),
}

#: Images run from memory need no hook here: each exec shows them, see
#: `capture.hooks.PROCESS_HOOKS`.
TAMPERING_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="replaced images",
        events=frozenset({25}),
        alternatives=(("syscall_exit",),),
        missing="images of running processes that prctl(2) replaces",
    ),
    Hook(
        name="written files that are renamed or removed",
        events=frozenset({25}),
        alternatives=(("path_unlink", "path_rename"), NAME_PROGRAMS),
        missing="mass changes of files",
        needs_setting="mass_change",
    ),
    Hook(
        name="memory made executable",
        events=frozenset({25}),
        alternatives=(("syscall_exit",),),
        missing="memory that processes make executable",
        needs_setting="executable_memory",
    ),
    *ring_hooks(
        "own memory opened by io_uring",
        frozenset({25}),
        "processes that open their own memory through io_uring",
        needs_setting="executable_memory",
    ),
    *ring_hooks(
        "files written by io_uring",
        frozenset({25}),
        "mass changes of files through io_uring",
        needs_setting="mass_change",
    ),
)
