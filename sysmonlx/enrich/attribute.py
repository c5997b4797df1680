# SPDX-License-Identifier: MIT
"""Event 15 from records: extended attributes, which are what streams are on Windows."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Maker, Values, cut_by
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.file import RecordPaths
from sysmonlx.enrich.file_capabilities import capabilities_text
from sysmonlx.kernel_text import UNKNOWN, text
from sysmonlx.policy import ALGORITHMS
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import FILE_CREATE_STREAM_HASH

_NAMES = [field.name for field in FILE_CREATE_STREAM_HASH.fields]
_CREATED = _NAMES.index("CreationUtcTime")
_CAPABILITY = b"security.capability"


def contents_of(name: bytes, value: bytes) -> str:
    """Return Contents: printable text, the capabilities of a program, or "-"."""
    if name == _CAPABILITY:
        return capabilities_text(value) or UNKNOWN
    try:
        shown = value.removesuffix(b"\0").decode()
    except UnicodeDecodeError:
        return UNKNOWN
    return shown if shown and shown.isprintable() else UNKNOWN


def _hash_of(value: bytes, algorithms: tuple[str, ...]) -> str:
    """Return the hashes of a value of an attribute, in the form of the field Hashes."""
    import hashlib  # 3.7 MB of libcrypto: only where there is such an event

    pairs = (
        f"{each}={hashlib.new(each, value, usedforsecurity=False).hexdigest()}"
        for each in ALGORITHMS
        if each in algorithms
    )
    return ",".join(pairs) or UNKNOWN


def attribute_set(layout: Layout, context: Context) -> Maker:
    """Event 15.

    TargetFilename is the path, a colon, and the name of the attribute, as Windows shows
    `file:stream`. A value that the record does not have whole has no Hash.
    """
    read: Callable[[bytes], tuple[int, int, int, bytes, bytes, bytes, int]]
    read = layout.reader(
        *("boot_ns", "uid", "flags", "path", "name", "value", "value_size")
    )
    paths, names, utc = RecordPaths(layout, context), context.users.names, context.utc
    found = ""

    def make(data: bytes, process: Process) -> Values:
        nonlocal found
        boot_ns, uid, flags, path, name, value, size = read(data)
        found = paths.text(data) if flags & paths.is_unusual else text(path)
        is_whole = len(value) == size
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            f"{found}:{text(name)}",
            0,
            _hash_of(value, context.settings.hash_algorithms) if is_whole else UNKNOWN,
            contents_of(name, value) if is_whole else UNKNOWN,
            names[uid],
        ]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        """Finish the values of the last call of `make`."""
        values[UTC_TIME] = utc(values[UTC_TIME])
        values[_CREATED] = paths.birth(data, found) or UNKNOWN
        return False

    cut = cut_by(layout, context.path_shortened)
    return Maker(make, finish, late=(UTC_TIME, _CREATED), cut=cut)


ATTRIBUTE_BUILDERS: Builders = {
    "attribute_set": ((FILE_CREATE_STREAM_HASH.id, attribute_set),),
}

ATTRIBUTE_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="extended attributes",
        events=frozenset({15}),
        alternatives=(("syscall_exit",),),
        missing="no extended attributes",
    ),
    Hook(
        name="extended attributes as the kernel sets them",
        events=frozenset({15}),
        alternatives=(("attribute_was_set",),),
        missing="names and values of attributes are read from the caller's memory",
    ),
)
