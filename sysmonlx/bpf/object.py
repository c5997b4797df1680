# SPDX-License-Identifier: MIT
"""A BPF object file and its maps, through libbpf."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes import (
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_size_t,
    c_uint32,
    create_string_buffer,
)

from sysmonlx.bpf.libbpf import (
    BtfPointer,
    LinkPointer,
    MapPointer,
    ObjectPointer,
    ProgramPointer,
    library,
    take_log,
)
from sysmonlx.errors import LibbpfError


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

    def __init__(self, pointer: MapPointer) -> None:
        self._pointer = pointer
        self._lib = library()
        self._fd = -1
        self._value_bytes = 0

    @property
    def fd(self) -> int:
        """The map's file descriptor; it exists after load, and stays the same."""
        if self._fd < 0:
            self._fd = int(self._lib.bpf_map__fd(self._pointer))
        return self._fd

    @property
    def max_entries(self) -> int:
        """Number of entries, or the ring buffer's size in bytes."""
        return int(self._lib.bpf_map__max_entries(self._pointer))

    @property
    def value_bytes(self) -> int:
        """Size of one value, on one processor."""
        if not self._value_bytes:
            self._value_bytes = int(self._lib.bpf_map__value_size(self._pointer))
        return self._value_bytes

    def resize(self, max_entries: int) -> None:
        """Change `max_entries` before load."""
        self._lib.bpf_map__set_max_entries(self._pointer, max_entries)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store `value` under `key`; flags as in bpf_map_update_elem(2)."""
        self._lib.bpf_map_update_elem(self.fd, key, value, flags)

    def lookup(self, key: bytes, size: int = 0) -> bytes:
        """Return the value under `key`; `size` for per-CPU maps, all processors'."""
        size = size or self.value_bytes
        value = create_string_buffer(size)
        self._lib.bpf_map_lookup_elem(self.fd, key, value)
        return value.raw

    def delete(self, key: bytes) -> None:
        """Remove `key`.

        Raises:
            LibbpfError: there is no such key (errno ENOENT).
        """
        self._lib.bpf_map_delete_elem(self.fd, key)

    def keys(self, none: bytes, limit: int) -> Iterator[bytes]:
        """Yield the keys, each as long as `none`, of `limit` entries at most."""
        key, following = none, create_string_buffer(len(none))
        find = self._lib.bpf_map_get_next_key
        is_first = True
        for _ in range(limit):
            if find(self.fd, None if is_first else key, following):
                return
            key, is_first = following.raw, False
            yield key

    def omit(self) -> None:
        """Say before load that the map is not to be made."""
        self._lib.bpf_map__set_autocreate(self._pointer, False)

    def reuse(self, fd: int) -> None:
        """Take, before load, the map behind `fd` instead of making a new one."""
        self._lib.bpf_map__reuse_fd(self._pointer, fd)

    def inner_bytes(self) -> int:
        """Return, before load, the size of values of the maps in this map; 0: none."""
        inner = self._lib.bpf_map__inner_map(self._pointer)
        return int(self._lib.bpf_map__value_size(inner)) if inner else 0

    def initial_value(self) -> tuple[int, int]:
        """Return (address, size in bytes) of a global section before load."""
        size = c_size_t()
        address = self._lib.bpf_map__initial_value(self._pointer, byref(size))
        return address, size.value


_MAP_TYPE_ARRAY = 2  # BPF_MAP_TYPE_ARRAY, <linux/bpf.h>


def create_zero(name: str, size_bytes: int) -> int:
    """Return the descriptor of a new array map of one value, all zeroes."""
    kind, lib = _MAP_TYPE_ARRAY, library()
    return int(lib.bpf_map_create(kind, name.encode(), 4, size_bytes, 1, None))


def create_array(name: str, value: bytes) -> int:
    """Return the descriptor of a new array map that holds one value, for good.

    No system call changes it any more. The caller closes it; a map of maps that it was
    put into keeps the array.
    """
    fd = create_zero(name, len(value))
    try:
        library().bpf_map_update_elem(fd, bytes(4), value, 0)
        library().bpf_map_freeze(fd)
    except LibbpfError:
        os.close(fd)
        raise
    return fd


