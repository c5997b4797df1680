# SPDX-License-Identifier: MIT
"""Loads eBPF programs; runs as `actions_bpf.py NAME DIRECTORY`."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_LOAD, OBJ_GET_INFO_BY_FD = 5, 15
SOCKET_FILTER = 1
#: r0 = 0; exit
GOOD = bytes.fromhex("b700000000000000 9500000000000000")
BAD = bytes.fromhex("9500000000000000")


def bpf(command: int, attributes: bytes) -> int:
    return int(LIBC.syscall(BPF, command, attributes, len(attributes)))


def load_program(code: bytes, name: bytes) -> int:
    """Return the descriptor, -1: the kernel refuses. Layout: union bpf_attr."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=II", SOCKET_FILTER, len(code) // 8)
    pointers = struct.pack(
        "=QQ", ctypes.addressof(instructions), ctypes.addressof(licence)
    )
    rest = struct.pack("=IIQII16s", 0, 0, 0, 0, 0, name)
    return bpf(PROG_LOAD, head + pointers + rest)


def program_id(fd: int) -> int:
    info = ctypes.create_string_buffer(16)
    request = struct.pack("=IIQ", fd, len(info), ctypes.addressof(info))
    assert bpf(OBJ_GET_INFO_BY_FD, request) == 0
    return int(struct.unpack_from("=I", info, 4)[0])


def load() -> None:
    fd = load_program(GOOD, b"fifteen_letters")
    print(f"id={program_id(fd)}")  # no pid: no number on its own


def load_without_name() -> None:
    fd = load_program(GOOD, b"")
    print(f"id={program_id(fd)}")  # no pid: no number on its own


def fail_to_load() -> None:
    assert load_program(BAD, b"bad") == -1


if __name__ == "__main__":
    globals()[sys.argv[1]]()
