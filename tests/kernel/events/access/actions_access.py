# SPDX-License-Identifier: MIT
"""Ways to reach into another process; each runs as `actions_access.py NAME DIRECTORY`.

Prints the target's pid as the initial pid namespace has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_TRACEME = 0
PTRACE_PEEKDATA = 2
PTRACE_ATTACH = 16
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PIDFD_GETFD = 438
CLONE_NEWPID = 0x20000000


class Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@contextlib.contextmanager
def target() -> Iterator[int]:
    """Run a child that waits; it answers once, so its program surely runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/cat"], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), b"x")
        assert os.read(process.stdout.fileno(), 1) == b"x"
        yield process.pid
        process.kill()


def ptrace(request: int, pid: int) -> int:
    return int(LIBC.ptrace(request, pid, None, None))


def a_mapping(pid: int, kind: str) -> int:
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        for line in maps:
            if line.split()[1].startswith(kind):
                return int(line.split("-")[0], 16)
    raise AssertionError(kind)


def attach() -> None:
    with target() as pid:
        assert ptrace(PTRACE_ATTACH, pid) == 0
        os.waitpid(pid, 0)
        assert ptrace(PTRACE_PEEKDATA, pid) is not None
        assert ptrace(PTRACE_DETACH, pid) == 0


def seize() -> None:
    with target() as pid:
        assert ptrace(PTRACE_SEIZE, pid) == 0


def attach_from_thread() -> None:
    thread = threading.Thread(target=seize)
    thread.start()
    thread.join()


def fail_to_attach() -> None:
    assert ptrace(PTRACE_ATTACH, 0x3FFFFF) == -1
    assert ptrace(PTRACE_ATTACH, os.getpid()) == -1


def traceme() -> None:
    pid = os.fork()
    if pid == 0:
        ptrace(PTRACE_TRACEME, 0)
        os._exit(0)
    os.waitpid(pid, 0)


def spans(pid: int, kind: str) -> tuple[Span, Span]:
    buffer = ctypes.create_string_buffer(4)
    here = Span(ctypes.addressof(buffer), 4)
    return here, Span(a_mapping(pid, kind), 4)


def copy_from() -> None:
    with target() as pid:
        here, there = spans(pid, "r")
        args = (ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        assert LIBC.process_vm_readv(pid, *args) == 4


def copy_to() -> None:
    with target() as pid:
        here, there = spans(pid, "rw")
        args = (ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        assert LIBC.process_vm_writev(pid, *args) == 4


def copy_nothing() -> None:
    with target() as pid:
        here, _ = spans(pid, "r")
        nowhere = Span(16, 4)
        args = (ctypes.byref(here), 1, ctypes.byref(nowhere), 1, 0)
        assert LIBC.process_vm_readv(pid, *args) == -1
        assert LIBC.process_vm_readv(pid, None, 0, None, 0, 0) == 0


def copy_own() -> None:
    here, there = spans(os.getpid(), "r")
    args = (ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    assert LIBC.process_vm_readv(os.getpid(), *args) == 4


def copy_while_tracing() -> None:
    with target() as pid:
        assert ptrace(PTRACE_SEIZE, pid) == 0
        here, there = spans(pid, "r")
        args = (ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        assert LIBC.process_vm_readv(pid, *args) == 4


def take_descriptor() -> None:
    with target() as pid:
        fd = os.pidfd_open(pid)
        assert LIBC.syscall(PIDFD_GETFD, fd, 1, 0) >= 0
        assert LIBC.syscall(PIDFD_GETFD, fd, 999, 0) == -1


def open_memory(flags: int) -> None:
    with target() as pid:
        os.close(os.open(f"/proc/{pid}/mem", flags))


def read_memory() -> None:
    open_memory(os.O_RDONLY)


def write_memory() -> None:
    open_memory(os.O_WRONLY)


def read_and_write_memory() -> None:
    open_memory(os.O_RDWR)


def read_memory_of_thread() -> None:
    with target() as pid:
        os.close(os.open(f"/proc/{pid}/task/{pid}/mem", os.O_RDONLY))


def look_only() -> None:
    """Open what is no access: own memory, a path only, other files of procfs."""
    os.close(os.open("/proc/self/mem", os.O_RDONLY))
    os.close(os.open("/proc/thread-self/mem", os.O_RDONLY))
    with target() as pid:
        os.close(os.open(f"/proc/{pid}/mem", os.O_PATH))
        os.close(os.open(f"/proc/{pid}/maps", os.O_RDONLY))
        os.close(os.open(f"/proc/{pid}/environ", os.O_RDONLY))


def attach_in_pid_namespace() -> None:
    """Let a child of a new pid namespace attach to another: it is pid 2 there."""
    assert LIBC.unshare(CLONE_NEWPID) == 0
    ready, tell = os.pipe()
    first = os.fork()
    if first == 0:
        second = os.fork()
        if second == 0:
            signal.pause()
        assert second == 2
        assert ptrace(PTRACE_SEIZE, second) == 0
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    print(first, flush=True)
    with open(f"/proc/{first}/task/{first}/children", encoding="ascii") as children:
        print("target", children.read().strip(), flush=True)
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
