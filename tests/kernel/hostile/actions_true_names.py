# SPDX-License-Identifier: MIT
"""Names that others change while a call runs; `actions_true_names.py NAME DIRECTORY N`.

Each action writes the file `truth` into its directory: a line for each name that a call
gave or took, with the call and the path to which the name really belonged.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_BIND, MS_REC_PRIVATE = 0x20000, 0x1000, 0x44000
RENAME_EXCHANGE = 2
AT_FDCWD = -100
REGULAR = stat.S_IFREG | 0o600

#: What gives or takes the name in a buffer; the file `source` is there each time.
CALLS: dict[str, Callable[[object], int]] = {
    "rename": lambda name: int(LIBC.rename(b"source", name)),
    "link": lambda name: int(LIBC.link(b"source", name)),
    "mknod": lambda name: int(LIBC.mknod(name, REGULAR, 0)),
    "unlink": lambda name: int(LIBC.unlink(name)),
}


def make(name: str) -> None:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))


@contextmanager
def beside(act: Callable[[], None]) -> Iterator[None]:
    """Do something all the time, on another processor where there is one."""
    pid = os.fork()
    while not pid:
        act()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def race(rounds: int) -> None:
    """Two others rewrite a letter of the name and turn the link in the path."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    name = (ctypes.c_char * 64).from_buffer(memory)

    def rewrite() -> None:
        for _ in range(1000):
            memory[3] = ord("A")
            memory[3] = ord("B")

    def turn() -> None:
        for target in ("da", "db"):
            os.symlink(target, "turned")
            os.rename("turned", "dl")

    for each in ("da", "db"):
        os.mkdir(each)
    os.symlink("da", "dl")
    with beside(rewrite), beside(turn), open("truth", "w") as truth:
        for number, what in product(range(rounds), CALLS):
            truth.write(f"{what} {called(what, f'{what}{number}', name)}\n")


def called(what: str, leaf: str, name: ctypes.Array[ctypes.c_char]) -> str:
    """Make one call with a name that changes; return the path that it gave or took."""
    places = {f"{d}/{c}{leaf}" for d in ("da", "db") for c in "AB"}
    make("source")
    if what == "unlink":
        for each in places:
            os.mknod(each, REGULAR)
    name.value = f"dl/A{leaf}".encode()
    assert CALLS[what](name) == 0
    there = {each for each in places if os.path.exists(each)}
    (place,) = places - there if what == "unlink" else there
    return place


def two_mounts(rounds: int) -> None:
    """Calls come to one directory through two mounts by turns."""
    for each in ("real", "a", "b"):
        os.mkdir(each)
    assert LIBC.unshare(CLONE_NEWNS) == 0
    assert LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None) == 0
    for each in ("a", "b"):
        assert LIBC.mount(b"real", each.encode(), None, MS_BIND, None) == 0
    with open("truth", "w") as truth:
        for number, (what, call) in product(range(rounds), CALLS.items()):
            mount = "ab"[(number >> (what == "link")) & 1]
            place = f"{mount}/{what}{number}"
            make(f"{mount}/source")
            if what == "unlink":
                os.mknod(place, REGULAR)
            os.chdir(mount)
            assert call(f"../{place}".encode()) == 0
            os.chdir("..")
            truth.write(f"{what} {place}\n")


def exchange() -> None:
    """Each regular file gets a name to which none led."""
    make("x")
    make("y")
    os.mkfifo("pipe")
    os.mkdir("sub")
    make("sub/z")
    for one, other in (("x", "pipe"), ("y", "sub/z"), ("x", "sub")):
        flags = RENAME_EXCHANGE
        names = one.encode(), other.encode()
        assert LIBC.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], flags) == 0


if __name__ == "__main__":
    os.chdir(Path(sys.argv[2]))
    if sys.argv[1] == "exchange":
        exchange()
    else:
        globals()[sys.argv[1]](int(os.environ.get("ROUNDS", "400")))
