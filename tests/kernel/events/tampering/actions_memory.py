# SPDX-License-Identifier: MIT
"""Ways to get memory of which code can be run; runs all of them in the directory given.

Each way runs in a child with a directory of its own. A line of the output is the name
of a way and the id of its process, or "unable" where the machine does not let it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
import threading
from pathlib import Path

from support.ring import OP_OPENAT, Ring
from support.ways import (
    ANONYMOUS,
    EXEC,
    FAILED,
    FIXED,
    LIBC,
    LOW,
    PAGE,
    PRIVATE,
    READ,
    UNABLE,
    WAYS,
    WRITE,
    executable_shared_memory,
    take,
    way,
)

SHARED = 0x1
READ_IMPLIES_EXEC = 0x0400000
PKEY_MPROTECT = 329
OLD_MMAP_32, MPROTECT_32 = 90, 125
PT_LOAD, PT_GNU_STACK = 1, 0x6474E551
NOBODY = 65534
TRUE = os.path.realpath("/bin/true")
SYSTEM_PYTHON = os.path.realpath("/usr/bin/python3")


def mapped(
    protection: int, flags: int = PRIVATE | ANONYMOUS, fd: int = -1, pages: int = 1
) -> int:
    """Return the address of new memory."""
    address = LIBC.mmap(None, pages * PAGE, protection, flags, fd, 0)
    assert address != FAILED, os.strerror(ctypes.get_errno())
    return int(address)


def protect(address: int, protection: int, pages: int = 1) -> None:
    assert LIBC.mprotect(address, pages * PAGE, protection) == 0


def opened(flags: int = os.O_RDWR) -> int:
    """Return a descriptor of a regular file of two pages."""
    Path("file").write_bytes(bytes(2 * PAGE))
    return os.open("file", flags)


# --- what no file holds


@way
def anonymous() -> None:
    mapped(READ | EXEC)


@way
def anonymous_shared() -> None:
    mapped(READ | WRITE | EXEC, SHARED | ANONYMOUS)


@way
def anonymous_by_device() -> None:
    mapped(READ | EXEC, PRIVATE, os.open("/dev/zero", os.O_RDONLY))


@way
def memory_file() -> None:
    fd = os.memfd_create("code")
    os.ftruncate(fd, PAGE)
    mapped(READ | EXEC, SHARED, fd)


@way
def made_executable() -> None:
    protect(mapped(READ | WRITE), READ | EXEC)


@way
def made_executable_by_key() -> None:
    address = ctypes.c_void_p(mapped(READ | WRITE))
    if LIBC.syscall(PKEY_MPROTECT, address, PAGE, READ | EXEC, -1):
        os._exit(UNABLE)


@way
def made_executable_behind_a_file() -> None:
    address = mapped(READ, PRIVATE | ANONYMOUS, pages=2)
    fd = opened(os.O_RDONLY)
    assert LIBC.mmap(address, PAGE, READ, PRIVATE | FIXED, fd, 0) == address
    protect(address, READ | EXEC, pages=2)


@way
def stack() -> None:
    here = ctypes.create_string_buffer(1)  # on the heap; the stack is found by name
    del here
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[stack]"):
            begin = int(line.partition("-")[0], 16)
            protect(begin, READ | WRITE | EXEC)


@way
def shared_memory() -> None:
    executable_shared_memory()


@way
def pages_of_a_file_written() -> None:
    address = mapped(READ | WRITE, PRIVATE, opened())
    ctypes.memset(address, 0xC3, 16)
    protect(address, READ | EXEC)


@way
def pages_of_a_file_to_be_written() -> None:
    mapped(READ | WRITE | EXEC, PRIVATE, opened())


@way
def own_memory_file() -> None:
    os.close(os.open("/proc/self/mem", os.O_WRONLY))


@way
def own_memory_file_of_thread() -> None:
    os.close(os.open(f"/proc/self/task/{os.getpid()}/mem", os.O_RDWR))


@way
def own_memory_file_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_OPENAT, b"/proc/self/mem", flags=os.O_RDWR)
        assert ring.wait()[0] >= 0


@way
def heap() -> None:
    assert LIBC.personality(READ_IMPLIES_EXEC) >= 0
    LIBC.sbrk(PAGE)


@way
def implied() -> None:
    assert LIBC.personality(READ_IMPLIES_EXEC) >= 0
    mapped(READ | WRITE)


def changed_program(kind: int, flags: int) -> str:
    """Return a copy of a program whose headers of one kind all get these flags."""
    program = bytearray(Path(TRUE).read_bytes())
    (table,) = struct.unpack_from("=Q", program, 32)
    size, count = struct.unpack_from("=HH", program, 54)
    for at in range(table, table + size * count, size):
        of_kind, has = struct.unpack_from("=II", program, at)
        if of_kind == kind and (kind != PT_LOAD or has & 1):
            struct.pack_into("=I", program, at + 4, flags)
    Path("program").write_bytes(program)
    os.chmod("program", 0o755)
    return os.path.abspath("program")


@way
def stack_of_program() -> None:
    os.execv(changed_program(PT_GNU_STACK, 7), ["program"])


@way
def by_racing_threads() -> None:
    """Make memory executable while other threads hold the lock of all memory."""
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            LIBC.munmap(mapped(READ), PAGE)

    threads = [threading.Thread(target=change) for _ in range(3)]
    for each in threads:
        each.start()
    protect(mapped(READ | WRITE), READ | EXEC)
    over.set()
    for each in threads:
        each.join()


# --- the 32-bit interface


def call_32(number: int, *words: int) -> int:
    """Make a system call by `int 0x80`; the code for it lies in a file."""
    code = "53 57 8b07 8b5f04 8b4f08 8b570c 8b7710 8b7f14 cd80 5f 5b 4898 c3"
    Path("code").write_bytes(bytes.fromhex(code))
    address = mapped(READ | EXEC, PRIVATE, os.open("code", os.O_RDONLY))
    row = struct.pack("=6I", number, *words, *[0] * (5 - len(words)))
    result: int = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_char_p)(address)(row)
    return result


@way
def made_executable_by_32_bit_call() -> None:
    low = mapped(READ | WRITE, PRIVATE | ANONYMOUS | LOW)
    if call_32(MPROTECT_32, low, PAGE, READ | EXEC):
        os._exit(UNABLE)


@way
def anonymous_by_oldest_call() -> None:
    low = mapped(READ | WRITE, PRIVATE | ANONYMOUS | LOW)
    words = (0, PAGE, READ | EXEC, PRIVATE | ANONYMOUS, 0xFFFFFFFF, 0)
    ctypes.memmove(low, struct.pack("=6I", *words), 24)
    if -4096 < call_32(OLD_MMAP_32, low) < 0:
        os._exit(UNABLE)


# --- once, and once again


@way
def again_and_again() -> None:
    for _ in range(100):
        address = mapped(READ | WRITE)
        protect(address, READ | EXEC)
        protect(address, READ | WRITE)


@way
def as_another_user() -> None:
    mapped(READ | EXEC)
    os.setuid(NOBODY)
    mapped(READ | EXEC)


# --- near misses


@way
def left_out_by_image() -> None:
    shutil.copy(SYSTEM_PYTHON, "compiler")
    text = "import mmap; mmap.mmap(-1, 4096, prot=7); mmap.mmap(-1, 4096, prot=7)"
    os.execv("compiler", ["compiler", "-S", "-E", "-c", text])


@way
def library() -> None:
    shutil.copy(TRUE, "lib.so")
    mapped(READ | EXEC, PRIVATE, os.open("lib.so", os.O_RDONLY))


@way
def library_made_executable() -> None:
    protect(mapped(READ, PRIVATE, opened()), READ | EXEC)


@way
def program_with_libraries() -> None:
    os.execv(SYSTEM_PYTHON, ["python3", "-c", "import ctypes, hashlib, ssl"])


@way
def file_that_is_shared() -> None:
    address = mapped(READ | WRITE | EXEC, SHARED, opened())
    ctypes.memset(address, 0xC3, 16)


@way
def not_executable() -> None:
    address = mapped(READ | WRITE)
    protect(address, READ)
    number = LIBC.shmget(0, PAGE, 0o1700)
    LIBC.shmat(number, None, 0)
    LIBC.shmctl(number, 0, None)
    LIBC.sbrk(PAGE)


@way
def refused() -> None:
    address = mapped(READ | WRITE)
    LIBC.munmap(address, PAGE)
    assert LIBC.mprotect(address, PAGE, READ | EXEC) == -1
    fd = opened(os.O_WRONLY)
    assert LIBC.mmap(None, PAGE, READ | EXEC, PRIVATE, fd, 0) == FAILED


@way
def personality_asked_for() -> None:
    assert LIBC.personality(0xFFFFFFFF) >= 0
    assert LIBC.personality(0) >= 0


@way
def memory_file_to_read() -> None:
    os.close(os.open("/proc/self/mem", os.O_RDONLY))


@way
def memory_file_of_another() -> None:
    os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR))


# --- what is not seen


@way
def unseen_segment_of_program() -> None:
    os.execv(changed_program(PT_LOAD, 7), ["program"])


@way
def unseen_second_time() -> None:
    mapped(READ | EXEC)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    mapped(READ | WRITE | EXEC)


# --- what is counted


@way
def counted_behind_many_files() -> None:
    address = mapped(READ, PRIVATE | ANONYMOUS, pages=20)
    fd = opened(os.O_RDONLY)
    for page in range(0, 18, 2):  # each is an area of its own, as each second page is
        at = address + page * PAGE
        assert LIBC.mmap(at, PAGE, READ, PRIVATE | FIXED, fd, 0) == at
        at += PAGE
        assert LIBC.mmap(at, PAGE, READ, PRIVATE | FIXED, fd, 0) == at
    protect(address, READ | EXEC, pages=20)


if __name__ == "__main__":
    for each, function in WAYS.items():
        take(each, function, sys.argv[1])
