# SPDX-License-Identifier: MIT
"""A process whose arguments nobody can read: `hanging_args.py FORM FILE ARGUMENT`.

The process maps a file, of two pages at least, over pages of its own arguments, and
becomes an ordinary user; the server of that file never answers a read. ARGUMENT is five
pages long. In the form `page` nobody touches the page, and the process runs a program
at SIGUSR1. In the form `lock` a thread touches it, and holds the lock of the address
space meanwhile, since its first read failed; another thread waits to change the address
space, and readers queue up behind it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
PROT_READ, MAP_PRIVATE, MAP_FIXED = 1, 2, 16
PAGE = 4096
NOBODY = 65534


def page_of_arguments() -> int:
    """Return the address of the first page that has nothing but arguments."""
    with open("/proc/self/stat", encoding="ascii") as file:
        start = int(file.read().rpartition(")")[2].split()[45])
    return (start + PAGE) & ~(PAGE - 1)


def map_over_arguments(form: str, path: str) -> None:
    """Map a file over the arguments, in the given form, and stay."""
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


if __name__ == "__main__":
    map_over_arguments(*sys.argv[1:3])
