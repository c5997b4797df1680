# SPDX-License-Identifier: MIT
"""Loads eBPF programs; runs as `actions_bpf.py NAME DIRECTORY`."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_UPDATE, PROG_LOAD, PROG_RUN, OBJ_GET_INFO_BY_FD = 0, 2, 5, 10, 15
SOCKET_FILTER, SYSCALL_PROGRAM, SLEEPABLE = 1, 31, 1 << 4
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}[os.uname().machine]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
REFUSE, ALLOW = 0x00050000 | 13, 0x7FFF0000  # EACCES
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


def load_many() -> None:
    fds = [load_program(GOOD, b"n%d" % number) for number in range(100)]
    print(*(f"id={program_id(fd)}" for fd in fds))


def load_and_lose_the_descriptor() -> None:
    """Let another thread put another file in the place of the new descriptor."""
    nothing, number = os.open("/dev/null", os.O_RDONLY), os.dup(0)
    is_over = threading.Event()

    def steal() -> None:
        while not is_over.is_set():
            LIBC.dup2(nothing, number)

    thief = threading.Thread(target=steal)
    thief.start()
    for each in range(300):
        LIBC.close(number)
        load_program(GOOD, b"T%d" % each)
    is_over.set()
    thief.join()


# --- a program that loads another


def instruction(
    code: int, registers: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, registers, offset, value)


def make_loader(name: bytes) -> int:
    """Return a program that loads a program `name`, as light skeletons of bpftool do.

    Where it runs, the result is the descriptor.
    """
    size = 256
    values = bpf(MAP_CREATE, struct.pack("=IIII", 2, 4, size, 1).ljust(72, b"\0"))
    assert values >= 0
    load = struct.pack("=II", SOCKET_FILTER, len(GOOD) // 8).ljust(48, b"\0") + name
    value = ctypes.create_string_buffer(
        load.ljust(128, b"\0") + b"GPL\0\0\0\0\0" + GOOD, size
    )
    key = ctypes.c_uint(0)
    where = struct.pack("=IIQQQ", values, 0, *map(ctypes.addressof, (key, value)), 0)
    assert bpf(MAP_UPDATE, where) == 0
    code = b"".join(
        (
            instruction(0x18, 0x26, 0, values),  # r6 = the value of the map
            instruction(0),
            instruction(0xBF, 0x61),
            instruction(0x07, 0x01, 0, 128),
            instruction(0x7B, 0x16, 16),  # the licence
            instruction(0x07, 0x01, 0, 8),
            instruction(0x7B, 0x16, 8),  # the instructions
            instruction(0xB7, 0x01, 0, PROG_LOAD),
            instruction(0xBF, 0x62),
            instruction(0xB7, 0x03, 0, 128),
            instruction(0x85, 0, 0, 166),  # bpf_sys_bpf()
            instruction(0x95),
        )
    )
    return load_sleepable(code)


def load_sleepable(code: bytes) -> int:
    """Return the descriptor of a program of the type that may make system calls."""
    instructions = ctypes.create_string_buffer(code, len(code))
    licence, log = (
        ctypes.create_string_buffer(b"GPL"),
        ctypes.create_string_buffer(9999),
    )
    at = ctypes.addressof
    kind = SYSCALL_PROGRAM, len(code) // 8
    head = struct.pack("=IIQQ", *kind, at(instructions), at(licence))
    rest = struct.pack("=IIQII16s", 1, len(log), at(log), 0, SLEEPABLE, b"loader")
    fd = bpf(PROG_LOAD, (head + rest).ljust(128, b"\0"))
    assert fd >= 0, log.value.decode()
    return fd


def run_loader(loader: int) -> int:
    """Return the descriptor of the program that the loader has loaded."""
    run = struct.pack("=II", loader, 0).ljust(80, b"\0")
    answer = ctypes.create_string_buffer(run, len(run))
    assert LIBC.syscall(BPF, PROG_RUN, answer, len(run)) == 0
    (returned,) = struct.unpack_from("=i", answer, 4)
    assert returned >= 0, os.strerror(-returned)
    return int(returned)


def load_by_program() -> None:
    fd = run_loader(make_loader(b"T"))
    print(f"id={program_id(fd)}")
    time.sleep(0.1)  # it is looked at while it is there
    assert b"prog_type" in Path(f"/proc/self/fdinfo/{fd}").read_bytes()


def load_many_by_program() -> None:
    loader = make_loader(b"T")
    fds = [run_loader(loader) for _ in range(50)]
    print(*(f"id={program_id(fd)}" for fd in fds))


def load_by_program_and_go() -> None:
    """Load a program, unload it at once, and be another program a moment later."""
    os.close(run_loader(make_loader(b"T")))
    os.execv("/bin/true", ["true"])


def load_by_program_in_a_child() -> None:
    """A child that runs no program of its own, and ends at once."""
    loader = make_loader(b"T")
    pid = os.fork()
    if pid == 0:
        os.close(run_loader(loader))
        os._exit(0)
    os.waitpid(pid, 0)
    print(pid)


def refuse_perf() -> None:
    """Run the program of the other arguments, which perf_event_open(2) refuses."""
    code = b"".join(
        struct.pack("=HBBI", *each)
        for each in (
            (0x20, 0, 0, 0),  # the number of the call
            (0x15, 0, 1, PERF_EVENT_OPEN),
            (0x06, 0, 0, REFUSE),
            (0x06, 0, 0, ALLOW),
        )
    )
    filters = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(filters))
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
