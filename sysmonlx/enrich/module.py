# SPDX-License-Identifier: MIT
"""Event 6 from records: modules of the kernel that are loaded.

The kernel says whether it believes a signature. Whose it is stands in the file, or in
the memory that the module came from; hashes are of the file. The file is read beside
the events, and `ModuleFile.tell` completes the event then (`pipeline.module_files`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.module_signature import signer_of
from sysmonlx.enrich.start_fields import Appender
from sysmonlx.kernel_text import UNKNOWN, path_text, text
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import DRIVER_LOAD

#: Values of `enum module_signature` in ebpf/record.h.
NOT_CHECKED, BAD, GOOD = range(3)

_AT = {field.name: at for at, field in enumerate(DRIVER_LOAD.fields)}
_IMAGE, _HASHES, _SIGNED = _AT["ImageLoaded"], _AT["Hashes"], _AT["Signed"]

#: Letters of taints of modules, by their bit: those that /proc/modules shows.
_TAINTS = {
    **{0: "P", 1: "F", 10: "C", 12: "O", 13: "E"},
    **{15: "K", 16: "X", 17: "T", 18: "N"},
}


class Record(Protocol):
    """Members of a decoded struct module_load."""

    boot_ns: int
    taints: int
    image_bytes: int
    flags: int
    signature: int
    is_guess: int
    file_inode: int
    path: bytes
    parameters: bytes
    tail: bytes
    name: bytes


class Content(Protocol):
    """What was read of a module's file: `hashing.module_content.ModuleContent`."""

    @property
    def length(self) -> int:
        """Bytes of the module, unpacked; -1: not known."""

    @property
    def tail(self) -> bytes:
        """Its last bytes; empty: not known."""


def module_load(layout: Layout, context: Context) -> Maker:
    """Event 6, as far as the record tells it."""
    decode: Callable[[bytes], Record] = layout.decode

    def make(data: bytes, process: Process) -> Values:
        record = decode(data)
        is_known = record.file_inode and not record.is_guess
        return [
            UNKNOWN,
            record.boot_ns,
            _path(record, context) if is_known else _name(record),
            UNKNOWN,
            *_signature(record.signature, record.tail),
        ]

    return Maker(make, timed(context))


class ModuleFile:
    """Completes an event when the file of its module was read."""

    def __init__(self, record: Record, context: Context) -> None:
        self._record = record
        self._context = context

    def tell(self, values: list[str], hashes: str, content: Content) -> None:
        """Enter what the file tells. `hashes`: "-", it was not read; "", of no kind.

        A file that was guessed is believed where it has the bytes that the kernel was
        given: as many, and the same at the end.
        """
        record = self._record
        if hashes == UNKNOWN or (record.is_guess and not _fits(record, content)):
            return
        values[_IMAGE] = _path(record, self._context)
        values[_HASHES] = hashes or UNKNOWN
        tail = record.tail or content.tail
        values[_SIGNED : _SIGNED + 3] = _signature(record.signature, tail)


def _fits(record: Record, content: Content) -> bool:
    is_end = content.tail.endswith(record.tail) or not content.tail
    return content.length == record.image_bytes and is_end


def _path(record: Record, context: Context) -> str:
    return path_text(record.path, bool(record.flags & context.path_truncated))


def _name(record: Record) -> str:
    """Return what stands for a path that is not known, as in lists of kernel tasks."""
    return f"[{text(record.name)}]"


def _signature(checked: int, tail: bytes) -> tuple[str, str, str]:
    """Return Signed, Signature and SignatureStatus of a module that ends so."""
    signer = signer_of(tail) if tail else UNKNOWN
    if checked == GOOD:
        return "true", signer or UNKNOWN, "Valid"
    if signer is None:
        return "false", UNKNOWN, "Unavailable"
    if not tail:
        return UNKNOWN, UNKNOWN, UNKNOWN if checked == BAD else "Unavailable"
    return "true", signer, "Invalid" if checked == BAD else "Unavailable"


def _field(
    value: Callable[[Record], str],
) -> Callable[[Layout, Context], Appender]:
    def make(layout: Layout, context: Context) -> Appender:
        decode: Callable[[bytes], Record] = layout.decode
        return lambda data, process: value(decode(data))

    return make


def _taint(record: Record) -> str:
    letters = [letter for bit, letter in _TAINTS.items() if record.taints >> bit & 1]
    return "".join(letters) or UNKNOWN


def _user(layout: Layout, context: Context) -> Appender:
    read: Callable[[bytes], tuple[int]] = layout.reader("uid")
    return lambda data, process: context.user(read(data)[0])


#: Fields of ours: who loaded it, and what the module says of itself.
MODULE_APPENDERS: dict[str, Callable[[Layout, Context], Appender]] = {
    "ProcessGuid": lambda layout, context: lambda data, process: process.guid,
    "ProcessId": lambda layout, context: lambda data, process: process.pid,
    "Image": lambda layout, context: lambda data, process: process.image,
    "User": _user,
    "ModuleName": _field(lambda record: text(record.name)),
    "Parameters": _field(lambda record: text(record.parameters)),
    "Taint": _field(_taint),
}

MODULE_BUILDERS: Builders = {
    "module_load": ((6, module_load),),
}

MODULE_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="modules",
        events=frozenset({6}),
        alternatives=(("module_loaded",),),
        missing="modules that are loaded",
    ),
    Hook(
        name="files of modules",
        events=frozenset({6}),
        alternatives=(("module_read",),),
        missing="the file of a DriverLoad is what its descriptor leads to by then",
        behind="modules",
    ),
)
