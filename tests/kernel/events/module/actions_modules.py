# SPDX-License-Identifier: MIT
"""Ways to load modules of the running kernel; runs all of them in the directory given.

Each way runs in a child. A line of the output is the name of a way, the id of the
process that loads, and the number of the error; "unable" in its place where the machine
does not let it. What is loaded is removed again.
"""

from __future__ import annotations

import ctypes
import errno
import lzma
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

INIT, FINIT, DELETE = 175, 313, 176
INIT_32 = 128
COMPRESSED_FILE = 4  # MODULE_INIT_COMPRESSED_FILE, <linux/module.h>
MARK = b"~Module signature appended~\n"
AF_CAN = 29
KEPT_S = 4.0
LIBC = ctypes.CDLL(None, use_errno=True)
MODULES = Path("/lib/modules", os.uname().release)

#: The ways by their names.
WAYS: dict[str, Callable[[], int]] = {}


class UnableError(Exception):
    """The machine does not let it."""


def way(function: Callable[[], int]) -> Callable[[], int]:
    WAYS[function.__name__] = function
    return function


def packed(name: str) -> Path:
    """Return the file of a module as the distribution has it."""
    for line in (MODULES / "modules.dep").read_text().splitlines():
        file = line.partition(":")[0]
        if file.rpartition("/")[2] in (f"{name}.ko", f"{name}.ko.xz"):
            return MODULES / file
    raise UnableError


def unpacked(name: str) -> bytes:
    file = packed(name)
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data


def copied(name: str, data: bytes | None = None) -> Path:
    """Put a module, not packed, into the directory."""
    file = Path(f"{name}.ko").absolute()
    file.write_bytes(unpacked(name) if data is None else data)
    return file


def call(number: int, *arguments: object) -> int:
    """Make a system call; return 0 or the number of the error."""
    return ctypes.get_errno() if LIBC.syscall(number, *arguments) else 0


def load_file(fd: int, parameters: bytes = b"", flags: int = 0) -> int:
    return call(FINIT, fd, parameters, flags)


def kept(result: int) -> int:
    """Keep open what nobody can open by a name, until it may have been read."""
    time.sleep(KEPT_S)
    return result


def load_memory(data: bytes, parameters: bytes = b"") -> int:
    return call(INIT, data, len(data), parameters)


def remove(name: str) -> None:
    call(DELETE, name.encode(), os.O_NONBLOCK)


def modprobe(*words: str) -> int:
    """Become modprobe(8)."""
    os.execv("/sbin/modprobe", ["modprobe", *words])


@way
def by_modprobe() -> int:
    packed("dummy")
    return modprobe("dummy", "numdummies=2")


@way
def by_modprobe_again() -> int:
    return modprobe("dummy")


@way
def by_file() -> int:
    with open(copied("nlmon")) as file:
        return load_file(file.fileno(), b"")


@way
def by_file_with_a_name_that_lies() -> int:
    file = copied("nlmon").rename("<a> & 'b'\n.txt")
    with open(file) as opened:
        return load_file(opened.fileno(), b"")


@way
def by_file_deleted() -> int:
    file = copied("nlmon")
    with open(file) as opened:
        file.unlink()
        return kept(load_file(opened.fileno(), b""))


@way
def by_packed_file() -> int:
    file = packed("nlmon")
    if file.suffix != ".xz":
        raise UnableError
    with open(file) as opened:
        result = load_file(opened.fileno(), b"", COMPRESSED_FILE)
    if result in (errno.EOPNOTSUPP, errno.EINVAL):
        raise UnableError
    return result


@way
def by_memory() -> int:
    return load_memory(unpacked("nlmon"))


@way
def by_memory_beside_its_file() -> int:
    with open(packed("nlmon")):
        return load_memory(unpacked("nlmon"))


@way
def by_memory_beside_another_file() -> int:
    data = unpacked("nlmon")
    with open(copied("nlmon", bytes(len(data)))):
        return load_memory(data)


