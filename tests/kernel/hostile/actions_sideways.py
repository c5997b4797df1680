# SPDX-License-Identifier: MIT
"""Ways around events by calls that few programs make; runs as NAME DIRECTORY.

Each action does the thing in the usual way first (the witness), and then in its own
way. It fails when that way did not work. The pids of children whose events count are
printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kernel.events.access.actions_access import LIBC, target
from kernel.events.file.actions_file import checked, make
from kernel.events.network.connections import LOOPBACK, own_network

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
CLONE_INTO_CGROUP = 0x200000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
RENAME_WHITEOUT = 4
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
CLONE3, EXECVEAT, RENAMEAT2 = 435, 322, 316
NAME_TO_HANDLE_AT, OPEN_BY_HANDLE_AT = 303, 304
PERF_EVENT_OPEN, AT_EXECVE_CHECK, AT_FDCWD = 298, 0x10000, -100
TCP_REPAIR, SO_ZEROCOPY, MSG_ZEROCOPY = 19, 60, 0x4000000
AF_UNSPEC = 0
FANOTIFY_INIT, FANOTIFY_MARK, FAN_CLASS_CONTENT = 300, 301, 4
FAN_MARK_ADD, FAN_OPEN_PERM, FAN_ALLOW = 1, 0x10000, 1
#: More mounts on one directory than a path is followed through.
STACKED = 2100
#: How long a program cannot be opened, in seconds; its hash is waited for less long.
KEPT_S = 1.0
FAR = ("198.51.100.7", 443)
TIMES = 20
DEADLINE_S = 10.0


def private_mounts() -> None:
    checked(LIBC.unshare(CLONE_NEWNS))
    checked(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


# --- files


def symbolic_link() -> None:
    make("witness")
    os.symlink("witness", "T")


def directory_of_files() -> None:
    os.mkdir("d")
    make("d/witness")
    os.rename("d", "T")


def mounted_over() -> None:
    make("witness")
    private_mounts()
    checked(LIBC.mount(b"witness", b"old", None, MS_BIND, None))


def unmounted() -> None:
    private_mounts()
    os.mkdir("d")
    checked(LIBC.mount(b"none", b"d", b"tmpfs", 0, None))
    make("d/witness")
    os.unlink("d/witness")
    make("d/T")
    checked(LIBC.umount2(b"d", 2))
    assert not os.listdir("d")


def whiteout() -> None:
    make("witness")
    at = AT_FDCWD
    checked(LIBC.syscall(RENAMEAT2, at, b"witness", at, b"T", RENAME_WHITEOUT))
    assert sorted(os.listdir()) == ["T", "old", "witness"]


def emptied_in_place() -> None:
    make("witness")
    with open("old", "r+b") as file:
        what = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        size = ctypes.c_long(os.stat("old").st_size)
        checked(LIBC.fallocate(file.fileno(), what, ctypes.c_long(0), size))
    assert not Path("old").read_bytes().strip(b"\0")


def opened_again() -> None:
    """Open a descriptor that may only name the file (O_PATH) for writing."""
    make("witness")
    fd = os.open("old", os.O_PATH)
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))


def by_handle() -> None:
    make("witness")
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int()
    at = AT_FDCWD, b"old", handle, ctypes.byref(mount), 0
    checked(LIBC.syscall(NAME_TO_HANDLE_AT, *at))
    top = os.open(".", os.O_RDONLY)
    os.close(checked(LIBC.syscall(OPEN_BY_HANDLE_AT, top, handle, os.O_WRONLY)))


def through_proc() -> None:
    make("witness")
    make(f"/proc/self/root{os.getcwd()}/T1")
    make("/proc/self/cwd/T2")
    top = os.open(".", os.O_RDONLY)
    make(f"/proc/self/fd/{top}/T3")


def stacked_mounts() -> None:
    make("witness")
    private_mounts()
    os.mkdir("d")
    for _ in range(STACKED):
        checked(LIBC.mount(b"none", b"d", b"tmpfs", 0, None))
    make("d/T")


def set_user_id() -> None:
    make("witness")
    os.chmod("witness", 0o4755)


def message_queue() -> None:
    make("witness")
    library = ctypes.CDLL("librt.so.1", use_errno=True)
    name = f"/sysmonlx-{os.getpid()}".encode()
    queue = checked(library.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None))
    checked(library.mq_send(queue, b"secret", 6, 0))
    checked(library.mq_unlink(name))


# --- programs


def only_checked() -> None:
    """Ask the kernel whether a program may be run (since Linux 6.14)."""
    words = (ctypes.c_char_p * 2)(b"/bin/true", None)
    at = ctypes.c_int(AT_FDCWD), b"/bin/true", words, None, AT_EXECVE_CHECK
    checked(LIBC.syscall(EXECVEAT, *at))


def chain_of_interpreters() -> None:
    for name, reader in (("a", "b"), ("b", "c"), ("c", "/bin/sh")):
        Path(name).write_text(
            f"#!{os.getcwd()}/{reader}\n".replace(f"{os.getcwd()}//", "/")
        )
        os.chmod(name, 0o755)
    print(os.posix_spawn("a", ["a", "T"], {}), flush=True)
    os.wait()


def long_interpreter_line() -> None:
    Path("a").write_text("#!/bin/sh -" + "e" * 300 + "\nexit 0\n")
    os.chmod("a", 0o755)
    print(os.posix_spawn("a", ["a", "T"], {}), flush=True)
    os.wait()


def spawned() -> None:
    """Have a child that borrows the memory make a file before it runs its program."""
    make("witness")
    first = (os.POSIX_SPAWN_OPEN, 1, "T", os.O_CREAT | os.O_WRONLY, 0o600)
    child = os.posix_spawn("/bin/true", ["true"], {}, file_actions=[first])
    print(child, flush=True)
    os.wait()


class CloneArguments(ctypes.Structure):
    """struct clone_args, clone(2)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack"),
            *("stack_size", "tls", "set_tid", "set_tid_size", "cgroup"),
        )
    )


