# SPDX-License-Identifier: MIT
"""Processes whose arguments nobody can read: `hanging_args.py FORM MOUNT_POINT`.

The process maps a file over a page of its own arguments; the server of that file never
answers a read. In the form `page` nobody touches the page. In the form `lock` a thread
does, and holds the lock of the address space meanwhile, since its first read failed;
another thread waits to change the address space, and readers queue up behind it.

In the form `page` it runs a program at SIGUSR1.
Prints the pid of that process, waits for the end of its standard input, then ends all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x44000
PROT_READ, MAP_PRIVATE, MAP_FIXED = 1, 2, 16
PAGE = 4096
NOBODY = 65534
LOOKUP, GETATTR, OPEN, READ, INIT = 1, 3, 14, 15, 26
NO_ANSWER_TO = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET
ROOT, FILE = 1, 2
LIMIT_S = 30
ARGUMENT = "z" * 5 * PAGE
NOT_IMPLEMENTED, INPUT_OUTPUT = errno.ENOSYS, errno.EIO


def serve(dev: int, failures: int) -> None:
    """Answer all but reads, of which the first few fail and the others hang."""
    while True:
        request = os.read(dev, 1 << 17)
        _, operation, unique, node = struct.unpack_from("=IIQQ", request)
        error, answer = -NOT_IMPLEMENTED, b""
        if operation in ANSWERS:
            error, answer = 0, ANSWERS[operation](node)
        elif operation == READ and failures:
            error, failures = -INPUT_OUTPUT, failures - 1
        elif operation in (READ, *NO_ANSWER_TO):
            continue
        head = struct.pack("=IiQ", 16 + len(answer), error, unique)
        os.write(dev, head + answer)


def attributes(node: int) -> bytes:
    kind = stat.S_IFDIR if node == ROOT else stat.S_IFREG
    numbers = (node, 2 * PAGE, 16, 0, 0, 0, 0, 0, 0, kind | 0o777, 1, 0, 0, 0, PAGE, 0)
    return struct.pack("=6Q10I", *numbers)


ANSWERS: dict[int, Callable[[int], bytes]] = {
    INIT: lambda _: struct.pack(
        "=4I2H2I2H8I", 7, 31, 0, 0, 16, 12, PAGE, 1, 1, *[0] * 9
    ),
    LOOKUP: lambda _: struct.pack("=4Q2I", FILE, 0, 9, 9, 0, 0) + attributes(FILE),
    GETATTR: lambda node: struct.pack("=Q2I", 9, 0, 0) + attributes(node),
    OPEN: lambda _: struct.pack("=Q2I", 1, 0, 0),
}


def page_of_arguments() -> int:
    """Return the address of the first page that has nothing but arguments."""
    with open("/proc/self/stat", encoding="ascii") as file:
        start = int(file.read().rpartition(")")[2].split()[45])
    return (start + PAGE) & ~(PAGE - 1)


def map_over_arguments(form: str, path: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    page = page_of_arguments()
    fd = os.open(path, os.O_RDONLY)
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    how = MAP_PRIVATE | MAP_FIXED
    at = LIBC.mmap(ctypes.c_void_p(page), 2 * PAGE, PROT_READ, how, fd, 0)
    assert at == page
    if form == "page":
        signal.sigwait({signal.SIGUSR1})
        os.waitpid(os.posix_spawn("/bin/true", ["true", "child"], {}), 0)
        signal.pause()
    threads = [  # both before either hangs: to make one changes the address space
        threading.Thread(target=each, args=(page,), daemon=True)
        for each in (touch_page, change_address_space)
    ]
    for each in threads:
        each.start()
    threads[0].join()


def touch_page(page: int) -> None:
    LIBC.memcmp(ctypes.c_void_p(page), b"z", ctypes.c_size_t(1))


def change_address_space(page: int) -> None:
    while True:
        LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_READ)
        time.sleep(0.01)


def is_hanging(pid: int) -> bool:
    """Tell whether a process that reads the arguments of `pid` hangs."""
    reader = os.fork()
    if reader == 0:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            file.read()
        os._exit(0)
    for _ in range(20):
        time.sleep(0.01)
        if os.waitpid(reader, os.WNOHANG) != (0, 0):
            return False
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    return True


def has_mapped(pid: int, mount_point: str) -> bool:
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        return f"{mount_point}/f" in file.read()


def checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main(form: str, mount_point: str) -> None:
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
    dev = os.open("/dev/fuse", os.O_RDWR)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % dev
    checked(LIBC.mount(b"x", os.fsencode(mount_point), b"fuse", 0, options))
    server = os.fork()
    if server == 0:
        signal.alarm(LIMIT_S)  # its end ends whatever hangs
        serve(dev, int(form == "lock"))
    os.close(dev)
    victim = os.fork()
    if victim == 0:
        words = [
            sys.executable,
            "-P",
            __file__,
            f"--{form}",
            f"{mount_point}/f",
            ARGUMENT,
        ]
        os.execv(sys.executable, words)
    while not (
        is_hanging(victim) if form == "lock" else has_mapped(victim, mount_point)
    ):
        time.sleep(0.01)
    print(victim, flush=True)
    sys.stdin.read()
    for pid in (server, victim):
        os.kill(pid, signal.SIGKILL)
    for pid in (server, victim):
        os.waitpid(pid, 0)


if __name__ == "__main__":
    if sys.argv[1].startswith("--"):
        map_over_arguments(sys.argv[1][2:], sys.argv[2])
    else:
        main(*sys.argv[1:])
