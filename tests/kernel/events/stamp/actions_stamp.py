# SPDX-License-Identifier: MIT
"""Ways to put the time of a file back; runs all of them in the directory given.

Each way runs in a child with a directory of its own, where somebody else has made the
file "file". A line of the output is the name of a way and the id of its process, or
"unable" where the machine does not let it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
import time
from pathlib import Path

from support.ring import OP_OPENAT, Ring
from support.ways import (
    ANONYMOUS,
    EXEC,
    LIBC,
    LOW,
    PAGE,
    PRIVATE,
    READ,
    UNABLE,
    WAYS,
    WRITE,
    overlay,
    take,
    tool,
    way,
)

YEAR_2001 = 1_000_000_000
UTIME, UTIMES, FUTIMESAT, UTIMENSAT = 132, 235, 261, 280
UTIMENSAT_TIME64_32 = 412
AT_FDCWD, OMIT = -100, (1 << 30) - 2


def old(name: str = "file") -> str:
    """Have another process make a file; return its whole path."""
    child = os.fork()
    if not child:
        Path(name).write_bytes(b"text\n")
        os._exit(0)
    os.waitpid(child, 0)
    return os.path.abspath(name)


@way
def by_path() -> None:
    os.utime(old(), (YEAR_2001, YEAR_2001))


@way
def by_relative_name() -> None:
    os.mkdir("folder")
    old()
    os.chdir("folder")
    os.utime("../folder/../file", (YEAR_2001, YEAR_2001))


@way
def by_descriptor() -> None:
    fd = os.open(old(), os.O_RDONLY)
    os.utime(fd, (YEAR_2001, YEAR_2001))


@way
def in_a_folder() -> None:
    old()
    fd = os.open(".", os.O_RDONLY)
    os.utime("file", (YEAR_2001, YEAR_2001), dir_fd=fd)


@way
def by_utime() -> None:
    times = struct.pack("=qq", YEAR_2001, YEAR_2001)
    assert LIBC.syscall(UTIME, old().encode(), times) == 0


@way
def by_utimes() -> None:
    times = struct.pack("=4q", YEAR_2001, 0, YEAR_2001, 0)
    assert LIBC.syscall(UTIMES, old().encode(), times) == 0


@way
def by_futimesat() -> None:
    old()
    times = struct.pack("=4q", YEAR_2001, 0, YEAR_2001, 0)
    assert LIBC.syscall(FUTIMESAT, AT_FDCWD, b"file", times) == 0


@way
def by_32_bit_call() -> None:
    old()
    low = LIBC.mmap(None, PAGE, READ | WRITE, PRIVATE | ANONYMOUS | LOW, -1, 0)
    ctypes.memmove(low, b"file\0", 5)
    times = struct.pack("=4q", YEAR_2001, 0, YEAR_2001, 0)
    ctypes.memmove(low + 64, times, len(times))
    code = bytes.fromhex(
        "53 57 8b07 8b5f04 8b4f08 8b570c 8b7710 8b7f14 cd80 5f 5b 4898 c3"
    )
    page = LIBC.mmap(None, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, -1, 0)
    ctypes.memmove(page, code, len(code))
    here = AT_FDCWD & 0xFFFFFFFF
    row = struct.pack("=6I", UTIMENSAT_TIME64_32, here, low, low + 64, 0, 0)
    if ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_char_p)(page)(row):
        os._exit(UNABLE)


@way
def by_touch() -> None:
    path = old()
    os.execvp("touch", ["touch", "-d", "2001-09-09 01:46:40 UTC", path])


@way
def as_another_file() -> None:
    """As `touch -r` does with a program of the system."""
    path = old()
    os.execvp("touch", ["touch", "-r", "/bin/true", path])


@way
def before_it_was_made() -> None:
    """An hour ago: that is before the file was made, though no day ago."""
    hour_ago = time.time() - 3600
    os.utime(old(), (hour_ago, hour_ago))


@way
def in_shared_memory() -> None:
    path = f"/dev/shm/stamp-{os.getpid()}"
    old(path)
    try:
        os.utime(path, (YEAR_2001, YEAR_2001))
    finally:
        os.unlink(path)


@way
def in_overlay() -> None:
    overlay()
    old("merged/file")
    os.utime("merged/file", (YEAR_2001, YEAR_2001))


@way
def twice() -> None:
    path = old()
    os.utime(path, (YEAR_2001, YEAR_2001))
    os.utime(path, (YEAR_2001, YEAR_2001 + 1))


# --- near misses


@way
def touched() -> None:
    path = old()
    os.utime(path)
    os.execvp("touch", ["touch", path])


@way
def later_on_the_same_day() -> None:
    """A time after its birth, as one who edits a file restores it."""
    path = old()
    now = time.time() + 2
    os.utime(path, (now, now))


@way
def time_of_reading_alone() -> None:
    times = struct.pack("=4q", YEAR_2001, 0, 0, OMIT)
    assert LIBC.syscall(UTIMENSAT, AT_FDCWD, old().encode(), times, 0) == 0


@way
def own_file() -> None:
    Path("own").write_bytes(b"text\n")
    os.utime("own", (YEAR_2001, YEAR_2001))


@way
def own_file_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_OPENAT, b"own", flags=os.O_CREAT | os.O_RDWR)
        fd = ring.wait()[0]
        assert fd >= 0
    os.utime(fd, (YEAR_2001, YEAR_2001))


@way
def own_file_without_a_name() -> None:
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # not on each file system
        os._exit(UNABLE)
    os.utime(fd, (YEAR_2001, YEAR_2001))


@way
def folder() -> None:
    os.mkdir("folder")
    os.utime("folder", (YEAR_2001, YEAR_2001))


@way
def refused() -> None:
    path = old()
    for each in ("nothing", f"{path}/x"):
        try:
            os.utime(each, (YEAR_2001, YEAR_2001))
        except OSError:
            continue
        raise AssertionError(each)


@way
def copied() -> None:
    shutil.copytree("/etc/apt", "apt", dirs_exist_ok=True)
    tool("cp", "-a", "/etc/apt", "copy")


@way
def unpacked() -> None:
    tool("tar", "-C", "/etc", "-cf", "all.tar", "apt")
    tool("tar", "-xf", "all.tar")


@way
def synchronized() -> None:
    tool("rsync", "-a", "/etc/apt", "copy")


@way
def checked_out() -> None:
    tool("git", "init", "-q", "one")
    Path("one/file").write_text("text\n", encoding="ascii")
    who = ("-c", "user.name=a", "-c", "user.email=a@a.test")
    tool("git", "-C", "one", "add", ".")
    tool("git", "-C", "one", *who, "commit", "-q", "-m", "all")
    tool("git", "clone", "-q", "one", "two")


@way
def installed_by_dpkg() -> None:
    os.makedirs("package/DEBIAN")
    os.makedirs("package/opt")
    text = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@a.test>\n"
    Path("package/DEBIAN/control").write_text(f"{text}Description: a\n")
    Path("package/opt/file").write_text("text\n", encoding="ascii")
    os.utime("package/opt/file", (YEAR_2001, YEAR_2001))
    tool("dpkg-deb", "--build", "package", "a.deb")
    tool("dpkg-deb", "-x", "a.deb", "root")


# --- what is not seen


@way
def unseen_by_a_copy() -> None:
    path = old()
    shutil.copy(path, "copy")
    os.utime("copy", (YEAR_2001, YEAR_2001))
    os.rename("copy", path)


if __name__ == "__main__":
    for each, function in WAYS.items():
        take(each, function, sys.argv[1])
