# SPDX-License-Identifier: MIT
"""Calls and requests whose end is not told as usual, or that only seem to be done.

Each action runs as `actions_false_ends.py NAME DIRECTORY`. It fails when it did not
work. The pids of children whose events count are printed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kernel.events.access.actions_access import LIBC, spans, target
from kernel.events.file.actions_file import NEW, make
from kernel.events.network.connections import LOOPBACK
from support.ring import (
    ENTRIES,
    OP_ACCEPT,
    OP_LINKAT,
    OP_OPENAT,
    OP_RENAMEAT,
    OP_UNLINKAT,
    REGISTER,
    Ring,
    call,
)

CLONE_NEWNS, CLONE_NEWUSER, MS_BIND, REFUSED = 0x20000, 0x10000000, 0x1000, 77
OP_NOP = 0
OPEN_TREE, OPEN_TREE_CLONE, AT_FDCWD = 428, 1, -100
REGISTER_PERSONALITY = 9
PR_SET_KEEPCAPS, PR_SET_MM, PR_SET_MM_EXE_FILE = 8, 35, 13
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
SECCOMP, SET_MODE_FILTER, NEW_LISTENER = 317, 1, 8
RET_ALLOW, RET_ERRNO, RET_TRAP = 0x7FFF0000, 0x00050000, 0x00030000
RET_USER_NOTIF = 0x7FC00000
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
PTRACE, PRCTL, UNLINK, RENAME, LINK, MKNOD = 101, 157, 87, 82, 86, 133
PROCESS_VM_READV, PROCESS_VM_WRITEV, PIDFD_GETFD = 310, 311, 438
PTRACE_TRACEME, PTRACE_POKEDATA, PTRACE_CONT, PTRACE_ATTACH = 0, 5, 7, 16
PTRACE_SYSEMU, PTRACE_GETREGS, PTRACE_SETREGS = 31, 12, 13
RAX, ORIG_RAX, REGISTERS = 10, 15, 27
NOBODY = 65534
DEADLINE_S = 20.0
RING_ROUNDS = 40
ANSWER = 16
DATAGRAMS = 3


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the request was not carried out"
        time.sleep(0.002)


# --- io_uring


class FullRing(Ring):
    """A ring whose queue of completions is full."""

    def __init__(self) -> None:
        super().__init__()
        for _ in range(2 * ENTRIES):
            self._submit(struct.pack("=BBHi", OP_NOP, 0, 0, -1))


def files_beyond_queue() -> None:
    for name in ("x", "y", "z"):
        make(name)
    with FullRing() as ring:
        ring.name(OP_OPENAT, b"new", flags=NEW)
        wait_until(lambda: os.path.exists("new"))
        ring.name(OP_RENAMEAT, b"x", b"renamed")
        ring.name(OP_LINKAT, b"y", b"linked")
        wait_until(lambda: os.path.exists("renamed") and os.path.exists("linked"))
        ring.name(OP_UNLINKAT, b"z")
        wait_until(lambda: not os.path.exists("z"))
        time.sleep(0.02)


def many_beyond_queue() -> None:
    """Requests that look alike end in one go."""
    with FullRing() as ring:
        ring.make_table(RING_ROUNDS)
        for number in range(RING_ROUNDS):
            ring.name(OP_OPENAT, b"new%d" % number, flags=NEW, slot=number + 1)
        wait_until(lambda: len(os.listdir(".")) == RING_ROUNDS)
        time.sleep(0.02)


def failed_beyond_queue() -> None:
    """The ring has no table for the file that it has made, and no room to say so."""
    with FullRing() as ring:
        ring.name(OP_OPENAT, b"new", flags=NEW, slot=1)
        wait_until(lambda: os.path.exists("new"))
        time.sleep(0.02)


def device_beyond_queue() -> None:
    with FullRing() as ring:
        ring.name(OP_OPENAT, b"/dev/loop0", flags=os.O_RDONLY)
        wait_until(lambda: "/dev/loop0" in opened())


def opened() -> set[str]:
    return {
        os.readlink(f"/proc/self/fd/{each}")
        for each in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{each}")
    }


def read_late() -> None:
    """Completions that had no room are handed over later: they are no second event."""
    with FullRing() as ring:
        ring.name(OP_OPENAT, b"new", flags=NEW)
        wait_until(lambda: os.path.exists("new"))
        results = [ring.wait()[0] for _ in range(2 * ENTRIES + 1)]
    assert results[:-1] == [0] * 2 * ENTRIES
    assert results[-1] > 2


def with_rights_of_the_ring() -> None:
    """The ring's requests have rights that were registered, and others change links."""
    with Ring() as ring:
        personality = call(REGISTER, ring.fileno(), REGISTER_PERSONALITY, None, 0)
        assert LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0  # other rights from now on
        for each in ("da", "db"):
            os.mkdir(each)
        os.symlink("da", "dl")
        for number in range(RING_ROUNDS):
            make("source")
            ring.name(
                OP_RENAMEAT,
                b"source",
                b"dl/T%d" % number,
                personality=personality,
            )
            assert ring.wait()[0] == 0
            os.symlink("db", "turned")
            os.rename("turned", "dl")
            os.symlink("da", "turned")
            time.sleep(0.004)
            os.rename("turned", "dl")


