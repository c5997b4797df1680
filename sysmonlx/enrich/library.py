# SPDX-License-Identifier: MIT
"""Event 7 from records: files of which a process can run code, libraries above all."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Maker, Values, cut_by
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN, Texts, path_text
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import IMAGE_LOAD

_NAMES = [field.name for field in IMAGE_LOAD.fields]
#: Position of Hashes, which `pipeline.library_files` fills in.
LIBRARY_HASHES = _NAMES.index("Hashes")
#: Values between ImageLoaded and Hashes, and those behind Hashes: a library of Linux
#: has no version resource and no signature.
_VERSIONS = [UNKNOWN] * (LIBRARY_HASHES - _NAMES.index("ImageLoaded") - 1)
_REST = [UNKNOWN, "false", UNKNOWN, "Unavailable"]


def library_load(layout: Layout, context: Context) -> Maker:
    """Event 7."""
    read: Callable[[bytes], tuple[int, int, int, bytes]]
    read = layout.reader("boot_ns", "uid", "flags", "path")
    names, is_plain_name, utc = context.users.names, context.is_plain_name, context.utc
    paths, truncated = Texts(), context.path_truncated
    is_plain_path = True

    def make(data: bytes, process: Process) -> Values:
        nonlocal is_plain_path
        boot_ns, uid, flags, path = read(data)
        shown, is_plain_path = paths[path]
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            path_text(path, True) if flags & truncated else shown,
            *_VERSIONS,
            *_REST,
            names[uid],
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        """Finish the values of the last call of `make`."""
        values[UTC_TIME] = utc(values[UTC_TIME])
        return process.is_plain and is_plain_path and is_plain_name[values[-1]]

    return Maker(make, finish, cut=cut_by(layout, context.path_shortened))


LIBRARY_BUILDERS: Builders = {
    "library_load": ((7, library_load),),
}

LIBRARY_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="libraries",
        events=frozenset({7}),
        alternatives=(("syscall_exit",),),
        missing="libraries that programs load",
    ),
)