def cloned(arguments: CloneArguments, words: list[str]) -> int:
    """Run a program in a child that is made by clone3(2); return its pid."""
    arguments.exit_signal = 17
    size = ctypes.c_size_t(ctypes.sizeof(arguments))
    sys.stdout.flush()
    pid = int(LIBC.syscall(CLONE3, ctypes.byref(arguments), size))
    if pid == 0:
        os.execv(words[0], words)
    return checked(pid)


def one_number() -> None:
    """Give 20 processes one after the other the number of a process that has ended."""
    number = os.posix_spawn("/bin/true", ["true"], {})
    os.wait()
    print(number, flush=True)
    wanted = ctypes.c_int(number)
    for each in range(TIMES):
        arguments = CloneArguments(set_tid=ctypes.addressof(wanted), set_tid_size=1)
        assert cloned(arguments, ["/bin/true", str(each)]) == number
        os.wait()


def into_group() -> None:
    """Make a child in the control group GROUP, having left those of LEFT."""
    where = os.environ["GROUP"]
    for mount in os.environ["LEFT"].split(os.pathsep):
        Path(mount, "cgroup.procs").write_text("0")
    group = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    print(cloned(CloneArguments(flags=CLONE_INTO_CGROUP, cgroup=group), ["/bin/true"]))
    os.wait()


