# SPDX-License-Identifier: MIT
"""Events 17 and 18 from records: named pipes and sockets made, opened, connected to."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook, ring_hooks
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builder, Builders, Maker, Values, cut_by
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.file import RecordPaths
from sysmonlx.kernel_text import UNKNOWN, is_plain_text, text
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import PIPE_CONNECT, PIPE_CREATE

#: Position of UtcTime; in other events EventType does not stand before it.
_UTC_TIME = 2
_PIPE_NAME, _USER = 5, 7


def _of(event_type: str) -> Builder:
    """Return the builder of an event of which this is EventType."""

    def pipe_event(layout: Layout, context: Context) -> Maker:
        read: Callable[[bytes], tuple[int, int, int, bytes]]
        read = layout.reader("boot_ns", "uid", "flags", "path")
        paths, names = RecordPaths(layout, context), context.users.names
        is_plain_name, utc = context.is_plain_name, context.utc
        is_unusual = paths.is_unusual

        def make(data: bytes, process: Process) -> Values:
            boot_ns, uid, flags, path = read(data)
            return [
                UNKNOWN,
                event_type,
                boot_ns,
                process.guid,
                process.pid,
                paths.text(data) if flags & is_unusual else text(path),
                process.image,
                names[uid],
            ]

        def finish(values: Values, data: bytes, process: Process) -> bool | None:
            values[_UTC_TIME] = utc(values[_UTC_TIME])
            is_plain = process.is_plain and is_plain_name[values[_USER]]
            return is_plain and is_plain_text(values[_PIPE_NAME])

        cut = cut_by(layout, context.path_shortened)
        return Maker(make, finish, late=(_UTC_TIME,), cut=cut)

    return pipe_event


pipe_create = _of("CreatePipe")
pipe_connect = _of("ConnectPipe")

PIPE_BUILDERS: Builders = {
    "pipe_create": ((PIPE_CREATE.id, pipe_create),),
    "pipe_connect": ((PIPE_CONNECT.id, pipe_connect),),
}

PIPE_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="pipes and sockets by system calls",
        events=frozenset({17, 18}),
        alternatives=(("syscall_exit",),),
        missing="no events of pipes",
    ),
    Hook(
        name="sockets that are connected",
        events=frozenset({18}),
        alternatives=(("unix_connecting",), ("socket_connecting",)),
        missing="a socket is the one of its descriptor when connect(2) has ended",
    ),
    *ring_hooks(
        "pipes and sockets by io_uring",
        frozenset({17, 18}),
        "pipes opened, and sockets named and connected, through io_uring",
    ),
)
