# SPDX-License-Identifier: MIT
"""Questions to the kernel about a program, a link or a map, by its descriptor.

The structs are those of <linux/bpf.h>. A kernel fills in the members that it knows, and
says how many bytes these are.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int, c_uint32, c_void_p, create_string_buffer
from typing import NamedTuple

from sysmonlx.bpf.libbpf import failure, library

_PROG_INFO_SIZE = 232
_PROG_INFO = struct.Struct("=4xI184x3Q")
_MAP_INFO_SIZE = 88
_LINK_INFO_SIZE = 64
LINK_OF_CGROUP = 3  # BPF_LINK_TYPE_CGROUP
#: Number of the BTF of vmlinux: the kernel numbers it first of all.
_VMLINUX = 1


class _Own(threading.local):
    """Functions of a thread that ask the kernel, by the bytes that they ask for."""

    def __init__(self) -> None:
        self.askers: dict[int, Callable[[int, bytes], bytes]] = {}


_own = _Own()


def _info(fd: int, begin: bytes, size: int) -> bytes:
    """Return what the kernel tells of a program or map, as far as it knows it."""
    ask = _own.askers.get(size)
    if ask is None:
        ask = _own.askers[size] = _asker(size)
    return ask(fd, begin)


def _asker(size: int) -> Callable[[int, bytes], bytes]:
    """Return a function that asks for `size` bytes; its calls share one buffer.

    The programs and links are looked at every second, for as long as the machine runs.
    """
    typed = CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)
    entry = ctypes.cast(library().bpf_obj_get_info_by_fd, c_void_p)
    get = typed(entry.value or 0)
    info, known = create_string_buffer(size), c_uint32()
    info_at, known_at = ctypes.addressof(info), ctypes.addressof(known)

    def ask(fd: int, begin: bytes) -> bytes:
        info.raw, known.value = begin.ljust(size, b"\0"), size
        if error := get(fd, info_at, known_at):
            raise failure("bpf_obj_get_info_by_fd", -error)
        return info.raw[: known.value]

    return ask


class ProgramInfo(NamedTuple):
    """Id of a loaded program, time in it, runs, and runs prevented as recursion."""

    number: int
    run_time_ns: int
    runs: int
    misses: int


def program_info(fd: int) -> ProgramInfo:
    """Return what the kernel tells of a loaded program.

    In struct bpf_prog_info, <linux/bpf.h>, the id is at byte 4 and the three counters
    are at bytes 192 to 215. Run time and runs are zero unless kernel.bpf_stats_enabled
    is set. Misses are zero before v5.12: Linux commit 9ed9e9ba2337 ("bpf: Count the
    number of times recursion was prevented").

    Raises:
        LibbpfError: there is no program behind `fd`.
    """
    raw = _info(fd, b"", _PROG_INFO_SIZE).ljust(_PROG_INFO_SIZE, b"\0")
    return ProgramInfo._make(_PROG_INFO.unpack_from(raw))


def program_id(fd: int) -> int:
    """Return the number that the kernel gave to a loaded program.

    Raises:
        LibbpfError: there is no program behind `fd`.
    """
    return _number(fd, _PROG_INFO_SIZE)


def _number(fd: int, size: int) -> int:
    """Return the id of a program or of a map: in both structs it is at byte 4."""
    (number,) = struct.unpack_from("=I", _info(fd, b"", size), 4)
    return int(number)


class LinkInfo(NamedTuple):
    """The link that holds a program at its hook; `cgroup_id` is 0 for other hooks."""

    kind: int
    number: int
    program_id: int
    cgroup_id: int


def link_info(fd: int) -> LinkInfo:
    """Return what the kernel tells of a link, from struct bpf_link_info.

    Of a cgroup's link that was detached the cgroup is 0.

    Raises:
        LibbpfError: there is no link behind `fd`.
    """
    raw = _info(fd, b"", _LINK_INFO_SIZE).ljust(_LINK_INFO_SIZE, b"\0")
    kind, number, program, cgroup = struct.unpack_from("=3I4xQ", raw)
    return LinkInfo(kind, number, program, cgroup if kind == LINK_OF_CGROUP else 0)


class Attachment(NamedTuple):
    """To which type of vmlinux a program belongs, and the types of its functions."""

    type_id: int
    function_types: tuple[int, ...]


def program_attachment(fd: int) -> Attachment | None:
    """Return what a loaded program belongs to; None: a module, or it is not known.

    Kernels before v6.0 do not tell: Linux commit b79c9fc9551b ("bpf: implement
    BPF_PROG_QUERY for BPF_LSM_CGROUP").
    """
    raw = _info(fd, b"", _PROG_INFO_SIZE)
    if len(raw) < 228:
        return None
    owner, type_id = struct.unpack_from("=2I", raw, 220)
    (count,) = struct.unpack_from("=I", raw, 144)
    if owner not in (0, _VMLINUX):
        return None
    functions = create_string_buffer(8 * count)
    begin = bytearray(_PROG_INFO_SIZE)
    struct.pack_into("=IQI", begin, 132, 8, ctypes.addressof(functions), count)
    _info(fd, bytes(begin), _PROG_INFO_SIZE)
    found = struct.iter_unpack("=II", functions.raw)
    return Attachment(type_id, tuple(each for _, each in found))


def map_id(fd: int) -> int:
    """Return the number that the kernel gave to a map, as maps of maps show it.

    Raises:
        LibbpfError: there is no map behind `fd`.
    """
    return _number(fd, _MAP_INFO_SIZE)


class MapInfo(NamedTuple):
    """A map's name, type, sizes, flags, and ids of its key's and value's BTF types."""

    kernel_name: str
    kind: int
    key_bytes: int
    value_bytes: int
    max_entries: int
    flags: int
    key_type: int
    value_type: int


def map_info(fd: int) -> MapInfo:
    """Return how the map behind `fd` was made, from struct bpf_map_info."""
    raw = _info(fd, b"", _MAP_INFO_SIZE)
    kind, _, key_bytes, value_bytes, entries, flags, name = struct.unpack_from(
        "=6I16s", raw
    )
    key_type, value_type = struct.unpack_from("=2I", raw, 68)
    text = name.rstrip(b"\0").decode()
    return MapInfo(
        text, kind, key_bytes, value_bytes, entries, flags, key_type, value_type
    )
