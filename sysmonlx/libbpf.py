# SPDX-License-Identifier: MIT
"""ctypes binding of libbpf 1.0 or newer: tables of functions, and a BPF object.

Nothing but `_bind` sets argument types. libbpf's own messages go into the exceptions.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    create_string_buffer,
)
from typing import Any

from sysmonlx.errors import LibbpfError

Checker = Callable[[Any, Any, Any], Any]


def _fail(call: str, errno: int) -> LibbpfError:
    return LibbpfError(call, errno, os.strerror(errno), take_log())


def check_not_negative(result: int, function: Any, arguments: Any) -> int:
    """Return a result that is not -errno.

    Raises:
        LibbpfError: it is.
    """
    if result < 0:
        raise _fail(function.__name__, -result)
    return result


def check_not_null(result: int | None, function: Any, arguments: Any) -> int:
    """Return a pointer that is not NULL.

    Raises:
        LibbpfError: it is, with the errno that libbpf has set.
    """
    if not result:
        raise _fail(function.__name__, ctypes.get_errno())
    return result


#: name: (restype, argtypes, errcheck), from <bpf/libbpf.h>, <bpf/bpf.h>, <bpf/btf.h>.
FUNCTIONS: dict[str, tuple[Any, list[Any], Checker | None]] = {
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p], check_not_null),
    "bpf_object__load": (c_int, [c_void_p], check_not_negative),
    "bpf_object__close": (None, [c_void_p], None),
    "bpf_object__btf": (c_void_p, [c_void_p], check_not_null),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p], None),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p], None),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p], check_not_null),
    "bpf_object__find_program_by_name": (
        c_void_p,
        [c_void_p, c_char_p],
        check_not_null,
    ),
    "bpf_program__name": (c_char_p, [c_void_p], None),
    "bpf_program__section_name": (c_char_p, [c_void_p], None),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_bool], check_not_negative),
    "bpf_program__attach": (c_void_p, [c_void_p], check_not_null),
    "bpf_program__attach_cgroup": (c_void_p, [c_void_p, c_int], check_not_null),
    "bpf_program__attach_iter": (c_void_p, [c_void_p, c_void_p], check_not_null),
    "bpf_program__fd": (c_int, [c_void_p], None),
    "bpf_link__fd": (c_int, [c_void_p], check_not_negative),
    "bpf_link__destroy": (c_int, [c_void_p], None),
    "bpf_map__name": (c_char_p, [c_void_p], None),
    "bpf_map__fd": (c_int, [c_void_p], check_not_negative),
    "bpf_map__max_entries": (c_uint32, [c_void_p], None),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32], check_not_negative),
    "bpf_map__set_autocreate": (c_int, [c_void_p, c_bool], check_not_negative),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int], check_not_negative),
    "bpf_map__value_size": (c_uint32, [c_void_p], None),
    "bpf_map__initial_value": (c_void_p, [c_void_p, POINTER(c_size_t)], check_not_null),
    "bpf_map_create": (
        c_int,
        [c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p],
        check_not_negative,
    ),
    "bpf_map_update_elem": (
        c_int,
        [c_int, c_char_p, c_char_p, c_uint64],
        check_not_negative,
    ),
    "bpf_map_lookup_elem": (c_int, [c_int, c_char_p, c_char_p], check_not_negative),
    "bpf_map_delete_elem": (c_int, [c_int, c_char_p], check_not_negative),
    "bpf_map_get_next_key": (c_int, [c_int, c_char_p, c_char_p], None),
    "bpf_iter_create": (c_int, [c_int], check_not_negative),
    "bpf_prog_test_run_opts": (c_int, [c_int, c_void_p], check_not_negative),
    "bpf_obj_get_info_by_fd": (
        c_int,
        [c_int, c_void_p, POINTER(c_uint32)],
        check_not_negative,
    ),
    "btf__load_vmlinux_btf": (c_void_p, [], check_not_null),
    "btf__parse": (c_void_p, [c_char_p, c_void_p], check_not_null),
    "btf__free": (None, [c_void_p], None),
    "btf__find_by_name_kind": (c_int32, [c_void_p, c_char_p, c_uint32], None),
    "btf__type_by_id": (c_void_p, [c_void_p, c_uint32], check_not_null),
    "btf__name_by_offset": (c_char_p, [c_void_p, c_uint32], None),
    "libbpf_num_possible_cpus": (c_int, [], check_not_negative),
    "libbpf_set_print": (c_void_p, [c_void_p], None),
}

#: libbpf hands its messages over as a format and a va_list.
LIBC_FUNCTIONS: dict[str, tuple[Any, list[Any], Checker | None]] = {
    "vsnprintf": (c_int, [c_char_p, c_size_t, c_char_p, c_void_p], None),
}


def _bind(
    names: tuple[str | None, ...], table: dict[str, tuple[Any, list[Any], Any]]
) -> ctypes.CDLL:
    """Load the first of `names` that exists and type its functions by `table`."""
    library = _open_first(names)
    for name, (restype, argtypes, errcheck) in table.items():
        function = getattr(library, name)
        function.restype = restype
        function.argtypes = argtypes
        if errcheck is not None:
            function.errcheck = errcheck
    return library


def _open_first(names: tuple[str | None, ...]) -> ctypes.CDLL:
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name, use_errno=True)
    raise LibbpfError(
        "dlopen", 2, f"{names[0]} is not installed (Debian: apt-get install libbpf1)"
    )


class _Library:
    """libbpf and libc, bound at first use; importing this module loads nothing."""

    def __init__(self) -> None:
        self._libbpf: ctypes.CDLL | None = None
        self._libc: ctypes.CDLL | None = None
        self._print: Any = None
        self.log: list[str] = []
        self.verbose: Callable[[str], None] | None = None

    def libbpf(self) -> ctypes.CDLL:
        if self._libbpf is None:
            self._libc = _bind((None,), LIBC_FUNCTIONS)
            self._libbpf = _bind(("libbpf.so.1", "libbpf.so"), FUNCTIONS)
            prototype = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
            self._print = prototype(self._take_message)  # libbpf calls it: keep it
            self._libbpf.libbpf_set_print(ctypes.cast(self._print, c_void_p))
        return self._libbpf

    def _take_message(self, level: int, form: bytes, arguments: int) -> int:
        if level > 1 and self.verbose is None:  # LIBBPF_DEBUG
            return 0
        text = create_string_buffer(1 << 16)
        assert self._libc is not None
        self._libc.vsnprintf(text, len(text), form, arguments)
        line = text.value.decode(errors="replace")
        if level <= 1:
            self.log.append(line)
        if self.verbose is not None:
            self.verbose(line)
        return 0


_library = _Library()


def take_log() -> str:
    """Return what libbpf has logged since the last call, and forget it."""
    text = "".join(_library.log)
    _library.log.clear()
    return text


def set_verbose(show: Callable[[str], None] | None) -> None:
    """Pass every message of libbpf, debug ones included, to `show`."""
    _library.verbose = show


def library() -> ctypes.CDLL:
    """Return libbpf with every function of `FUNCTIONS` typed and checked."""
    return _library.libbpf()


class _OpenOptions(Structure):
    """struct bpf_object_open_opts of libbpf 1.0, as far as we set it."""

    _fields_ = (
        ("size", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("attach_prog_fd", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
    )


class BpfMap:
    """One map of an object: bytes in, bytes out; keys and values as the C side has."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer
        self._lib = library()

    @property
    def fd(self) -> int:
        """The map's file descriptor; it exists after load."""
        return int(self._lib.bpf_map__fd(self._pointer))

    @property
    def max_entries(self) -> int:
        """Number of entries, or the ring buffer's size in bytes."""
        return int(self._lib.bpf_map__max_entries(self._pointer))

    def resize(self, max_entries: int) -> None:
        """Change `max_entries` before load."""
        self._lib.bpf_map__set_max_entries(self._pointer, max_entries)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store `value` under `key`; flags as in bpf_map_update_elem(2)."""
        self._lib.bpf_map_update_elem(self.fd, key, value, flags)

    def lookup(self, key: bytes, size: int = 0) -> bytes:
        """Return the value under `key`; `size` for per-CPU maps, all processors'."""
        size = size or self._lib.bpf_map__value_size(self._pointer)
        value = create_string_buffer(size)
        self._lib.bpf_map_lookup_elem(self.fd, key, value)
        return value.raw

    def delete(self, key: bytes) -> None:
        """Remove `key`.

        Raises:
            LibbpfError: there is no such key (errno ENOENT).
        """
        self._lib.bpf_map_delete_elem(self.fd, key)

    def omit(self) -> None:
        """Say before load that the map is not to be made."""
        self._lib.bpf_map__set_autocreate(self._pointer, False)

    def reuse(self, fd: int) -> None:
        """Take, before load, the map behind `fd` instead of making a new one."""
        self._lib.bpf_map__reuse_fd(self._pointer, fd)

    def initial_value(self) -> tuple[int, int]:
        """Return (address, size in bytes) of a global section before load."""
        size = c_size_t()
        address = self._lib.bpf_map__initial_value(self._pointer, byref(size))
        return address, size.value