@way
def by_memory_of_32_bit_call() -> int:
    data = unpacked("nlmon")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40  # MAP_32BIT
    memory = mmap.mmap(-1, len(data) + 4096, flags=flags)
    memory.write(data)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    numbers = [each.to_bytes(4, "little").hex() for each in (INIT_32, at, len(data))]
    end = (at + len(data)).to_bytes(4, "little").hex()
    eax, ebx, ecx = numbers
    # push rbx; four numbers; int 0x80; pop rbx; cdqe; ret
    code = bytes.fromhex(f"53 b8{eax} bb{ebx} b9{ecx} ba{end} cd80 5b 4898 c3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_long)(start)()
    if result == -errno.ENOSYS:
        raise UnableError
    return -int(result)


@way
def by_file_that_another_thread_swaps() -> int:
    with open(copied("nlmon")) as file, open("/dev/null") as other:
        fd = os.dup(file.fileno())
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                os.dup2(file.fileno(), fd)
                time.sleep(0.0001)
                os.dup2(other.fileno(), fd)
                time.sleep(0.001)

        thread = threading.Thread(target=swap)
        thread.start()
        result = -1
        for _ in range(2000):
            if not (result := load_file(fd, b"")):
                break
        stop.set()
        thread.join()
    return result


@way
def by_memfd() -> int:
    fd = os.memfd_create("lkm")
    os.write(fd, unpacked("nlmon"))
    with open(f"/proc/self/fd/{fd}") as file:
        os.close(fd)
        return kept(load_file(file.fileno(), b""))


@way
def without_signature() -> int:
    data = unpacked("nlmon")
    end = data.rfind(MARK)
    if end < 0:
        raise UnableError
    size = int.from_bytes(data[end - 4 : end], "big")
    with open(copied("nlmon", data[: end - 12 - size])) as file:
        return load_file(file.fileno(), b"")


@way
def with_the_signature_of_an_unknown_key() -> int:
    data = unpacked("nlmon")
    begin, key, end = data.rpartition(b"autogenerated kernel key")
    if not key:
        raise UnableError
    with open(copied("nlmon", begin + key.upper() + end)) as file:
        return load_file(file.fileno(), b"")


@way
def with_an_init_that_fails() -> int:
    with open(copied("nbd")) as file:
        return load_file(file.fileno(), b"max_part=-1")


@way
def wanted_by_the_kernel() -> int:
    packed("can")
    try:
        socket.socket(AF_CAN, socket.SOCK_RAW, 1).close()
    except OSError as error:
        return error.errno or -1
    return 0


@way
def refused_garbage() -> int:
    Path("bad.ko").write_bytes(b"garbage" * 1000)
    with open("bad.ko") as file:
        return load_file(file.fileno(), b"")


@way
def refused_signature() -> int:
    data = bytearray(unpacked("nlmon"))
    end = data.rfind(MARK)
    if end < 0:
        raise UnableError
    data[end - 20] ^= 1  # within the number that is the signature
    with open(copied("nlmon", bytes(data))) as file:
        return load_file(file.fileno(), b"")


@way
def refused_parameters() -> int:
    with open(copied("nbd")) as file:
        return load_file(file.fileno(), b"max_part=many")


@way
def refused_twice() -> int:
    data = unpacked("nlmon")
    load_memory(data)
    return load_memory(data)


def main(directory: str) -> None:
    """Run the ways, one behind the other."""
    os.chdir(directory)
    for name, function in WAYS.items():
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                result = str(function())
            except UnableError:
                result = "unable"
            os.write(write, result.encode())
            os._exit(0)
        os.close(write)
        with open(read) as answer:
            result = answer.read()
        _, status = os.waitpid(child, 0)
        print(name, child, result or os.waitstatus_to_exitcode(status), flush=True)
        if "modprobe" not in name:
            for module in ("nlmon", "nbd"):
                remove(module)
    subprocess.run(["/sbin/modprobe", "-r", "dummy", "can_raw", "can"], check=False)


if __name__ == "__main__":
    main(sys.argv[1])