class BpfObject:
    """A BPF object file: opened, adjusted, loaded, attached; closes as a whole."""

    def __init__(self, path: str, btf_path: str = "") -> None:
        self._lib = library()
        self._links: dict[str, LinkPointer] = {}
        self._program_fds: dict[str, int] = {}
        take_log()
        options = _OpenOptions(size=ctypes.sizeof(_OpenOptions))
        if btf_path:
            options.btf_custom_path = os.fsencode(btf_path)
        self._pointer: ObjectPointer = self._lib.bpf_object__open_file(
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
            self._pointer = ObjectPointer()

    @property
    def btf(self) -> BtfPointer:
        """Pointer to the object's own BTF, for `btf.Btf`; valid until close."""
        found: BtfPointer = self._lib.bpf_object__btf(self._pointer)
        return found

    def types(self) -> bytes:
        """Return the object's own BTF."""
        size = c_uint32()
        address = self._lib.btf__raw_data(self.btf, byref(size))
        return ctypes.string_at(address, size.value)

    def programs(self) -> dict[str, str]:
        """Return the section of every program by its name."""
        found = {}
        following = self._lib.bpf_object__next_program
        pointer: ProgramPointer = following(self._pointer, None)
        while pointer:
            name = self._lib.bpf_program__name(pointer).decode()
            found[name] = self._lib.bpf_program__section_name(pointer).decode()
            pointer = following(self._pointer, pointer)
        return found

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
        following = self._lib.bpf_object__next_map
        pointer: MapPointer = following(self._pointer, None)
        while pointer:
            found[self._lib.bpf_map__name(pointer).decode()] = BpfMap(pointer)
            pointer = following(self._pointer, pointer)
        return found

    def map(self, name: str) -> BpfMap:
        """Return the map `name`; a global section is `.bss`, `.rodata`, `.data`."""
        pointer = self._lib.bpf_object__find_map_by_name(self._pointer, name.encode())
        return BpfMap(pointer)

    def _program(self, name: str) -> ProgramPointer:
        find = self._lib.bpf_object__find_program_by_name
        found: ProgramPointer = find(self._pointer, name.encode())
        return found

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a loaded program, -1 when it is not loaded."""
        fd = self._program_fds.get(name, -1)
        if fd < 0:
            fd = int(self._lib.bpf_program__fd(self._program(name)))
            self._program_fds[name] = fd
        return fd

    def set_attach_type(self, name: str, kind: int) -> None:
        """Set, before `load`, how `name` is attached: no section can say it."""
        set_type = self._lib.bpf_program__set_expected_attach_type
        set_type(self._program(name), kind)

    def code(self, name: str) -> bytes:
        """Return the instructions of a loaded program, as the kernel got them."""
        program = self._program(name)
        size = 8 * self._lib.bpf_program__insn_cnt(program)
        return ctypes.string_at(self._lib.bpf_program__insns(program), size)

    def kinds(self, name: str) -> tuple[int, int]:
        """Return the type of a program and of its attachment, as bpf(2) has them."""
        program = self._program(name)
        kind = self._lib.bpf_program__type(program)
        return kind, self._lib.bpf_program__expected_attach_type(program)

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

    def attach_at(self, place: str, name: str, tracepoint: str) -> None:
        """Attach the raw tracepoint program `name`; the link is known as `place`.

        Raises:
            LibbpfError: the kernel refuses, or has no such tracepoint.
        """
        attach = self._lib.bpf_program__attach_raw_tracepoint
        self._links[place] = attach(self._program(name), tracepoint.encode())

    def detach(self, name: str) -> None:
        """Detach `name`; nothing happens when it is not attached."""
        link = self._links.pop(name, None)
        if link is not None:
            self._lib.bpf_link__destroy(link)

    def forget(self, name: str) -> None:
        """Know nothing of how `name` is attached: its link's descriptor is not ours."""
        link = self._links.pop(name, None)
        if link is not None:
            self._lib.bpf_link__disconnect(link)
            self._lib.bpf_link__destroy(link)

    def link_fd(self, name: str) -> int:
        """Return the descriptor of what holds an attached program at its hook."""
        return int(self._lib.bpf_link__fd(self._links[name]))

    def attached(self) -> frozenset[str]:
        """Return the names of the programs that were attached."""
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