_MAP_TYPE_ARRAY = 2  # BPF_MAP_TYPE_ARRAY, <linux/bpf.h>


def create_array(name: str, value: bytes) -> int:
    """Return the descriptor of a new array map that holds one value.

    The caller closes it; a map of maps that it was put into keeps the array.
    """
    lib = library()
    fd = int(lib.bpf_map_create(_MAP_TYPE_ARRAY, name.encode(), 4, len(value), 1, None))
    lib.bpf_map_update_elem(fd, bytes(4), value, 0)
    return fd


class BpfObject:
    """A BPF object file: opened, adjusted, loaded, attached; closes as a whole."""

    def __init__(self, path: str, btf_path: str = "") -> None:
        self._lib = library()
        self._links: dict[str, int] = {}
        take_log()
        options = _OpenOptions(size=ctypes.sizeof(_OpenOptions))
        if btf_path:
            options.btf_custom_path = os.fsencode(btf_path)
        self._pointer = self._lib.bpf_object__open_file(
            os.fsencode(path), byref(options)
        )

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach and unload everything."""
        for name in list(self._links):
            self.detach(name)
        if self._pointer:
            self._lib.bpf_object__close(self._pointer)
            self._pointer = 0

    @property
    def btf(self) -> int:
        """Pointer to the object's own BTF, for `btf.Btf`; valid until close."""
        return int(self._lib.bpf_object__btf(self._pointer))

    def programs(self) -> dict[str, str]:
        """Return the section of every program by its name."""
        found = {}
        for pointer in self._walk(self._lib.bpf_object__next_program):
            name = self._lib.bpf_program__name(pointer).decode()
            found[name] = self._lib.bpf_program__section_name(pointer).decode()
        return found

    def _walk(self, following: Callable[[int, int | None], int]) -> Iterator[int]:
        pointer = following(self._pointer, None)
        while pointer:
            yield pointer
            pointer = following(self._pointer, pointer)

    def set_autoload(self, program: str, wanted: bool) -> None:
        """Say before load whether `program` is loaded."""
        self._lib.bpf_program__set_autoload(self._program(program), wanted)

    def load(self) -> None:
        """Create the maps and load the wanted programs.

        Raises:
            LibbpfError: with the verifier's words in `log`.
        """
        self._lib.bpf_object__load(self._pointer)

    def maps(self) -> dict[str, BpfMap]:
        """Return every map by the name that BTF and `map` know it by."""
        found = {}
        for pointer in self._walk(self._lib.bpf_object__next_map):
            found[self._lib.bpf_map__name(pointer).decode()] = BpfMap(pointer)
        return found

    def map(self, name: str) -> BpfMap:
        """Return the map `name`; a global section is `.bss`, `.rodata`, `.data`."""
        pointer = self._lib.bpf_object__find_map_by_name(self._pointer, name.encode())
        return BpfMap(pointer)

    def _program(self, name: str) -> int:
        return int(
            self._lib.bpf_object__find_program_by_name(self._pointer, name.encode())
        )

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a loaded program, -1 when it is not loaded."""
        return int(self._lib.bpf_program__fd(self._program(name)))

    def attach(self, name: str, cgroup_fd: int = -1) -> None:
        """Attach `name` by its section, or to the cgroup given.

        Raises:
            LibbpfError: the kernel refuses.
        """
        program = self._program(name)
        if cgroup_fd >= 0:
            link = self._lib.bpf_program__attach_cgroup(program, cgroup_fd)
        else:
            link = self._lib.bpf_program__attach(program)
        self._links[name] = link

    def detach(self, name: str) -> None:
        """Detach `name`; nothing happens when it is not attached."""
        link = self._links.pop(name, None)
        if link is not None:
            self._lib.bpf_link__destroy(link)

    def attached(self) -> frozenset[str]:
        """Return the names of the programs that are attached now."""
        return frozenset(self._links)

    def read_iterator(self, name: str) -> bytes:
        """Run the iterator program `name` once and return what it wrote."""
        link = self._lib.bpf_program__attach_iter(self._program(name), None)
        try:
            fd = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
            with os.fdopen(fd, "rb", buffering=0) as iterator:
                return iterator.readall()
        finally:
            self._lib.bpf_link__destroy(link)


class _TestRunOptions(Structure):
    """struct bpf_test_run_opts of libbpf 1.0."""

    _fields_ = (
        ("size", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("context_in", c_void_p),
        ("context_out", c_void_p),
        ("context_size_in", c_uint32),
        ("context_size_out", c_uint32),
        ("result", c_uint32),
        ("repeat", c_int),
        ("duration_ns", c_uint32),
        ("flags", c_uint32),
        ("processor", c_uint32),
        ("batch_size", c_uint32),
    )


def run_program(fd: int, context: bytes) -> int:
    """Run a `SEC("syscall")` program once with `context`; return its result."""
    buffer = create_string_buffer(context, len(context))
    options = _TestRunOptions(
        size=ctypes.sizeof(_TestRunOptions),
        context_in=ctypes.addressof(buffer),
        context_size_in=len(context),
    )
    library().bpf_prog_test_run_opts(fd, byref(options))
    return int(options.result)


def possible_cpus() -> int:
    """Return how many processors per-CPU maps have values for."""
    return int(library().libbpf_num_possible_cpus())


_PROG_INFO_SIZE = 224


def program_info(fd: int) -> tuple[int, int, int]:
    """Return (run_time_ns, run_count, recursion_misses) of a loaded program.

    Bytes 192 to 215 of struct bpf_prog_info, <linux/bpf.h>; the first two are zero
    unless kernel.bpf_stats_enabled is set.
    """
    info = create_string_buffer(_PROG_INFO_SIZE)
    size = c_uint32(_PROG_INFO_SIZE)
    library().bpf_obj_get_info_by_fd(fd, info, byref(size))  # cast() makes cycles
    run_time_ns, run_count, misses = struct.unpack_from("=3Q", info.raw, 192)
    return run_time_ns, run_count, misses
