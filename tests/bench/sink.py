# SPDX-License-Identifier: MIT
"""A log daemon that throws lines away: as cheap a reader of a log socket as can be.

It runs in a process of its own, so that its processor time can be told apart. The
socket lives in a network namespace of its own, which says how long queues are.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BATCH = 64
_LINE_BYTES = 65_536
_WAIT_FOR_ONE = 0x10000  # MSG_WAITFORONE, recv(2)
_CLONE_NEWNET = 0x40000000
_QUEUE_LENGTH = "/proc/sys/net/unix/max_dgram_qlen"
#: What systemd sets; the kernel's own default is that of containers.
SYSTEMD_QUEUE, DEFAULT_QUEUE = 512, 10
_MARKER = re.compile(rb"sysmonlx-latency-(\d+)")


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    """struct msghdr, recvmsg(2)."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint),
        ("iovecs", ctypes.c_void_p),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Header(ctypes.Structure):
    """struct mmsghdr, recvmmsg(2)."""

    _fields_ = [("message", _Message), ("received_bytes", ctypes.c_uint)]


@dataclass(frozen=True)
class Received:
    """What the sink has seen so far; `latencies_ms` since the last report."""

    lines: int
    size_bytes: int
    cpu_s: float
    latencies_ms: list[float]


class Sink:
    """The reader's process, seen from the benchmark."""

    def __init__(self, path: Path, queue: int = SYSTEMD_QUEUE) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.sink", os.fspath(path), str(queue)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.report()

    def report(self, *, looks_for_latency: bool = False) -> Received:
        """Return the counters; from now on read lines, where latency is wanted."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"L\n" if looks_for_latency else b"C\n")
        process.stdin.flush()
        return Received(**json.loads(process.stdout.readline()))

    def settle(self, quiet_s: float = 0.2, limit_s: float = 1.0) -> Received:
        """Return the counters once no line has come for a while; others make some."""
        end = time.monotonic() + limit_s
        before = self.report()
        while True:
            time.sleep(quiet_s)
            after = self.report()
            if after.lines == before.lines or time.monotonic() > end:
                return after
            before = after

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class _Reader:
    def __init__(self, log: socket.socket) -> None:
        self._log = log
        self._buffers = [
            ctypes.create_string_buffer(_LINE_BYTES) for _ in range(_BATCH)
        ]
        self._iovecs = (_Iovec * _BATCH)()
        self._headers = (_Header * _BATCH)()
        for header, iovec, buffer in zip(
            self._headers, self._iovecs, self._buffers, strict=True
        ):
            iovec.base = ctypes.addressof(buffer)
            iovec.size = _LINE_BYTES
            header.message.iovecs = ctypes.addressof(iovec)
            header.message.iovec_count = 1
        self._recvmmsg: Any = ctypes.CDLL(None, use_errno=True).recvmmsg
        self.lines = self.size_bytes = 0
        self.looks_for_latency = False
        self.latencies_ms: list[float] = []

    def read(self) -> None:
        """Take all that waits, as one recvmmsg() can."""
        flags = _WAIT_FOR_ONE | socket.MSG_DONTWAIT
        count = self._recvmmsg(self._log.fileno(), self._headers, _BATCH, flags, None)
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if count <= 0:
            return
        self.lines += count
        # The sizes of one kind of lines are much alike: the first stands for all.
        self.size_bytes += count * int(self._headers[0].received_bytes)
        if self.looks_for_latency:
            self._look_for_latency(count, now_ns)

    def _look_for_latency(self, count: int, now_ns: int) -> None:
        for header, buffer in zip(self._headers[:count], self._buffers, strict=False):
            if found := _MARKER.search(buffer.raw[: header.received_bytes]):
                self.latencies_ms.append((now_ns - int(found[1])) / 1e6)

    def report(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        latencies, self.latencies_ms = self.latencies_ms, []
        return {
            "lines": self.lines,
            "size_bytes": self.size_bytes,
            "cpu_s": used.ru_utime + used.ru_stime,
            "latencies_ms": latencies,
        }


def _open(path: str, queue: str) -> socket.socket:
    if ctypes.CDLL(None).unshare(_CLONE_NEWNET) == 0:
        Path(_QUEUE_LENGTH).write_text(queue)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(path)
    return log


def main() -> None:
    """Read the socket argv[1] with queue argv[2]; stdin asks for the counters."""
    import select

    with _open(*sys.argv[1:3]) as log:
        reader = _Reader(log)
        poll = select.poll()
        poll.register(log, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd != 0:
                    reader.read()
                    continue
                command = os.read(0, 2)
                if not command:
                    return
                print(json.dumps(reader.report()), flush=True)
                reader.looks_for_latency = command.startswith(b"L")


if __name__ == "__main__":
    main()