def answered_for_some() -> None:
    """Let one process alone open a program: who else wants to waits (fanotify)."""
    for name in ("kept", "free"):
        shutil.copy("/bin/true", name)
        with open(name, "ab") as file:
            file.write(os.urandom(8))
    group = checked(LIBC.syscall(FANOTIFY_INIT, FAN_CLASS_CONTENT, os.O_RDONLY))
    mask = ctypes.c_uint64(FAN_OPEN_PERM)
    at = group, FAN_MARK_ADD, mask, AT_FDCWD, b"kept"
    checked(LIBC.syscall(FANOTIFY_MARK, *at))
    child = os.fork()
    if child == 0:
        os.execv("./kept", ["kept"])
    print(child, os.posix_spawn("./free", ["free"], {}), flush=True)
    until = time.monotonic() + KEPT_S
    poll = select.poll()
    poll.register(group, select.POLLIN)
    while (left_s := until - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            break
        *_, fd, pid = struct.unpack("IBBHQii", os.read(group, 24))
        if pid == child:
            os.write(group, struct.pack("iI", fd, FAN_ALLOW))
        os.close(fd)
    os.close(group)
    assert [os.wait()[1] for _ in range(2)] == [0, 0]


def own_binary_format() -> None:
    """Have a program run for another, by a format of a user namespace (Linux 6.7)."""
    uid, gid = os.getuid(), os.getgid()
    checked(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    os.mkdir("formats")
    checked(LIBC.mount(b"none", b"formats", b"binfmt_misc", 0, None))
    Path("formats/register").write_text(":x:E::zzz::/bin/echo:")
    make("harmless.zzz")
    os.chmod("harmless.zzz", 0o755)
    null = os.open("/dev/null", os.O_WRONLY)
    silent = [(os.POSIX_SPAWN_DUP2, null, 1)]
    path = f"{os.getcwd()}/harmless.zzz"
    print(os.posix_spawn(path, ["x", "T"], {}, file_actions=silent), flush=True)
    os.wait()


# --- network


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener


def connected_to_itself() -> None:
    """Open a connection from both ends at once: there is no listener."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        one.connect(one.getsockname())
        assert one.getpeername() == one.getsockname()


def repaired() -> None:
    """Have the kernel take a connection for made that sends nothing (TCP_REPAIR)."""
    own_network()
    subprocess.run(["ip", "route", "add", "default", "dev", "lo"], check=True)
    with socket.socket() as one:
        one.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        one.connect(FAR)
        assert one.getpeername() == FAR


def connected_anew() -> None:
    """Connect one socket to one peer, dissolve that, and connect it to another."""
    with listening() as one, listening() as other, socket.socket() as end:
        end.connect(one.getsockname())
        checked(LIBC.connect(end.fileno(), struct.pack("H14x", AF_UNSPEC), 16))
        end.connect(other.getsockname())
        assert end.getpeername() == other.getsockname()


def only_listens() -> None:
    with listening() as one, socket.create_connection(one.getsockname()):
        pass
    with listening():
        time.sleep(0.01)


def ping_without_rights() -> None:
    own_network()
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
    with listening() as one, socket.create_connection(one.getsockname()):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as end:
        end.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + b"secret", (LOOPBACK, 0))
        assert b"secret" in end.recv(99)


# --- names that are asked for


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", 0x1234, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def answer(receiver: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, peer = receiver.recvfrom(512)
            receiver.sendto(data[:2] + b"\x81\x83" + data[4:], peer)


@contextlib.contextmanager
def asking() -> Iterator[socket.socket]:
    """Have a server at port 53 of a network of one's own, and a socket to ask it."""
    own_network()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((LOOPBACK, 53))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.settimeout(DEADLINE_S)
            end.connect((LOOPBACK, 53))
            child = os.fork()
            if child == 0:
                answer(receiver)
                os._exit(0)
            end.send(question("witness.test"))
            assert end.recv(512)
            yield end
            assert end.recv(512)
            os.kill(child, 9)
            os.wait()


def asked_by_splice() -> None:
    with asking() as end:
        reader, writer = os.pipe()
        os.write(writer, question("spliced.test"))
        assert os.splice(reader, end.fileno(), 512) > 0


def asked_by_sendfile() -> None:
    with asking() as end:
        Path("q").write_bytes(question("sent.test"))
        file = os.open("q", os.O_RDONLY)
        assert os.sendfile(end.fileno(), file, 0, 512) > 0


def asked_without_a_copy() -> None:
    """Send from one's own memory, and change it as soon as the call returns."""
    with asking() as end:
        end.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        data = bytearray(question("zero.test"))
        end.send(data, MSG_ZEROCOPY)
        data[13:17] = b"fake"


# --- other processes


def read_environment() -> None:
    with target() as pid:
        Path(f"/proc/{pid}/mem").open("rb", buffering=0).close()
        assert Path(f"/proc/{pid}/environ").read_bytes()


def sampled_stack() -> None:
    """Have the kernel copy the stack of another process into one's memory, by perf."""
    code = "while True: pass"
    with (
        target() as pid,
        subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as busy,
    ):
        Path(f"/proc/{pid}/mem").open("rb", buffering=0).close()
        software, task_clock, stack, no_kernel = 1, 1, 1 << 13, 1 << 5
        attributes = struct.pack(
            "IIQQQQQ", software, 112, task_clock, 10**5, stack, 0, no_kernel
        )
        attributes = attributes.ljust(80, b"\0") + struct.pack("QI", 0, 4096)
        given = ctypes.create_string_buffer(attributes.ljust(112, b"\0"))
        fd = checked(LIBC.syscall(PERF_EVENT_OPEN, given, busy.pid, -1, -1, 0))
        with mmap.mmap(fd, 17 * mmap.PAGESIZE) as ring:
            deadline = time.monotonic() + DEADLINE_S
            while not struct.unpack_from("Q", ring, 1024)[0]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        busy.kill()


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    globals()[sys.argv[1]]()
    assert threading.active_count() == 1
