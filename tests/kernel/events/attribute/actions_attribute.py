# SPDX-License-Identifier: MIT
"""Ways to set extended attributes; runs all of them in the directory given.

Each way runs in a child with a directory of its own, where it makes the file "file". A
line of the output is the name of a way and the id of its process, or "unable" where the
machine does not let it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from support.ring import Ring
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
    way,
)

VALUE = b"where it came from"
FSETXATTR_32, SETXATTRAT, OP_FSETXATTR = 228, 463, 41
AT_EMPTY_PATH = 0x1000
#: cap_net_raw=ep, and cap_setuid=i of a user namespace whose root is 1000.
NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
OF_NAMESPACE = struct.pack("<IIIIII", 0x03000000, 0, 1 << 7, 0, 0, 1000)
HOSTILE = 'user.<a>&"\\\n\x01'
TIMES = 200


def made(name: str = "file") -> str:
    """Return the whole path of a new file."""
    Path(name).write_bytes(b"text\n")
    return os.path.abspath(name)


@way
def by_path() -> None:
    os.setxattr(made(), "user.note", VALUE)


@way
def by_relative_name() -> None:
    os.mkdir("folder")
    made("folder/file")
    os.chdir("folder")
    os.setxattr("../folder/./file", "user.note", VALUE)


@way
def by_descriptor() -> None:
    with open(made(), "rb") as file:
        os.setxattr(file.fileno(), "user.note", VALUE)


@way
def of_a_link() -> None:
    os.symlink(made(), "link")
    os.setxattr("link", "trusted.note", VALUE, follow_symlinks=False)


@way
def of_a_folder() -> None:
    os.mkdir("folder")
    os.setxattr(os.path.abspath("folder"), "user.note", VALUE)


def set_at(path: bytes, directory: int, flags: int) -> None:
    value = ctypes.create_string_buffer(VALUE, len(VALUE))
    given = struct.pack("=QII", ctypes.addressof(value), len(VALUE), 0)
    size = ctypes.c_size_t(len(given))
    if LIBC.syscall(SETXATTRAT, directory, path, flags, b"user.note", given, size):
        os._exit(UNABLE)  # since Linux 6.13


@way
def at_a_folder() -> None:
    made()
    set_at(b"file", os.open(".", os.O_RDONLY), 0)


@way
def at_a_descriptor() -> None:
    set_at(b"", os.open(made(), os.O_RDONLY), AT_EMPTY_PATH)


@way
def by_32_bit_call() -> None:
    fd = os.open(made(), os.O_RDONLY)
    low = LIBC.mmap(None, PAGE, READ | WRITE, PRIVATE | ANONYMOUS | LOW, -1, 0)
    ctypes.memmove(low, b"user.note\0", 10)
    ctypes.memmove(low + 64, VALUE, len(VALUE))
    code = "53 57 8b07 8b5f04 8b4f08 8b570c 8b7710 8b7f14 cd80 5f 5b 4898 c3"
    page = LIBC.mmap(None, PAGE, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, -1, 0)
    ctypes.memmove(page, bytes.fromhex(code), len(bytes.fromhex(code)))
    row = struct.pack("=6I", FSETXATTR_32, fd, low, low + 64, len(VALUE), 0)
    if ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_char_p)(page)(row):
        os._exit(UNABLE)


@way
def capability() -> None:
    os.setxattr(made(), "security.capability", NET_RAW)


@way
def capability_of_namespace() -> None:
    os.setxattr(made(), "security.capability", OF_NAMESPACE)


@way
def capability_by_setcap() -> None:
    program = shutil.which("setcap", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        os._exit(UNABLE)
    os.execv(program, ["setcap", "cap_net_raw+ep", made()])


@way
def trusted() -> None:
    os.setxattr(made(), "trusted.note", VALUE)


@way
def binary() -> None:
    os.setxattr(made(), "user.note", b"\0\xff\n")


@way
def longest_that_is_told() -> None:
    os.setxattr(made(), "user.note", b"a" * 1024)


@way
def longer() -> None:
    os.setxattr(made(), "user.note", b"a" * 1025)


@way
def empty() -> None:
    os.setxattr(made(), "user.note", b"")


@way
def hostile_name() -> None:
    os.setxattr(made(), HOSTILE, VALUE)


@way
def in_shared_memory() -> None:
    path = f"/dev/shm/attribute-{os.getpid()}"
    made(path)
    try:
        os.setxattr(path, "trusted.note", VALUE)
    finally:
        os.unlink(path)


@way
def in_overlay() -> None:
    os.mkdir("lower")
    made("lower/file")
    overlay()
    os.setxattr("merged/file", "user.note", VALUE)


@way
def by_racing_threads() -> None:
    """Set an attribute whose name another thread changes all the time."""
    path, over = made(), threading.Event()
    names = [b"user.note\0", b"user.none\0"]
    name = ctypes.create_string_buffer(names[0], 10)

    def change() -> None:
        while not over.is_set():
            for each in names:
                ctypes.memmove(name, each, len(each))

    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(TIMES):
        done = LIBC.setxattr(path.encode(), name, VALUE, len(VALUE), 0)
        assert done == 0
    over.set()
    thread.join()


# --- near misses


@way
def read_alone() -> None:
    with suppress(OSError):
        os.getxattr(made(), "user.note")
    os.listxattr("file")


@way
def removed() -> None:
    path = made()
    child = os.fork()
    if not child:
        os.setxattr(path, "user.note", VALUE)
        os._exit(0)
    os.waitpid(child, 0)
    os.removexattr(path, "user.note")


@way
def refused() -> None:
    for name, flags in (("user.note", os.XATTR_REPLACE), ("nonsense", 0)):
        try:
            os.setxattr(made(), name, VALUE, flags)
        except OSError:
            continue
        raise AssertionError(name)


@way
def label() -> None:
    try:
        os.setxattr(made(), "security.selinux", b"system_u:object_r:tmp_t\0")
    except OSError:
        os._exit(UNABLE)


@way
def access_list() -> None:
    rows = [(1, 6, -1), (2, 4, 12), (4, 4, -1), (16, 4, -1), (32, 4, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in rows)
    try:
        os.setxattr(made(), "system.posix_acl_access", value)
    except OSError:
        os._exit(UNABLE)


@way
def copied_up_in_overlay() -> None:
    os.mkdir("lower")
    made("lower/file")
    overlay()
    with open("merged/file", "ab") as file:
        file.write(b"more")


@way
def copied_without_any() -> None:
    made()
    subprocess.run(["cp", "-a", "file", "copy"], check=True)


# --- what is not seen


@way
def unseen_by_ring() -> None:
    name = ctypes.create_string_buffer(b"user.note")
    value = ctypes.create_string_buffer(VALUE, len(VALUE))
    fd = os.open(made(), os.O_RDWR)
    where = ctypes.addressof(value), ctypes.addressof(name)
    with Ring() as ring:
        ring._submit(struct.pack("=BBHiQQII", OP_FSETXATTR, 0, 0, fd, *where, 18, 0))
        if ring.wait()[0]:
            os._exit(UNABLE)
    assert os.getxattr(fd, "user.note") == VALUE


if __name__ == "__main__":
    for each, function in WAYS.items():
        take(each, function, sys.argv[1])
