# SPDX-License-Identifier: MIT
"""ctypes binding of libbpf 1.0 or newer: tables of functions, one loader.

Nothing but `_bind` sets argument types. libbpf's own messages go into the exceptions.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
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
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sysmonlx.errors import LibbpfError


class BpfObjectStruct(Structure):
    """struct bpf_object. The structs of libbpf are opaque: only pointers are used."""


class BpfProgramStruct(Structure):
    """struct bpf_program, opaque."""


class BpfMapStruct(Structure):
    """struct bpf_map, opaque."""


class BpfLinkStruct(Structure):
    """struct bpf_link, opaque."""


class BtfStruct(Structure):
    """struct btf, opaque."""


if TYPE_CHECKING:
    ObjectPointer = ctypes._Pointer[BpfObjectStruct]
    ProgramPointer = ctypes._Pointer[BpfProgramStruct]
    MapPointer = ctypes._Pointer[BpfMapStruct]
    LinkPointer = ctypes._Pointer[BpfLinkStruct]
    BtfPointer = ctypes._Pointer[BtfStruct]
else:  # ctypes refuses a pointer of one of these classes for another one
    ObjectPointer = POINTER(BpfObjectStruct)
    ProgramPointer = POINTER(BpfProgramStruct)
    MapPointer = POINTER(BpfMapStruct)
    LinkPointer = POINTER(BpfLinkStruct)
    BtfPointer = POINTER(BtfStruct)

#: Checks the result of a C function: called with result, function and arguments,
#: returns the result or raises an error.
Checker = Callable[[Any, Any, Any], Any]
#: Type of the result, types of the arguments, and the check of the result.
Signature = tuple[Any, list[Any], Checker | None]
_Result = TypeVar("_Result")


def failure(call: str, errno: int) -> LibbpfError:
    """Return the error of a call of libbpf, with the messages of this thread."""
    return LibbpfError(call, errno, os.strerror(errno), take_log())


def check_not_negative(result: int, function: Any, arguments: Any) -> int:
    """Return a result that is not -errno.

    Raises:
        LibbpfError: it is.
    """
    if result < 0:
        raise failure(function.__name__, -result)
    return result


def check_not_null(result: _Result, function: Any, arguments: Any) -> _Result:
    """Return a pointer that is not NULL.

    Raises:
        LibbpfError: it is, with the errno that libbpf has set.
    """
    if not result:
        raise failure(function.__name__, ctypes.get_errno())
    return result


#: name: (restype, argtypes, errcheck), from <bpf/libbpf.h>, <bpf/bpf.h>, <bpf/btf.h>.
#: `c_void_p` is an address of memory or a struct of options, never one of the structs.
FUNCTIONS: dict[str, Signature] = {
    "bpf_object__open_file": (ObjectPointer, [c_char_p, c_void_p], check_not_null),
    "bpf_object__load": (c_int, [ObjectPointer], check_not_negative),
    "bpf_object__close": (None, [ObjectPointer], None),
    "bpf_object__btf": (BtfPointer, [ObjectPointer], check_not_null),
    "bpf_object__next_program": (ProgramPointer, [ObjectPointer, ProgramPointer], None),
    "bpf_object__next_map": (MapPointer, [ObjectPointer, MapPointer], None),
    "bpf_object__find_map_by_name": (
        MapPointer,
        [ObjectPointer, c_char_p],
        check_not_null,
    ),
    "bpf_object__find_program_by_name": (
        ProgramPointer,
        [ObjectPointer, c_char_p],
        check_not_null,
    ),
    "bpf_program__name": (c_char_p, [ProgramPointer], None),
    "bpf_program__section_name": (c_char_p, [ProgramPointer], None),
    "bpf_program__set_autoload": (c_int, [ProgramPointer, c_bool], check_not_negative),
    "bpf_program__insns": (c_void_p, [ProgramPointer], check_not_null),
    "bpf_program__insn_cnt": (c_size_t, [ProgramPointer], None),
    "bpf_program__type": (c_int, [ProgramPointer], None),
    "bpf_program__set_expected_attach_type": (
        c_int,
        [ProgramPointer, c_int],
        check_not_negative,
    ),
    "bpf_program__expected_attach_type": (c_int, [ProgramPointer], None),
    "bpf_program__attach": (LinkPointer, [ProgramPointer], check_not_null),
    "bpf_program__attach_raw_tracepoint": (
        LinkPointer,
        [ProgramPointer, c_char_p],
        check_not_null,
    ),
    "bpf_program__attach_cgroup": (
        LinkPointer,
        [ProgramPointer, c_int],
        check_not_null,
    ),
    "bpf_program__attach_iter": (
        LinkPointer,
        [ProgramPointer, c_void_p],
        check_not_null,
    ),
    "bpf_program__fd": (c_int, [ProgramPointer], None),
    "bpf_link__fd": (c_int, [LinkPointer], check_not_negative),
    "bpf_link__destroy": (c_int, [LinkPointer], None),
    "bpf_link__disconnect": (None, [LinkPointer], None),
    "bpf_map__name": (c_char_p, [MapPointer], None),
    "bpf_map__fd": (c_int, [MapPointer], check_not_negative),
    "bpf_map__max_entries": (c_uint32, [MapPointer], None),
    "bpf_map__set_max_entries": (c_int, [MapPointer, c_uint32], check_not_negative),
    "bpf_map__set_autocreate": (c_int, [MapPointer, c_bool], check_not_negative),
    "bpf_map__reuse_fd": (c_int, [MapPointer, c_int], check_not_negative),
    "bpf_map__value_size": (c_uint32, [MapPointer], None),
    "bpf_map__initial_value": (
        c_void_p,
        [MapPointer, POINTER(c_size_t)],
        check_not_null,
    ),
    "bpf_map__inner_map": (MapPointer, [MapPointer], None),
    "bpf_map_freeze": (c_int, [c_int], check_not_negative),
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
    "bpf_btf_load": (c_int, [c_char_p, c_size_t, c_void_p], check_not_negative),
    "bpf_prog_load": (
        c_int,
        [c_uint32, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p],
        check_not_negative,
    ),
    "bpf_link_create": (c_int, [c_int, c_int, c_uint32, c_void_p], check_not_negative),
    "bpf_raw_tracepoint_open": (c_int, [c_char_p, c_int], check_not_negative),
    "bpf_iter_create": (c_int, [c_int], check_not_negative),
    "bpf_prog_test_run_opts": (c_int, [c_int, c_void_p], check_not_negative),
    "bpf_obj_get_info_by_fd": (
        c_int,
        [c_int, c_void_p, POINTER(c_uint32)],
        check_not_negative,
    ),
    "btf__load_vmlinux_btf": (BtfPointer, [], check_not_null),
    "btf__parse": (BtfPointer, [c_char_p, c_void_p], check_not_null),
    "btf__new": (BtfPointer, [c_char_p, c_uint32], check_not_null),
    "btf__raw_data": (c_void_p, [BtfPointer, POINTER(c_uint32)], check_not_null),
    "btf__free": (None, [BtfPointer], None),
    "btf__find_by_name_kind": (c_int32, [BtfPointer, c_char_p, c_uint32], None),
    "btf__type_by_id": (c_void_p, [BtfPointer, c_uint32], check_not_null),
    "btf__name_by_offset": (c_char_p, [BtfPointer, c_uint32], None),
    "libbpf_num_possible_cpus": (c_int, [], check_not_negative),
    "libbpf_set_print": (c_void_p, [c_void_p], None),
}

#: libbpf hands its messages over as a format and a va_list.
LIBC_FUNCTIONS: dict[str, Signature] = {
    "vsnprintf": (c_int, [c_char_p, c_size_t, c_char_p, c_void_p], None),
}


def _bind(names: tuple[str | None, ...], table: dict[str, Signature]) -> ctypes.CDLL:
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


class _Own(threading.local):
    """Messages of libbpf, which it prints in the thread that called it."""

    def __init__(self) -> None:
        self.log: list[str] = []


_own = _Own()


class _Library:
    """libbpf and libc, bound at first use; importing this module loads nothing."""

    def __init__(self) -> None:
        self._libbpf: ctypes.CDLL | None = None
        self._libc: ctypes.CDLL | None = None
        self._print: Any = None
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
            _own.log.append(line)
        if self.verbose is not None:
            self.verbose(line)
        return 0


_library = _Library()


def take_log() -> str:
    """Return what libbpf has logged in this thread since the last call; forget it."""
    text = "".join(_own.log)
    _own.log.clear()
    return text


def set_verbose(show: Callable[[str], None] | None) -> None:
    """Pass every message of libbpf, debug ones included, to `show`."""
    _library.verbose = show


def library() -> ctypes.CDLL:
    """Return libbpf with every function of `FUNCTIONS` typed and checked."""
    return _library.libbpf()


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


def program_asker(fd: int, size: int) -> Callable[[bytes], bytes]:
    """Return a function that runs a `SEC("syscall")` program, which never waits.

    It takes the program's context, `size` bytes, and returns what became of it. The
    interpreter is not given up meanwhile, which costs more than the call.
    """
    typed = ctypes.PYFUNCTYPE(c_int, c_int, c_void_p)
    entry = ctypes.cast(library().bpf_prog_test_run_opts, c_void_p)
    run = typed(entry.value or 0)
    buffer = create_string_buffer(size)
    options = _TestRunOptions(
        size=ctypes.sizeof(_TestRunOptions),
        context_in=ctypes.addressof(buffer),
        context_size_in=size,
    )
    question = byref(options)  # holds them for as long as it is asked
    lock = threading.Lock()

    def ask(context: bytes) -> bytes:
        with lock:
            buffer.raw = context
            if error := run(fd, question):
                raise failure("bpf_prog_test_run_opts", -error)
            return buffer.raw

    return ask


@cache
def possible_cpus() -> int:
    """Return how many processors per-CPU maps have values for."""
    return int(library().libbpf_num_possible_cpus())
