# SPDX-License-Identifier: MIT
"""Ways to make, open and connect to pipes and sockets.

Runs all in the directory given, or those that are named behind it.

Each way runs in a child with a directory of its own. A line of the output is the name
of a way and the id of its process, or "unable" where the machine does not let it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kernel.events.file.actions_file import call_32, string_32
from support.ring import CQE_SKIP_SUCCESS, OP_OPENAT, IoUringError, Ring
from support.ways import LIBC, UNABLE, mount, own_mounts

AT_FDCWD = -100
MS_BIND = 0x1000
OP_CONNECT, OP_BIND = 16, 56
SOCKETCALL, SYS_BIND, SYS_CONNECT = 102, 2, 3
BIND_32, CONNECT_32, MKNOD_32, OPEN_32 = 361, 362, 14, 5
#: Names of sockets are at most 107 bytes, and the directory is longer.
ROUNDS = 40

#: The ways by their names.
WAYS: dict[str, Callable[[], None]] = {}

Address = str | bytes


def way(function: Callable[[], None]) -> Callable[[], None]:
    WAYS[function.__name__] = function
    return function


def unix(kind: int = socket.SOCK_STREAM) -> socket.socket:
    return socket.socket(socket.AF_UNIX, kind)


def bound(name: Address, kind: int = socket.SOCK_STREAM) -> socket.socket:
    found = unix(kind)
    found.bind(name)
    return found


def listening(name: Address, kind: int = socket.SOCK_STREAM) -> socket.socket:
    server = bound(name, kind)
    server.listen(64)
    return server


def connect(name: Address, kind: int = socket.SOCK_STREAM) -> socket.socket:
    client = unix(kind)
    client.connect(name)
    return client


def use(fd_or_name: int | str | bytes, flags: int = os.O_RDWR) -> None:
    if isinstance(fd_or_name, int):
        fd_or_name = f"/proc/self/fd/{fd_or_name}"
    os.close(os.open(fd_or_name, flags))


def packed(name: bytes) -> bytes:
    end = b"" if name.startswith(b"\0") else b"\0"
    return struct.pack("=H", socket.AF_UNIX) + name + end


def in_child(name: str, act: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    print(name, pid, flush=True)
    assert os.waitpid(pid, 0)[1] == 0


# --- named pipes


@way
def fifo() -> None:
    os.mkfifo("p")
    use("p")


@way
def fifo_by_both_ends() -> None:
    os.mkfifo("p")
    reader = os.open("p", os.O_RDONLY | os.O_NONBLOCK)
    in_child("other_end", lambda: use("p", os.O_WRONLY))
    os.close(reader)


@way
def fifo_by_directory() -> None:
    os.mkdir("sub")
    folder = os.open("sub", os.O_PATH)
    os.mknod("p", stat.S_IFIFO | 0o600, dir_fd=folder)
    os.close(os.open("p", os.O_RDWR, dir_fd=folder))


@way
def fifo_by_dots() -> None:
    os.mkdir("sub")
    os.mkfifo(".//sub/../p")
    use("sub/../p")


@way
def fifo_by_link() -> None:
    os.mkdir("sub")
    os.symlink("sub", "link")
    os.mkfifo("link/p")
    os.symlink("link/p", "innocent")
    use("innocent")


@way
def fifo_renamed() -> None:
    os.mkfifo("p")
    os.rename("p", "q")
    use("q")


@way
def fifo_deleted() -> None:
    os.mkfifo("p")
    fd = os.open("p", os.O_PATH)
    os.unlink("p")
    use(fd)


@way
def fifo_in_deleted_directory() -> None:
    os.mkdir("sub")
    os.mkfifo("sub/p")
    fd = os.open("sub/p", os.O_PATH)
    shutil.rmtree("sub")
    use(fd)


@way
def fifo_with_two_names() -> None:
    os.mkfifo("p")
    os.link("p", "q")
    use("q")


@way
def fifo_with_odd_name() -> None:
    os.mkfifo(b"a\n\xff<&>")
    use(b"a\n\xff<&>")


@way
def fifo_in_chroot() -> None:
    os.mkdir("jail")
    os.chroot("jail")
    os.chdir("/")
    os.mkfifo("/p")
    use("/p")


@way
def fifo_in_mount_namespace() -> None:
    own_mounts()
    mount("none", "mnt", "tmpfs")
    os.mkfifo("mnt/p")
    use("mnt/p")


@way
def fifo_by_thread() -> None:
    def act() -> None:
        os.mkfifo("p")
        use("p")

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@way
def fifo_by_32_bit_calls() -> None:
    name = string_32(b"p")
    assert call_32(MKNOD_32, name, stat.S_IFIFO | 0o600, 0) == 0
    assert call_32(OPEN_32, name, os.O_RDWR, 0) >= 0


@way
def fifo_by_ring() -> None:
    os.mkfifo("p")
    with ring() as own:
        own.name(OP_OPENAT, b"p", flags=os.O_RDWR)
        assert own.wait()[0] >= 0


@way
def fifo_while_the_string_changes() -> None:
    """A thread rewrites the name, so that nobody but the kernel knows it."""
    name, stop = ctypes.create_string_buffer(b"a00"), threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            name[0], name[0] = b"b", b"a"

    thread = threading.Thread(target=rewrite)
    thread.start()
    for number in range(ROUNDS):
        name[1], name[2] = (each.encode() for each in f"{number:02}")
        assert LIBC.mkfifo(name, 0o600) == 0
    stop.set()
    thread.join()


@contextlib.contextmanager
def ring() -> Iterator[Ring]:
    try:
        own = Ring()
    except IoUringError:
        os._exit(UNABLE)
    with own:
        yield own


# --- sockets


@way
def stream() -> None:
    with listening("s"):
        connect("./s")


@way
def seqpacket() -> None:
    with listening("s", socket.SOCK_SEQPACKET):
        connect("s", socket.SOCK_SEQPACKET)


@way
def datagram() -> None:
    with bound("s", socket.SOCK_DGRAM):
        connect("s", socket.SOCK_DGRAM)


@way
def datagram_to_two() -> None:
    with bound("s", socket.SOCK_DGRAM), bound("t", socket.SOCK_DGRAM):
        connect("s", socket.SOCK_DGRAM).connect("t")


@way
def stream_by_whole_path() -> None:
    with listening("s"):
        connect(os.path.abspath("s"))


@way
def stream_by_other_process() -> None:
    with listening("s"):
        in_child("other_process", lambda: connect("s").close())


@way
def stream_from_two_threads() -> None:
    with listening("s"):
        threads = [threading.Thread(target=connect, args=("s",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@way
def stream_without_waiting() -> None:
    with listening("s"):
        client = unix()
        client.setblocking(False)
        client.connect("s")


@way
def stream_renamed() -> None:
    with listening("s"):
        os.rename("s", "t")
        connect("t")


@way
def stream_by_second_name() -> None:
    with listening("s"):
        os.link("s", "t")
        connect("t")


@way
def stream_by_second_name_alone() -> None:
    with listening("s"):
        os.link("s", "t")
        os.unlink("s")
        connect("t")


@way
def stream_by_link() -> None:
    with listening("s"):
        os.symlink("s", "innocent")
        connect("innocent")


@way
def stream_by_descriptor() -> None:
    with listening("s"):
        fd = os.open("s", os.O_PATH)
        connect(f"/proc/self/fd/{fd}")


@way
def stream_in_chroot() -> None:
    os.mkdir("jail")
    with listening("jail/s"):
        os.chroot("jail")
        os.chdir("/")
        connect("/s")
        listening("/t")


@way
def stream_bound_elsewhere() -> None:
    with listening("s"):
        own_mounts()
        Path("mnt/other").touch()
        mount("s", "mnt/other", "", MS_BIND)
        connect("mnt/other")


@way
def stream_in_mount_namespace() -> None:
    own_mounts()
    mount("none", "mnt", "tmpfs")
    with listening("mnt/s"):
        connect("mnt/s")


@way
def stream_with_odd_name() -> None:
    with listening(b"a\n\xff<&>"):
        connect(b"a\n\xff<&>")


@way
def abstract() -> None:
    with listening("\0sx pipe"):
        connect("\0sx pipe")


@way
def abstract_datagram() -> None:
    with bound("\0sx datagram", socket.SOCK_DGRAM):
        connect("\0sx datagram", socket.SOCK_DGRAM)


@way
def abstract_with_nul() -> None:
    with listening(b"\0sx\0\0nul\0"):
        connect(b"\0sx\0\0nul\0")


@way
def abstract_like_a_path() -> None:
    with listening("\0/run/docker.sock"):
        connect("\0/run/docker.sock")


@way
def abstract_with_odd_name() -> None:
    with listening(b"\0sx\n\xff<&>"):
        connect(b"\0sx\n\xff<&>")


@way
def abstract_of_greatest_length() -> None:
    with listening(b"\0" + b"sx" * 53 + b"\n"):
        connect(b"\0" + b"sx" * 53 + b"\n")


@way
def named_by_the_kernel() -> None:
    with listening(""):
        pass


@way
def by_32_bit_calls() -> None:
    server, client = unix(), unix()
    where = string_32(packed(b"s"))
    assert call_32(BIND_32, server.fileno(), where, 4) == 0
    server.listen()
    assert call_32(CONNECT_32, client.fileno(), where, 4) == 0


@way
def by_socketcall() -> None:
    server, client = unix(), unix()
    at = string_32(packed(b"s")) + 16
    for fd, what in ((server.fileno(), SYS_BIND), (client.fileno(), SYS_CONNECT)):
        ctypes.memmove(at, struct.pack("=3I", fd, at - 16, 4), 12)
        assert call_32(SOCKETCALL, what, at, 0) == 0
        server.listen()


def quietly(own: Ring, operation: int, fd: int, name: bytes) -> None:
    """Ask for no completion entry."""
    own.on_socket(operation, fd, packed(name), request_flags=CQE_SKIP_SUCCESS)


@way
def by_ring() -> None:
    with listening("s"), ring() as own, unix() as client:
        own.on_socket(OP_CONNECT, client.fileno(), packed(b"s"))
        assert own.wait()[0] == 0


@way
def abstract_by_ring() -> None:
    with listening("\0sx ring"), ring() as own, unix() as client:
        own.on_socket(OP_CONNECT, client.fileno(), packed(b"\0sx ring"))
        assert own.wait()[0] == 0


@way
def bound_by_ring() -> None:
    with ring() as own, unix() as server:
        own.on_socket(OP_BIND, server.fileno(), packed(b"s"))
        if own.wait()[0] != 0:
            os._exit(UNABLE)


@way
def connected_by_quiet_ring() -> None:
    with listening("s"), ring() as own, unix() as client:
        quietly(own, OP_CONNECT, client.fileno(), b"s")
        client.settimeout(10)
        client.sendall(b"x")


@way
def connected_at_0_by_quiet_ring() -> None:
    """The descriptor is as the flags of a completion: 0."""
    with listening("s"), ring() as own, unix() as client:
        os.dup2(client.fileno(), 0)
        quietly(own, OP_CONNECT, 0, b"s")
        client.settimeout(10)
        client.sendall(b"x")


@way
def bound_by_quiet_ring() -> None:
    with ring() as own, unix() as server:
        own.on_socket(OP_BIND, server.fileno(), packed(b"s"))
        if own.wait()[0] != 0:
            os._exit(UNABLE)
    with ring() as own, unix() as server:
        quietly(own, OP_BIND, server.fileno(), b"t")
        while not os.path.exists("t"):
            time.sleep(0.001)


@way
def refused_by_quiet_ring() -> None:
    """A name that is taken, and a socket that nobody listens at."""
    with unix() as server, ring() as own, unix() as client:
        server.bind("s")
        quietly(own, OP_BIND, client.fileno(), b"s")
        quietly(own, OP_CONNECT, client.fileno(), b"s")


@way
def closed_at_once() -> None:
    """The peer closes each connection as soon as it is there."""
    server = listening("s")

    def serve() -> None:
        for _ in range(ROUNDS):
            server.accept()[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(ROUNDS):
        connect("s").close()
    thread.join()


@way
def again_and_again() -> None:
    with listening("s"):
        for _ in range(5):
            connect("s")


@way
def again_later() -> None:
    with listening("s"):
        connect("s")
        time.sleep(1.05)  # PipeInterval of the test is one second
        connect("s")


@way
def again_by_another_image() -> None:
    with listening("s") as server:
        server.set_inheritable(True)
        connect("s")
        code = "import socket; socket.socket(socket.AF_UNIX).connect('s')"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code])


# --- near misses


@way
def refused() -> None:
    with bound("s"):
        for name in ("s", "missing", "\0sx missing"):
            assert unix().connect_ex(name) != 0
        assert unix(socket.SOCK_DGRAM).connect_ex("s") != 0


@way
def not_bound() -> None:
    Path("file").touch()
    for name in ("file", "missing/s", "/proc/s"):
        with contextlib.suppress(OSError), unix() as server:
            server.bind(name)
            raise AssertionError(name)


@way
def other_files() -> None:
    os.mkdir("sub")
    os.mknod("regular")
    os.mknod("socket", stat.S_IFSOCK | 0o600)
    use("regular")
    use("sub", os.O_RDONLY)
    use("/dev/null")
    os.close(os.open("socket", os.O_PATH))


@way
def fifo_not_opened() -> None:
    os.mkfifo("p")
    os.close(os.open("p", os.O_PATH))
    os.stat("p")
    for flags in (os.O_WRONLY | os.O_NONBLOCK, os.O_RDWR | os.O_DIRECTORY):
        with contextlib.suppress(OSError):
            os.open("p", flags)
            raise AssertionError(flags)
    with contextlib.suppress(FileExistsError):
        os.mkfifo("p")
        raise AssertionError


@way
def without_names() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        for end in socket.socketpair(socket.AF_UNIX, kind):
            end.close()
    reader, writer = os.pipe()
    use(reader, os.O_RDONLY)
    use(writer, os.O_WRONLY)


@way
def not_connected() -> None:
    with bound("s", socket.SOCK_DGRAM), unix(socket.SOCK_DGRAM) as client:
        client.sendto(b"x", "s")
        nowhere = struct.pack("=H", socket.AF_UNSPEC)
        assert LIBC.connect(client.fileno(), nowhere, len(nowhere)) == 0


@way
def other_families() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 9))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as client:
        client.bind((0, 0))


def swapped(place: Callable[[int, int], None]) -> None:
    """Connect to "s" while another descriptor takes the place of the socket's.

    The queue of "s" is full, so the call waits until this process has changed it.
    """
    server = bound("s")
    server.listen(0)
    pid = os.fork()
    if pid == 0:  # another process fills the queue
        connect("s")
        os._exit(0)
    os.waitpid(pid, 0)
    with unix() as client:
        caller = threading.Thread(target=client.connect, args=("s",))
        caller.start()
        until_asleep(caller)
        place(client.fileno(), server.fileno())
        server.accept()
        server.accept()
        caller.join()
        os.close(client.detach())


def until_asleep(thread: threading.Thread) -> None:
    call = Path(f"/proc/self/task/{thread.native_id}/syscall")
    while not call.read_text().startswith("42 "):
        time.sleep(0.001)


@way
def swapped_by_socket() -> None:
    with listening("t"):
        decoy = connect("t")
        swapped(lambda client, server: void(os.dup2(decoy.fileno(), client)))


@way
def swapped_by_other_family() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as decoy:
        decoy.connect(("127.0.0.1", 9))
        swapped(lambda client, server: void(os.dup2(decoy.fileno(), client)))


@way
def swapped_by_file() -> None:
    swapped(lambda client, server: void(os.dup2(0, client)))


def void(_: object) -> None: ...


def run(name: str, act: Callable[[], None], directory: str) -> None:
    """Run a way in a child that has a directory of its own."""
    folder = os.path.join(directory, name)
    os.mkdir(folder)
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        try:
            act()
            os._exit(0)
        except BaseException as error:
            print(f"{name}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, UNABLE):
        sys.exit(f"{name} failed")
    print(name, "unable" if status else pid, flush=True)


if __name__ == "__main__":
    for each in sys.argv[2:] or WAYS:
        run(each, WAYS[each], sys.argv[1])
