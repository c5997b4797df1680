# SPDX-License-Identifier: MIT
"""Processes that change many files; runs all ways in the directory given.

Each way runs in a child with a directory of its own. A line of the output is the name
of a way and the id of its process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import sqlite3
import sys
import threading
from pathlib import Path

from support.ring import OP_OPENAT, OP_RENAMEAT, Ring
from support.ways import WAYS, overlay, take, tool, way

MANY, FEW = 100, 49
KEY = bytes(range(256))


def files(count: int = MANY, folder: str = ".") -> list[str]:
    """Have another process make old files of some text; return their names."""
    names = [f"{folder}/file{number}.txt" for number in range(count)]
    pid = os.fork()
    if pid == 0:
        for name in names:
            Path(name).write_bytes(b"text of somebody\n" * 16)
            os.utime(name, (1e9, 1e9))  # a write in the same tick leaves no trace
        os._exit(0)
    os.waitpid(pid, 0)
    return names


def encrypt(name: str) -> None:
    """Encrypt a file in its place, then give it another name."""
    with open(name, "r+b") as file:
        data = file.read()
        file.seek(0)
        file.write(bytes(a ^ b for a, b in zip(data, KEY * 2, strict=False)))
    os.rename(name, f"{name}.locked")


@way
def encryptor() -> None:
    for name in files():
        encrypt(name)


@way
def encryptor_of_just_enough() -> None:
    for name in files(50):
        encrypt(name)


@way
def encryptor_that_goes_on() -> None:
    for name in files(2 * MANY):
        encrypt(name)


@way
def encryptor_of_two_passes() -> None:
    names = files()
    for name in names:
        with open(name, "r+b") as file:
            file.write(KEY)
    for name in names:
        os.rename(name, f"{name}.locked")


@way
def encryptor_of_threads() -> None:
    names = files()

    def some(rest: int) -> None:
        for name in names[rest::4]:
            encrypt(name)

    threads = [threading.Thread(target=some, args=(rest,)) for rest in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


@way
def encryptor_that_empties() -> None:
    for name in files():
        data = Path(name).read_bytes()
        Path(name).write_bytes(bytes(reversed(data)))
        os.rename(name, f"{name}.locked")


@way
def encryptor_by_mapping() -> None:
    for name in files(60):
        with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:16] = KEY[:16]
        os.rename(name, f"{name}.locked")


@way
def shredder() -> None:
    for name in files():
        with open(name, "r+b") as file:
            file.write(bytes(272))
        os.unlink(name)


@way
def encryptor_by_ring() -> None:
    with Ring() as ring:
        for name in files(60):
            ring.name(OP_OPENAT, name.encode(), flags=os.O_RDWR)
            fd = ring.wait()[0]
            os.pwrite(fd, KEY, 0)
            os.close(fd)
            ring.name(OP_RENAMEAT, name.encode(), f"{name}.x".encode())
            assert ring.wait()[0] == 0


@way
def encryptor_in_overlay() -> None:
    os.mkdir("lower")
    files(60, "lower")
    overlay()
    for number in range(60):
        encrypt(f"merged/file{number}.txt")


@way
def encryptor_in_shared_memory() -> None:
    folder = f"/dev/shm/mass-change-{os.getpid()}"
    os.mkdir(folder)
    try:
        for name in files(60, folder):
            encrypt(name)
    finally:
        shutil.rmtree(folder)


# --- near misses


@way
def encryptor_of_few() -> None:
    for name in files(FEW):
        encrypt(name)


@way
def own_files() -> None:
    """Make files, write them once more, rename them and remove them."""
    for number in range(MANY):
        name = f"file{number}"
        Path(name).write_bytes(KEY)
        encrypt(name)
        os.unlink(f"{name}.locked")


@way
def opened_but_not_written() -> None:
    """Open each file for writing, as dpkg does to sync it, and rename it."""
    for name in files():
        os.close(os.open(name, os.O_WRONLY))
        os.rename(name, f"{name}.new")


@way
def one_log_that_is_turned() -> None:
    files(1)
    for _ in range(MANY):
        with open("file0.txt", "a", encoding="ascii") as file:
            file.write("line\n")
        os.rename("file0.txt", "file0.txt.1")
        os.rename("file0.txt.1", "file0.txt")


@way
def written_in_place() -> None:
    for name in files():
        with open(name, "r+b") as file:
            file.write(KEY)


@way
def moved_and_removed() -> None:
    for name in files():
        os.rename(name, f"{name}.old")
        os.unlink(f"{name}.old")


@way
def replaced_as_rsync_does() -> None:
    for name in files():
        temporary = f".{os.path.basename(name)}.Xy12"
        Path(temporary).write_bytes(KEY)
        os.rename(temporary, name)


@way
def edited_by_sed() -> None:
    tool("sed", "-i", "s/text/word/", *files())


@way
def packed_by_git() -> None:
    names = files()
    for number, name in enumerate(names):
        Path(name).write_text(f"{number}\n", encoding="ascii")
    who = ("-c", "user.name=a", "-c", "user.email=a@a.test")
    fast = ("-c", "core.fsync=none")
    tool("git", "init", "-q", ".")
    tool("git", *fast, "add", ".")
    tool("git", *fast, *who, "commit", "-q", "-m", "all")
    tool("git", *fast, "gc", "-q", "--prune=now")


@way
def compiled() -> None:
    sources = [f"unit{number}.c" for number in range(4)]
    for number, source in enumerate(sources):
        Path(source).write_text(f"int f{number}(void){{return 1;}}\n", encoding="ascii")
    for _ in range(2):
        tool("gcc", "-c", *sources)
        tool("ar", "rcs", "all.a", *(f"unit{number}.o" for number in range(4)))


@way
def database() -> None:
    with contextlib.closing(sqlite3.connect("base")) as base:
        base.execute("pragma synchronous=off")
        base.execute("create table t (a)")
        for number in range(MANY):
            base.execute("insert into t values (?)", (number,))
            base.commit()


# --- what is not seen


@way
def unseen_a_process_a_file() -> None:
    for name in files(60):
        pid = os.fork()
        if pid == 0:
            encrypt(name)
            os._exit(0)
        os.waitpid(pid, 0)


@way
def unseen_copy_and_remove() -> None:
    for name in files():
        data = Path(name).read_bytes()
        Path(f"{name}.locked").write_bytes(bytes(reversed(data)))
        os.unlink(name)


@way
def unseen_with_the_old_time() -> None:
    for name in files():
        known = os.stat(name)
        with open(name, "r+b") as file:
            file.write(KEY)
        os.utime(name, ns=(known.st_atime_ns, known.st_mtime_ns))
        os.rename(name, f"{name}.locked")


if __name__ == "__main__":
    for each, function in WAYS.items():
        take(each, function, sys.argv[1])
