# SPDX-License-Identifier: MIT
"""Ways to make code of a file runnable; runs all of them in the directory given.

Each way runs in a child with a directory of its own, where the file lib.so lies. A line
of the output is the name of a way and the id of its process, or "unable" where the
machine does not let it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import struct
import sys
import threading
from pathlib import Path

from support.ways import (
    ANONYMOUS,
    EXEC,
    FAILED,
    FIXED,
    LIBC,
    PAGE,
    PRIVATE,
    READ,
    UNABLE,
    WAYS,
    WRITE,
    executable_shared_memory,
    way,
)

PKEY_MPROTECT = 329
LIBRARY = os.path.realpath("/bin/true")
THREADS, FILES = 3, 20


def opened(path: str = "lib.so") -> int:
    return os.open(path, os.O_RDONLY)


def mapped(fd: int, protection: int = READ | EXEC, flags: int = PRIVATE) -> int:
    address = LIBC.mmap(None, PAGE, protection, flags, fd, 0)
    return 0 if address == FAILED else int(address)


def unable_unless(done: object) -> None:
    if not done:
        os._exit(UNABLE)


@way
def executable() -> None:
    assert mapped(opened())


@way
def made_executable() -> None:
    assert not LIBC.mprotect(mapped(opened(), READ), PAGE, READ | EXEC)


@way
def made_executable_by_key() -> None:
    address = ctypes.c_void_p(mapped(opened(), READ))
    unable_unless(not LIBC.syscall(PKEY_MPROTECT, address, PAGE, READ | EXEC, -1))


@way
def made_executable_behind_other_memory() -> None:
    address = LIBC.mmap(None, 3 * PAGE, READ, PRIVATE | ANONYMOUS, -1, 0)
    at = LIBC.mmap(address + PAGE, PAGE, READ, PRIVATE | FIXED, opened(), 0)
    assert at == address + PAGE
    assert not LIBC.mprotect(address, 3 * PAGE, READ | EXEC)


@way
def written_and_made_executable() -> None:
    address = mapped(opened(), READ | WRITE)
    ctypes.memset(address, 0xC3, 16)
    assert not LIBC.mprotect(address, PAGE, READ | EXEC)


@way
def of_32_bit_call() -> None:
    os.dup2(opened(), 9)
    # push rbx, rsi, rdi, rbp; mmap2(0, 4096, 5, 2, 9, 0); pop; cdqe; ret
    words = [struct.pack("=I", each).hex() for each in (192, 0, PAGE, 5, 2, 9)]
    eax, ebx, ecx, edx, esi, edi = words
    code = bytes.fromhex(
        f"53 56 57 55 b8{eax} bb{ebx} b9{ecx} ba{edx} be{esi} bf{edi} 31ed cd80"
        " 5d 5f 5e 5b 4898 c3"
    )
    page = mmap.mmap(-1, PAGE, prot=READ | WRITE | EXEC)
    page.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    unable_unless(ctypes.CFUNCTYPE(ctypes.c_long)(start)() & 0xFFFFFFFF < 0xFFFFF000)


@way
def deleted() -> None:
    fd = opened()
    os.unlink("lib.so")
    assert mapped(fd)


@way
def in_memory() -> None:
    fd = os.memfd_create("lib")
    os.write(fd, Path("lib.so").read_bytes())
    assert mapped(fd)


@way
def shared_memory() -> None:
    executable_shared_memory()


@way
def closed_at_once() -> None:
    fd = opened()
    address = mapped(fd)
    os.close(fd)
    assert address


@way
def twice() -> None:
    assert mapped(opened())
    assert mapped(opened())


@way
def through_the_loader() -> None:
    os.environ["LD_PRELOAD"] = os.path.abspath("lib.so")
    shutil.copy(sys.argv[2], "lib.so")
    os.execve("/bin/true", ["true"], os.environ)


@way
def program_by_the_loader() -> None:
    loaders = [*Path("/lib64").glob("ld-linux*")]
    unable_unless(loaders)
    os.execv(loaders[0], ["ld.so", os.path.abspath("lib.so")])


@way
def by_racing_threads() -> None:
    def race(number: int) -> None:
        for at in range(FILES):
            name = f"lib{number}-{at}.so"
            shutil.copy("lib.so", name)
            fd = opened(name)
            LIBC.munmap(mapped(fd), PAGE)
            os.close(fd)

    threads = [threading.Thread(target=race, args=(at,)) for at in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


# --- the rules leave out what lies in a directory "left out"


@way
def left_out() -> None:
    os.mkdir("left out")
    os.rename("lib.so", "left out/lib.so")
    for _ in range(3):
        if not (child := os.fork()):
            assert mapped(opened("left out/lib.so"))
            os._exit(0)
        os.waitpid(child, 0)


@way
def left_out_before_its_folder_was_renamed() -> None:
    os.mkdir("left out")
    os.rename("lib.so", "left out/lib.so")
    if not (child := os.fork()):
        assert mapped(opened("left out/lib.so"))
        os._exit(0)
    os.waitpid(child, 0)
    os.rename("left out", "evil")
    assert mapped(opened("evil/lib.so"))


@way
def left_out_by_another_name() -> None:
    os.mkdir("left out")
    os.link("lib.so", "left out/lib.so")
    if not (child := os.fork()):
        assert mapped(opened("left out/lib.so"))
        os._exit(0)
    os.waitpid(child, 0)
    assert mapped(opened())


# --- near misses


@way
def read_alone() -> None:
    assert mapped(opened(), READ)


@way
def refused() -> None:
    assert not mapped(os.open("lib.so", os.O_WRONLY))


@way
def anonymous() -> None:
    assert mapped(-1, READ | EXEC, PRIVATE | ANONYMOUS)


@way
def own_program() -> None:
    assert mapped(opened("/proc/self/exe"))


@way
def made_readable_again() -> None:
    address = mapped(-1, READ | EXEC, PRIVATE | ANONYMOUS)
    assert not LIBC.mprotect(address, PAGE, READ)


def main(directory: str) -> None:
    """Run the ways, one behind the other."""
    for name, function in WAYS.items():
        folder = Path(directory, name)
        folder.mkdir()
        shutil.copy(LIBRARY, folder / "lib.so")
        child = os.fork()
        if not child:
            os.chdir(folder)
            function()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, UNABLE), name
        print(name, "unable" if code else child, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
