# SPDX-License-Identifier: MIT
"""Ways to make, name and remove files; each runs as `actions_file.py NAME DIRECTORY`.

What a child does is reported for the child: its pid is printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Callable

from support.ring import (
    OP_LINKAT,
    OP_OPENAT,
    OP_RENAMEAT,
    OP_UNLINKAT,
    Ring,
)

LIBC = ctypes.CDLL(None, use_errno=True)
OPENAT2 = 437
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x44000
RENAME_EXCHANGE = 2
NEW = os.O_CREAT | os.O_WRONLY


def make(name: str | bytes, flags: int = NEW, dir_fd: int | None = None) -> None:
    os.close(os.open(name, flags, 0o644, dir_fd=dir_fd))


def checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def in_child(act: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    print(pid, flush=True)
    assert os.waitpid(pid, 0)[1] == 0


def create() -> None:
    make("new")


def create_exclusively() -> None:
    make("new", NEW | os.O_EXCL)


def create_by_creat() -> None:
    os.close(checked(LIBC.creat(b"new", 0o644)))


def create_by_openat2() -> None:
    how = struct.pack("=QQQ", NEW, 0o644, 0)
    fd = LIBC.syscall(OPENAT2, AT_FDCWD, b"new", how, ctypes.c_size_t(len(how)))
    os.close(checked(fd))


def create_at_descriptor() -> None:
    os.mkdir("sub")
    make("new", dir_fd=os.open("sub", os.O_RDONLY | os.O_DIRECTORY))


def create_by_dots() -> None:
    os.mkdir("sub")
    os.chdir("sub")
    make(".././sub/../new")


def create_through_link() -> None:
    os.mkdir("sub")
    os.symlink("sub", "link")
    make("link/new")


def create_in_thread() -> None:
    thread = threading.Thread(target=make, args=("new",))
    thread.start()
    thread.join()


def create_in_child() -> None:
    in_child(lambda: make("new"))


def create_deep() -> None:
    for _ in range(60):
        os.mkdir("d")
        os.chdir("d")
    make("leaf")


def create_long() -> None:
    for number in range(14):
        name = f"{number:02}" + "x" * 248
        os.mkdir(name)
        os.chdir(name)
    make("leaf")


def create_invalid_utf8() -> None:
    make(b"new \xff\xfe")


def create_in_chroot() -> None:
    os.mkdir("jail")
    os.chroot("jail")
    os.chdir("/")
    make("/new")


def open_existing() -> None:
    for flags in (
        os.O_RDONLY,
        os.O_WRONLY | os.O_APPEND,
        NEW,
        NEW | os.O_TRUNC,
        os.O_WRONLY | os.O_TRUNC,
        os.O_PATH,
    ):
        make("old", flags)
    os.close(checked(LIBC.creat(b"old", 0o644)))


def fail_to_create() -> None:
    with contextlib.suppress(FileExistsError):
        make("old", NEW | os.O_EXCL)
    with contextlib.suppress(FileNotFoundError):
        make("missing/new")


def fail_to_open(call: Callable[[], int]) -> None:
    """Make a file that Landlock lets us make, but not open; landlock(7)."""
    make_regular, write_file = 1 << 8, 1 << 1
    handled = struct.pack("=Q", make_regular | write_file)
    rules = checked(LIBC.syscall(444, handled, len(handled), 0))
    here = struct.pack("=Qi", make_regular, os.open(".", os.O_PATH))
    checked(LIBC.syscall(445, rules, 1, here, 0))
    checked(LIBC.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    checked(LIBC.syscall(446, rules, 0))
    with contextlib.suppress(PermissionError):
        os.close(checked(call()))
        raise AssertionError("Landlock let us write")
    os.close(os.open("old", os.O_RDONLY))
    os.mknod("next", stat.S_IFREG | 0o600)


def fail_to_open_what_open_made() -> None:
    fail_to_open(lambda: int(LIBC.syscall(2, b"new", NEW, 0o600)))


def fail_to_open_what_openat_made() -> None:
    fail_to_open(lambda: int(LIBC.openat(AT_FDCWD, b"new", NEW, 0o600)))


def fail_to_open_what_openat2_made() -> None:
    how = struct.pack("=QQQ", NEW, 0o600, 0)
    fail_to_open(lambda: int(LIBC.syscall(OPENAT2, AT_FDCWD, b"new", how, 24)))


def fail_to_open_what_ring_made() -> None:
    """The ring has no table for the file that it has opened."""
    with Ring() as ring:
        ring.name(OP_OPENAT, b"new", flags=NEW, slot=1)
        assert ring.wait()[0] < 0
    make("next")


def fail_to_open_what_creat_made() -> None:
    fail_to_open(lambda: int(LIBC.creat(b"new", 0o600)))


def make_other_kinds() -> None:
    os.mkdir("directory")
    os.mkfifo("pipe")
    os.symlink("nowhere", "link")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    os.memfd_create("memory")
    os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY))
    os.rename("directory", "moved")
    os.link("link", "link2", follow_symlinks=False)


def mknod_regular() -> None:
    os.mknod("new", stat.S_IFREG | 0o600)


def mknod_without_type() -> None:
    checked(LIBC.mknodat(AT_FDCWD, b"new", 0o600, 0))


def link_unnamed() -> None:
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600)
    source = f"/proc/self/fd/{fd}".encode()
    checked(LIBC.linkat(AT_FDCWD, source, AT_FDCWD, b"new", AT_SYMLINK_FOLLOW))


def link() -> None:
    os.link("old", "new")


def rename() -> None:
    os.rename("old", "new")


def rename_at_descriptors() -> None:
    os.mkdir("sub")
    sub = os.open("sub", os.O_RDONLY | os.O_DIRECTORY)
    os.rename("old", "new", dst_dir_fd=sub)


def rename_over() -> None:
    os.rename("old", "old2")


def rename_exchange() -> None:
    checked(LIBC.renameat2(AT_FDCWD, b"old", AT_FDCWD, b"old2", RENAME_EXCHANGE))


def exchange(first: str, second: str) -> None:
    names = first.encode(), second.encode()
    checked(LIBC.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE))


def hide(give_name: Callable[[str, str], None]) -> None:
    """Give names to new files, which lead to directories a moment later."""
    for number in range(40):
        make(f"x{number}")
        os.mkdir(f"d{number}")
        give_name(f"x{number}", f"T{number}")
        exchange(f"T{number}", f"d{number}")


def hide_by_rename() -> None:
    hide(os.rename)


def hide_by_link() -> None:
    hide(os.link)


def hide_by_ring(operation: int) -> None:
    with Ring() as ring:

        def give_name(old: str, new: str) -> None:
            ring.name(operation, old.encode(), new.encode())
            assert ring.wait()[0] == 0

        hide(give_name)


def hide_by_ring_rename() -> None:
    hide_by_ring(OP_RENAMEAT)


def hide_by_ring_link() -> None:
    hide_by_ring(OP_LINKAT)


def make_kinds() -> None:
    os.mkdir("directory")
    os.mkfifo("pipe")
    os.symlink("nowhere", "symlink")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")


KINDS = ("directory", "pipe", "symlink", "socket")


def rename_other_kinds() -> None:
    make_kinds()
    os.mkdir("sub")
    for kind in KINDS:
        os.rename(kind, os.path.abspath(f"{kind}2"))
        os.rename(f"{kind}2", f"sub/{kind}")
    os.mkdir("empty")
    os.rename("sub/directory", "empty")


def link_other_kinds() -> None:
    make_kinds()
    for kind in KINDS[1:]:
        os.link(kind, f"{kind}2", follow_symlinks=False)


def name_other_kinds_by_ring() -> None:
    make_kinds()
    with Ring() as ring:
        for kind in KINDS:
            ring.name(OP_RENAMEAT, kind.encode(), f"{kind}2".encode())
            assert ring.wait()[0] == 0
        for kind in KINDS[1:]:
            ring.name(OP_LINKAT, f"{kind}2".encode(), kind.encode())
            assert ring.wait()[0] == 0


def rename_directories() -> None:
    for number in range(50):
        os.mkdir(f"d{number}")
        os.rename(f"d{number}", os.path.abspath(f"D{number}"))


def rename_file_over_pipe() -> None:
    os.mkfifo("pipe")
    os.rename("old", "pipe")


def rename_after_failures() -> None:
    """Calls that fail, or exchange, leave nothing behind that the next believes."""
    for kind in ("directory", "other"):
        os.mkdir(kind)
    os.mkdir("other/full")
    exchange("directory", "other")
    for name in ("missing", "directory/full"):
        with contextlib.suppress(OSError):
            os.rename(name, "other/full/x/y")
    os.rename("old", "new")
    os.rename("directory", "moved")


def unlink() -> None:
    os.unlink("old")


def unlink_absolute() -> None:
    os.unlink(os.path.abspath("old"))


def unlink_at_descriptor() -> None:
    os.unlink("old", dir_fd=os.open(".", os.O_RDONLY | os.O_DIRECTORY))


def unlink_at_wide_cwd() -> None:
    cwd = ctypes.c_long(AT_FDCWD)
    number = {"x86_64": 263, "aarch64": 35}[os.uname().machine]
    checked(LIBC.syscall(number, cwd, b"old", 0))


def unlink_through_link() -> None:
    os.mkdir("sub")
    make("sub/new")
    os.symlink("sub", "link")
    os.unlink("link/new")


def unlink_behind_link_and_dots() -> None:
    os.makedirs("a/b")
    os.symlink("a/b", "link")
    make("a/new")
    os.unlink("link/../new")


def unlink_in_gone_directory() -> None:
    os.mkdir("sub")
    make("sub/new")
    os.unlink("sub/new")
    os.rmdir("sub")


def unlink_hard_links() -> None:
    os.unlink("linked")
    os.unlink("old")


def unlink_while_open() -> None:
    fd = os.open("old", os.O_WRONLY)
    os.unlink("old")
    os.write(fd, b"x")


def unlink_executable() -> None:
    os.unlink("program")


def unlink_other_kinds() -> None:
    os.mkfifo("pipe")
    os.symlink("nowhere", "link")
    os.unlink("pipe")
    os.unlink("link")


def unlink_nothing() -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink("missing")
    with contextlib.suppress(IsADirectoryError):
        os.unlink(".")
    os.mkdir("sub")
    os.rmdir("sub")
    os.mkdir("sub")
    os.rmdir("sub", dir_fd=os.open(".", os.O_RDONLY | os.O_DIRECTORY))


def unlink_in_chroot() -> None:
    os.mkdir("jail")
    os.mkdir("jail/sub")
    os.symlink("/sub", "jail/link")
    make("jail/sub/new")
    os.chroot("jail")
    os.chdir("/")
    os.unlink("/link/new")


def mount_namespace() -> None:
    os.mkdir("mnt")
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
    checked(LIBC.mount(b"none", b"mnt", b"tmpfs", 0, None))
    os.mkdir("mnt/sub")
    make("mnt/sub/new")
    os.rename("mnt/sub/new", "mnt/sub/newer")
    os.unlink(os.path.abspath("mnt/sub/newer"))


def mount_overlay() -> None:
    """Make an overlay of a file in the lower and one in the upper layer."""
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    for name in ("lower/low", "upper/up"):
        make(name)
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
    layers = b"lowerdir=lower,upperdir=upper,workdir=work"
    checked(LIBC.mount(b"none", b"merged", b"overlay", 0, layers))


def overlay() -> None:
    """Remove a file of the upper and one of the lower layer."""
    mount_overlay()
    os.unlink("merged/low")
    os.unlink(os.path.abspath("merged/up"))


def rename_in_overlay() -> None:
    mount_overlay()
    os.mkdir("merged/sub")
    os.rename("merged/sub", "merged/sub2")
    os.rename("merged/low", "merged/low2")
    os.rename("merged/up", "merged/up2")
    os.link("merged/up2", "merged/up3")


def burst() -> None:
    for number in range(200):
        make(f"burst{number}")
        os.unlink(f"burst{number}")


def call_32(number: int, *arguments: int) -> int:
    """Make a system call through `int 0x80`: the 32-bit interface of x86."""
    memory = 0x10000000
    LIBC.mmap.restype = ctypes.c_void_p
    # push rbx; mov eax,edi; mov ebx,esi; xchg ecx,edx; int 0x80; pop rbx; cdqe; ret
    code = bytes.fromhex("53 89f8 89f3 87ca cd80 5b 4898 c3")
    LIBC.mmap(ctypes.c_void_p(memory), 4096, 7, 0x32, -1, 0)
    ctypes.memmove(memory, code, len(code))
    call = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 4)(memory)
    return int(call(number, *arguments))


def string_32(text: bytes) -> int:
    memory = 0x10001000
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap(ctypes.c_void_p(memory), 4096, 3, 0x32, -1, 0)
    ctypes.memmove(memory, text + b"\0", len(text) + 1)
    return memory


def compat_calls() -> None:
    name = string_32(b"new")
    fd = call_32(8, name, 0o644, 0)  # creat
    assert fd >= 0, fd
    assert call_32(10, name, 0, 0) == 0  # unlink


def create_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_OPENAT, b"new", flags=NEW)
        assert ring.wait()[0] >= 0
        ring.name(OP_OPENAT, b"old", flags=NEW)
        assert ring.wait()[0] >= 0
        ring.name(OP_OPENAT, b"missing/new", flags=NEW)
        assert ring.wait()[0] < 0


def create_by_ring_into_its_table() -> None:
    with Ring() as ring:
        ring.make_table(4)
        ring.name(OP_OPENAT, b"new", flags=NEW, slot=3)
        assert ring.wait()[0] == 0


def rename_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_RENAMEAT, b"old", b"new")
        assert ring.wait()[0] == 0
        ring.name(OP_RENAMEAT, b"missing", b"newer")
        assert ring.wait()[0] < 0


def link_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_LINKAT, b"old", b"new")
        assert ring.wait()[0] == 0


def unlink_by_ring() -> None:
    with Ring() as ring:
        ring.name(OP_UNLINKAT, b"old")
        assert ring.wait()[0] == 0
        ring.name(OP_UNLINKAT, b"old")
        assert ring.wait()[0] < 0


def open_device() -> None:
    make("/dev/loop0", os.O_RDONLY)
    make("/dev/loop0", os.O_PATH)
    make("/dev/zero", os.O_RDONLY)


def rewrite_while_unlinking() -> None:
    """Change the path as the call runs: it must not be reported for the other name."""
    buffer = ctypes.create_string_buffer(b"old" + bytes(8))
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            ctypes.memmove(buffer, b"bad", 3)
            ctypes.memmove(buffer, b"old", 3)

    thread = threading.Thread(target=rewrite)
    thread.start()
    for _ in range(300):
        while LIBC.unlink(buffer) != 0:
            pass
        make("old")
    stop.set()
    thread.join()


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    globals()[sys.argv[1]]()