def connected(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname())


def accepted_beyond_queue() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, FullRing() as ring:
        before = len(os.listdir("/proc/self/fd"))
        ring.accept(listener.fileno())
        one = connected(listener)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) >= before + 2)
        time.sleep(0.02)
        one.close()


def accepted_by_one_number() -> None:
    """Two requests have one number, and one of them ends."""
    first, second = (socket.create_server((LOOPBACK, 0)) for _ in range(2))
    with Ring() as ring:
        ring.accept(first.fileno(), multishot=True)
        ring.accept(second.fileno())
        kept = [connected(second)]
        assert ring.wait()[0] >= 0
        for _ in range(3):
            kept.append(connected(first))
            assert ring.wait()[0] >= 0


def accepted_among_many() -> None:
    """Another user has more requests to accept than are remembered."""
    listener = socket.create_server((LOOPBACK, 0))
    with Ring() as ring:
        ring.accept(listener.fileno(), multishot=True)
        pid = os.fork()
        if not pid:
            flood_of_accepts()
        assert os.waitpid(pid, 0)[1] == 0
        kept = [connected(listener) for _ in range(3)]
        for _ in kept:
            assert ring.wait()[0] >= 0


def flood_of_accepts() -> None:
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    listener = socket.create_server((LOOPBACK, 0))
    ring = Ring()
    for number in range(5000):
        head = struct.pack("=BBHiQQII", OP_ACCEPT, 0, 1, listener.fileno(), 0, 0, 0, 0)
        ring._submit(head + struct.pack("=QHHi", number, 0, 0, 0))
    os._exit(0)


# --- mounts


def tree_that_is_mounted_nowhere() -> None:
    """Names in it look as if they began at the root of the file system."""
    os.makedirs("tree/usr/bin")
    os.mkdir("tree/etc")
    shutil.copy("/bin/true", "tree/usr/bin/dpkg")
    tree = int(LIBC.syscall(OPEN_TREE, AT_FDCWD, b"tree", OPEN_TREE_CLONE))
    assert tree >= 0, os.strerror(ctypes.get_errno())
    os.close(os.open("etc/made", NEW, dir_fd=tree))
    os.rename("etc/made", "etc/renamed", src_dir_fd=tree, dst_dir_fd=tree)
    program = os.open("usr/bin/dpkg", os.O_RDONLY, dir_fd=tree)
    pid = os.fork()
    if not pid:
        os.execve(program, ["dpkg"], {})
    print(pid)
    assert os.waitpid(pid, 0)[1] == 0


def program_over_another() -> None:
    """A user mounts a program over one of the system, and runs it for a moment."""
    shutil.copy("/bin/sleep", "own")
    with open("own", "ab") as file:
        file.write(b"another hash")
    pid = os.fork()
    if not pid:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS):
            os._exit(REFUSED)
        assert LIBC.mount(b"own", b"/usr/bin/dpkg", None, MS_BIND, None) == 0
        os.execv("/usr/bin/dpkg", ["dpkg", "0.5"])
    print(pid)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, REFUSED)


# --- datagrams


def datagrams_among_many() -> None:
    """Datagrams wait, and another user has more of them wait than are remembered."""
    receiver = bound()
    senders = [bound() for _ in range(DATAGRAMS)]
    for each in senders:
        each.sendto(b"x", receiver.getsockname())
    pid = os.fork()
    if not pid:
        flood_of_datagrams()
    assert os.waitpid(pid, 0)[1] == 0
    for each in senders:
        assert receiver.recvfrom(9)[1] == each.getsockname()


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((LOOPBACK, 0))
    return made


def flood_of_datagrams() -> None:
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    senders = bound(), bound()
    kept = [bound() for _ in range(200)]
    for receiver in kept:
        for number in range(100):
            senders[number % 2].sendto(b"x", receiver.getsockname())
    os._exit(0)


# --- calls that somebody else answers


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("yes", ctypes.c_ubyte),
        ("no", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.POINTER(Instruction)))


def filtered(answer: int, *numbers: int) -> int:
    """Have these system calls answered by a filter; return its listener, if any."""
    words = [(0x20, 0, 0, 0)]
    for at, number in enumerate(numbers):
        words.append((0x15, len(numbers) - at, 0, number))
    words += [(0x06, 0, 0, RET_ALLOW), (0x06, 0, 0, answer)]
    array = (Instruction * len(words))(*(Instruction(*each) for each in words))
    program = Program(len(words), array)
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    flags = NEW_LISTENER if answer == RET_USER_NOTIF else 0
    made = LIBC.syscall(SECCOMP, SET_MODE_FILTER, flags, ctypes.byref(program))
    assert made >= 0, os.strerror(ctypes.get_errno())
    return int(made)


