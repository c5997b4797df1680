# SPDX-License-Identifier: MIT
"""What the monitored machine does: loops of system calls, and their cost.

`python -m bench.workloads NAME COUNT DIRECTORY` does one thing COUNT times in a process
of its own and prints what that took. The loops are in Python: what the interpreter
takes itself is the same without and with the daemon, so differences are those of the
kernel side, and ratios are a little closer to 1 than those of a program in C.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import repeat, starmap
from pathlib import Path

from bench.sensor import REPOSITORY

_TRUE = "/bin/true"
_LOOPBACK = "127.0.0.1"

Loop = Callable[[int, Path], None]


@dataclass(frozen=True)
class Cost:
    """Processor and wall seconds of `count` operations, children included."""

    count: int
    cpu_s: float
    wall_s: float


def _repeat(
    function: Callable[..., object], arguments: tuple[object, ...], n: int
) -> None:
    """Call `function` n times with as little interpreter as there can be."""
    deque(starmap(function, repeat(arguments, n)), maxlen=0)


def _nothing(count: int, directory: Path) -> None:
    _repeat(threading.get_ident, (), count)


def _getppid(count: int, directory: Path) -> None:
    _repeat(os.getppid, (), count)


def _read(count: int, directory: Path) -> None:
    fd = os.open("/dev/zero", os.O_RDONLY)
    _repeat(os.read, (fd, 1), count)
    os.close(fd)


def _exec(count: int, directory: Path) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn(_TRUE, ["true"], {}), 0)


def _open_close(count: int, directory: Path) -> None:
    path = os.fspath(directory / "opened")
    Path(path).touch()
    for _ in range(count):
        os.close(os.open(path, os.O_RDONLY))


def _create_unlink(count: int, directory: Path) -> None:
    path = os.fspath(directory / "created")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    for _ in range(count):
        os.close(os.open(path, flags, 0o600))
        os.unlink(path)


def _rename(count: int, directory: Path) -> None:
    """Give a file another name, and its first one again: two operations a round."""
    names = os.fspath(directory / "first"), os.fspath(directory / "second")
    Path(names[0]).touch()
    for number in range(2 * (count // 2)):
        os.rename(names[number & 1], names[1 - number & 1])


def _unix(count: int, directory: Path) -> None:
    """Connect to a socket with a path, accept, close on both sides."""
    path = os.fspath(directory / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        for _ in range(count):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                server.accept()[0].close()
    os.unlink(path)


def _python(count: int, directory: Path) -> None:
    for _ in range(count):
        subprocess.run([sys.executable, "-c", "pass"], check=True)


def _tcp(count: int, directory: Path) -> None:
    """Connect, accept and close, on both sides in one thread."""
    with socket.create_server((_LOOPBACK, 0), backlog=16) as server:
        address = server.getsockname()
        for _ in range(count):
            with socket.create_connection(address) as client:
                accepted, _ = server.accept()
                # The client resets: no port is left in TIME_WAIT.
                client.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
            accepted.close()


def _udp(count: int, directory: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind((_LOOPBACK, 0))
        address = server.getsockname()
        for _ in range(count):
            client.sendto(b"x", address)
            server.recv(16)


def _build(count: int, directory: Path) -> None:
    """Compile small C files, each by its own compiler, two at a time."""
    compiler = shutil.which("cc") or "cc"
    for number in range(count):
        source = (
            f"#include <stddef.h>\nint f{number}(int a) {{ return a + {number}; }}\n"
        )
        (directory / f"{number}.c").write_text(source)
    names = "\n".join(str(number) for number in range(count))
    script = f'"{compiler}" -O1 -c {{}}.c -o {{}}.o && rm {{}}.o'
    subprocess.run(
        ["xargs", "-P2", "-I{}", "sh", "-c", script],
        input=names.encode(),
        cwd=directory,
        check=True,
    )


@dataclass(frozen=True)
class Workload:
    """A loop, and where it is run: "tmpfs", or "disk" for the repository's directory.

    `share` is how much of a usual workload's time it gets; `minimum` how often it must
    go round for its figures to mean something.
    """

    name: str
    loop: Loop
    place: str = "tmpfs"
    share: float = 1.0
    minimum: int = 20


WORKLOADS = (
    Workload("exec (posix_spawn of /bin/true)", _exec),
    Workload("create, unlink (tmpfs)", _create_unlink),
    Workload("create, unlink (disk)", _create_unlink, "disk"),
    Workload("TCP connect, accept, close", _tcp),
    Workload("build (compile small C files)", _build, "disk", share=4, minimum=200),
)
#: Calls of which the nanoseconds matter, all on tmpfs; see `bench.calls_side`.
CALLS = (
    Workload("open, close", _open_close),
    Workload("create, unlink (tmpfs)", _create_unlink),
    Workload("rename", _rename),
    Workload("unix socket: connect, accept, close", _unix),
    Workload("UDP send, receive", _udp),
    Workload("getppid", _getppid),
    Workload("read of one byte", _read),
    Workload("nothing (the loop itself)", _nothing),
    Workload("python3 -c pass", _python),
)
BY_NAME = {workload.name: workload for workload in (*WORKLOADS, *CALLS)}


def usable() -> tuple[Workload, ...]:
    """Return the workloads that this machine can run."""
    has_compiler = shutil.which("cc") is not None and shutil.which("xargs") is not None
    return tuple(w for w in WORKLOADS if w.loop is not _build or has_compiler)


def used_s() -> float:
    """Return the processor time of this process and of its children that ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    parts = own.ru_utime, own.ru_stime, children.ru_utime, children.ru_stime
    return sum(parts)


def run(workload: Workload, count: int, places: dict[str, Path]) -> Cost:
    """Run a workload in a process of its own and return what it took."""
    directory = places[workload.place]
    python = sys.executable, "-P", "-m", "bench.workloads"
    done = subprocess.run(
        [*python, workload.name, str(count), os.fspath(directory)],
        stdout=subprocess.PIPE,
        check=True,
        cwd=REPOSITORY,
    )
    return Cost(**json.loads(done.stdout))


def main() -> None:
    """Run the workload named on the command line."""
    workload, count, directory = BY_NAME[sys.argv[1]], int(sys.argv[2]), sys.argv[3]
    before_s, start_s = used_s(), time.perf_counter()
    workload.loop(count, Path(directory))
    cost = Cost(count, used_s() - before_s, time.perf_counter() - start_s)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
