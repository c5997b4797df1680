# SPDX-License-Identifier: MIT
"""Ways to act beside the hooks; each runs as `actions_unseen.py NAME DIRECTORY`.

Each action does the thing twice: in the usual way first (the witness, which is seen),
and then in its own way. It fails when that way did not work. The pids of children whose
events count are printed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kernel.events.access.actions_access import (
    LIBC,
    PTRACE_SEIZE,
    Span,
    copy_from,
    spans,
    target,
)
from kernel.events.file.actions_file import exchange, make
from kernel.events.network.connections import LOOPBACK, datagrams
from support.ring import OP_OPENAT, POLLED, QuietRing

DEVICE = "/dev/loop0"
NAME_TO_HANDLE_AT, OPEN_BY_HANDLE_AT = 303, 304
PROCESS_MADVISE, MADV_COLD = 440, 20
PTRACE_CONT, PTRACE_O_TRACEFORK, PTRACE_EVENT_FORK = 7, 2, 1
CLONE_FILES = 0x400
CLONE_NEWNS = 0x20000
NOBODY = 65534
CLONE = 56
DEADLINE_S = 20.0
#: Links that are turned; a quick reader may come to one of them in time.
SWAPS = 20


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the request was not carried out"
        time.sleep(0.005)


def has_open(path: str) -> bool:
    """Return whether this process has a descriptor of the path."""
    found = (Path("/proc/self/fd") / each for each in os.listdir("/proc/self/fd"))
    return any(os.path.lexists(each) and os.readlink(each) == path for each in found)


# --- files


def exchange_with_pipe() -> None:
    make("witness")
    make("x")
    os.mkfifo("T")
    exchange("x", "T")
    assert os.path.isfile("T")


def quiet_memory() -> None:
    with target() as pid, QuietRing() as ring:
        memory = f"/proc/{pid}/mem"
        os.close(os.open(memory, os.O_RDONLY))
        ring.name(OP_OPENAT, memory.encode())
        wait_until(lambda: has_open(memory))


class Handle(ctypes.Structure):
    """struct file_handle."""

    _fields_ = (
        ("size", ctypes.c_uint),
        ("kind", ctypes.c_int),
        ("data", ctypes.c_ubyte * 128),
    )


def device_by_handle() -> None:
    os.close(os.open(DEVICE, os.O_RDONLY))
    handle, mount = Handle(128), ctypes.c_int()
    at = ctypes.byref(handle), ctypes.byref(mount)
    assert LIBC.syscall(NAME_TO_HANDLE_AT, -100, DEVICE.encode(), *at, 0) == 0
    top = os.open("/dev", os.O_RDONLY)
    assert LIBC.syscall(OPEN_BY_HANDLE_AT, top, at[0], os.O_RDONLY) >= 0
    assert has_open(DEVICE)


def core_dump() -> None:
    make("witness")
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    with subprocess.Popen(["/bin/sh", "-c", "kill -SEGV $$"]) as process:
        print(process.pid)
    assert process.returncode == -signal.SIGSEGV
    assert any(each.startswith("core") for each in os.listdir())


def core_dump_on_overlay() -> None:
    """Dump where a container does: into the upper layer of an overlay."""
    assert LIBC.unshare(CLONE_NEWNS) == 0
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for name in ("lower", "upper", "work", "core"):
        os.mkdir(name)
    layers = "lowerdir=lower,upperdir=upper,workdir=work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", "core"], check=True)
    os.chdir("core")
    core_dump()


def swap_link() -> None:
    """Rename through links that lead elsewhere when the reader comes to them."""
    for name in ("a", "b"):
        os.mkdir(name)
    for name in ("x", *(f"x{each}" for each in range(SWAPS))):
        make(name)
    os.rename("x", "a/witness")
    for each in range(SWAPS):
        os.symlink("a", f"link{each}")
        os.rename(f"x{each}", f"link{each}/T{each}")
        os.unlink(f"link{each}")
        os.symlink("b", f"link{each}")
    assert len(os.listdir("a")) == SWAPS + 1


def rename_onto_itself() -> None:
    make("witness")
    os.link("witness", "same")
    os.rename("witness", "same")
    assert sorted(os.listdir()) == ["same", "witness"]


def long_path() -> None:
    make("witness")
    for _ in range(28):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    make("T")


def long_name() -> None:
    """Use a file system of user space that takes longer names than disks do."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.chdir("fuse")
    make("witness")
    make("sshd" + "A" * 256)


def write_existing() -> None:
    """Change a file that exists: no name comes into being."""
    make("witness")
    with open("old", "r+b") as file:
        file.write(b"changed")
    assert Path("old").read_bytes() == b"changed"