def names_by_filter() -> None:
    """A filter says that the calls have succeeded."""
    make("there")
    filtered(RET_ERRNO, UNLINK, RENAME, LINK, MKNOD)
    name = os.path.abspath("there").encode()
    assert LIBC.syscall(UNLINK, name) == 0
    assert LIBC.syscall(RENAME, b"other", b"/etc/cron.d/forged") == 0
    assert LIBC.syscall(LINK, b"other", b"/etc/cron.d/forged") == 0
    assert LIBC.syscall(MKNOD, b"/etc/cron.d/forged", 0o100600, 0) == 0
    assert os.path.exists("there")


def names_behind_filter() -> None:
    """The filter would answer other calls; these are carried out."""
    make("x")
    make("y")
    filtered(RET_ERRNO, MKNOD)
    assert LIBC.syscall(UNLINK, b"x") == 0
    assert LIBC.syscall(RENAME, b"y", b"z") == 0


SPANS: list[Any] = []


def of_stranger() -> Iterator[int]:
    """Yield a process of root, in a child of another user."""
    with target() as pid:
        here, there = spans(pid, "rw")
        SPANS[:] = [ctypes.pointer(here), 1, ctypes.pointer(there), 1]
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                yield pid
                status = 0
            finally:
                os._exit(status)
        print(child)
        assert os.waitpid(child, 0)[1] == 0


def reach_by_filter() -> None:
    """A filter says that a process of root was traced, written to, and read."""
    for pid in of_stranger():
        pidfd = os.pidfd_open(pid)
        signal.signal(signal.SIGSYS, lambda *_: None)
        filtered(RET_TRAP, PROCESS_VM_READV, PROCESS_VM_WRITEV)
        filtered(RET_ERRNO, PTRACE, PIDFD_GETFD)
        assert LIBC.syscall(PTRACE, PTRACE_ATTACH, pid, 0, 0) == 0
        assert LIBC.syscall(PTRACE, PTRACE_POKEDATA, pid, 4096, 0) == 0
        assert LIBC.syscall(PIDFD_GETFD, pidfd, 0, 0) == 0
        for number in (PROCESS_VM_READV, PROCESS_VM_WRITEV):
            assert LIBC.syscall(number, pid, *SPANS, 0) == number


def reach_by_listener() -> None:
    """Another thread says that a process of root was written to."""
    for pid in of_stranger():
        reader, writer = os.pipe()
        thread = threading.Thread(target=answer_by_listener, args=(reader,))
        thread.start()
        os.write(writer, bytes([filtered(RET_USER_NOTIF, PROCESS_VM_WRITEV)]))
        assert LIBC.syscall(PROCESS_VM_WRITEV, pid, *SPANS, 0) == ANSWER
        thread.join()


def answer_by_listener(reader: int) -> None:
    """Answer one call; the descriptor to do that with comes out of a pipe."""
    (listener,) = os.read(reader, 1)
    asked = ctypes.create_string_buffer(80)
    assert LIBC.ioctl(listener, NOTIF_RECV, asked) == 0
    said = asked.raw[:8] + struct.pack("=qiI", ANSWER, 0, 0)
    assert LIBC.ioctl(listener, NOTIF_SEND, said) == 0


def image_by_filter() -> None:
    filtered(RET_ERRNO, PRCTL)
    assert LIBC.syscall(PRCTL, PR_SET_MM, PR_SET_MM_EXE_FILE, 0, 0, 0) == 0


def name_by_tracer() -> None:
    """A tracer says that a file was removed (PTRACE_SYSEMU)."""
    make("there")
    name = os.path.abspath("there").encode()
    child = os.fork()
    if not child:
        arguments = UNLINK, name
        pid = os.getpid()
        LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0)
        LIBC.kill(pid, signal.SIGSTOP)
        result = LIBC.syscall(*arguments)
        os._exit(result != 0)
    print(child)
    os.waitpid(child, 0)
    words = (ctypes.c_ulong * REGISTERS)()
    assert LIBC.ptrace(PTRACE_SYSEMU, child, 0, 0) == 0
    os.waitpid(child, 0)
    assert LIBC.ptrace(PTRACE_GETREGS, child, 0, words) == 0
    assert words[ORIG_RAX] == UNLINK, words[ORIG_RAX]
    words[RAX] = 0
    assert LIBC.ptrace(PTRACE_SETREGS, child, 0, words) == 0
    assert LIBC.ptrace(PTRACE_CONT, child, 0, 0) == 0
    assert os.waitpid(child, 0)[1] == 0
    assert os.path.exists("there")


if __name__ == "__main__":
    LIBC.syscall.restype = ctypes.c_long
    os.chdir(sys.argv[2])
    globals()[sys.argv[1]]()