def steal_descriptors() -> None:
    """Replace each new descriptor while the call that made it still returns."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    number = os.dup(nothing)
    thief = LIBC.syscall(CLONE, CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0)
    if thief == 0:
        while os.getppid() != 1:
            kept = LIBC.fcntl(number, 0, 100)
            if kept >= 0:
                LIBC.dup2(nothing, number)
                LIBC.close(kept)
        os._exit(0)
    for each in range(3000):
        LIBC.close(number)
        LIBC.open(b"T%d" % each, os.O_CREAT | os.O_WRONLY, 0o600)
    os.kill(thief, signal.SIGKILL)
    os.waitpid(thief, 0)
    assert len(os.listdir()) == 3000


# --- other processes


def trace_grandchild() -> None:
    """Be given a process that a traced one forks; nobody asks for it."""
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    options = PTRACE_O_TRACEFORK | 4 | 8  # and vfork, and clone
    assert LIBC.ptrace(PTRACE_SEIZE, pid, None, options) == 0
    os.kill(pid, signal.SIGCONT)
    got: set[int] = set()
    while True:
        found, status = os.waitpid(-1, 0x40000000)  # __WALL
        if found != pid:
            got.add(found)
        elif not os.WIFSTOPPED(status):
            break
        if os.WIFSTOPPED(status):
            LIBC.ptrace(PTRACE_CONT, found, None, None)
    assert got


def handed_memory() -> None:
    """Read the memory of a child that gave away a descriptor of its own."""
    copy_from()
    text = ctypes.create_string_buffer(b"secret")
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ctypes.memmove(text, b"SECRET", 6)
        socket.send_fds(there, [b"x"], [os.open("/proc/self/mem", os.O_RDONLY)])
        signal.pause()
    _, (memory,), _, _ = socket.recv_fds(here, 1, 1)
    assert os.pread(memory, 6, ctypes.addressof(text)) == b"SECRET"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def advise() -> None:
    """Have the pages of another process thrown out of the caches."""
    copy_from()
    with target() as pid:
        _, there = spans(pid, "r")
        there = Span(there.base, 4096)
        fd = os.pidfd_open(pid)
        done = LIBC.syscall(PROCESS_MADVISE, fd, ctypes.byref(there), 1, MADV_COLD, 0)
        assert done == 4096, os.strerror(ctypes.get_errno())


# --- network


def witness_udp() -> None:
    receiver, sender = datagrams()
    sender.sendto(b"x", receiver.getsockname())
    assert receiver.recv(9) == b"x"


def udp_by_raw_socket() -> None:
    """Send a datagram whose header the sender wrote."""
    receiver, _ = datagrams()
    port = receiver.getsockname()[1]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.sendto(struct.pack("!HHHH", 9, port, 9, 0) + b"x", (LOOPBACK, 0))
    assert receiver.recvfrom(9) == (b"x", (LOOPBACK, 9))


def frame_by_packet_socket() -> None:
    """Send a whole frame, and take it from the device, beside all of TCP/IP."""
    witness_udp()
    kind = 0x88B5  # for local experiments
    here, there = (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        for _ in "12"
    )
    for each in (here, there):
        each.bind(("lo", kind))
    here.send(bytes(12) + struct.pack("!H", kind) + b"x" * 50)
    there.settimeout(DEADLINE_S)
    assert there.recv(99).endswith(b"x" * 50)


def ping_by_raw_socket() -> None:
    witness_udp()
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0), (LOOPBACK, 0))
    assert raw.recv(99)


def quiet_accept() -> None:
    """Accept by a request that makes no completion entry."""
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        socket.create_connection(listener.getsockname()),
        QuietRing() as ring,
    ):
        before = len(os.listdir("/proc/self/fd"))
        ring.accept(listener.fileno())
        wait_until(lambda: len(os.listdir("/proc/self/fd")) > before)


def quiet_accept_later() -> None:
    """Accept in the same way before anybody connects."""
    with socket.create_server((LOOPBACK, 0)) as listener, QuietRing() as ring:
        before = len(os.listdir("/proc/self/fd"))
        ring.accept(listener.fileno())
        with socket.create_connection(listener.getsockname()):
            wait_until(lambda: len(os.listdir("/proc/self/fd")) > before + 1)


def quiet_accept_in_vain() -> None:
    """The memory of the second request holds the result of the first."""
    with socket.create_server((LOOPBACK, 0)) as listener, QuietRing() as ring:
        before = len(os.listdir("/proc/self/fd"))
        client = socket.create_connection(listener.getsockname())
        ring.accept(listener.fileno())
        wait_until(lambda: len(os.listdir("/proc/self/fd")) > before + 1)
        ring.accept(listener.fileno())
        os._exit(client.fileno() < 0)


def quiet_accepts_polled() -> None:
    """A thread of the kernel accepts, and this one does not come back to the ring."""
    with socket.create_server((LOOPBACK, 0)) as listener, QuietRing(POLLED) as ring:
        clients = [socket.create_connection(listener.getsockname()) for _ in "123"]
        before = len(os.listdir("/proc/self/fd"))
        for _ in clients:
            ring.accept(listener.fileno())
        after = before + len(clients)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) == after)


def quiet_accept_on_and_on() -> None:
    """The queue is full, so that the request ends with its first connection."""
    with socket.create_server((LOOPBACK, 0)) as listener, QuietRing() as ring:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(40):
            ring.name(OP_OPENAT, b"none")
        ring.accept(listener.fileno(), multishot=True)
        with socket.create_connection(listener.getsockname()):
            wait_until(lambda: len(os.listdir("/proc/self/fd")) > before + 1)


def quiet_connect() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, QuietRing() as ring:
        fd = socket.socket()
        ring.connect(fd.fileno(), listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            assert peer == fd.getsockname()


# --- programs


def by_interpreter() -> None:
    """Run a program by the dynamic linker: the kernel is asked for the linker."""
    linker = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/ld-linux" in line
    )
    with subprocess.Popen([linker, "/bin/true", "T"]) as process:
        print(process.pid)
    assert process.returncode == 0


def by_environment() -> None:
    """Change what a program does by a variable of its environment."""
    environment = {"LD_BIND_NOW": "T"}
    with subprocess.Popen(["/bin/true", "witness"], env=environment) as process:
        print(process.pid)
    assert process.returncode == 0


def another_name() -> None:
    """Change the name and the arguments that ps(1) shows, once the program runs."""
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'kworker/0:1')"
    with subprocess.Popen([sys.executable, "-I", "-c", code]) as process:
        print(process.pid)
    assert process.returncode == 0


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    globals()[sys.argv[1]]()
    assert threading.active_count() == 1
