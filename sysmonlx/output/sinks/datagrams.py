# SPDX-License-Identifier: MIT
"""Messages to the log daemon as syslog(3) sends them, many with one system call."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from array import array
from collections.abc import Iterable
from itertools import accumulate, islice

from sysmonlx.output.lines import Lines

#: Datagrams that one sendmmsg(2) hands to the kernel, at most.
BATCH = 64

SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

#: SO_SNDBUF: room for a few of the longest lines. The kernel grants net.core.wmem_max
#: at most.
SEND_BUFFER_BYTES = 1 << 20

_PRIORITY = 1 << 3 | 6  # LOG_USER | LOG_INFO
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


def stamp(wall_s: int) -> str:
    """Return a local time as syslog(3) writes it, in the C locale.

    `wall_s` counts from the epoch.
    """
    at = time.localtime(wall_s)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {clock}"


def prefix(wall_s: int) -> bytes:
    """Return the beginning of a message of "sysmon", as syslog(3) writes it."""
    return f"<{_PRIORITY}>{stamp(wall_s)} sysmon: ".encode()


def file_prefix(wall_s: int) -> str:
    """Return what a log daemon writes before a message of "sysmon" into a file."""
    host = os.uname().nodename.partition(".")[0]
    host = "".join(each if "!" <= each <= "~" else "_" for each in host)
    return f"{stamp(wall_s)} {host or 'localhost'} sysmon: "


def log_socket(path: str) -> socket.socket:
    """Return a non-blocking socket that is connected to `path`.

    It is a datagram socket, or a stream socket where the other side is one.

    Raises:
        OSError: nobody listens there.
    """
    try:
        return _connect(path, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
    return _connect(path, socket.SOCK_STREAM)


def _connect(path: str, kind: socket.SocketKind) -> socket.socket:
    log = socket.socket(socket.AF_UNIX, kind)
    try:
        log.setblocking(False)
        log.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        log.connect(path)
    except OSError:
        log.close()
        raise
    return log


class _Msghdr(ctypes.Structure):
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


class _Mmsghdr(ctypes.Structure):
    """struct mmsghdr, sendmmsg(2)."""

    _fields_ = [("message", _Msghdr), ("sent_bytes", ctypes.c_uint)]


class Datagrams:
    """Sends datagrams with sendmmsg(2), from arrays that are made once.

    One thread may use it. `flags` are those of send(2).
    """

    def __init__(self, flags: int = SEND_FLAGS) -> None:
        self._flags = flags
        # BATCH times struct iovec, readv(2): an address, then a size. A long is as
        # large as a pointer wherever Linux runs.
        self._iovecs = (ctypes.c_ulong * (2 * BATCH))()
        self._words = memoryview(self._iovecs).cast("B").cast("L")
        self._headers = (_Mmsghdr * BATCH)()
        start, size = ctypes.addressof(self._iovecs), 2 * ctypes.sizeof(ctypes.c_ulong)
        for number, header in enumerate(self._headers):
            header.message.iovecs = start + number * size
            header.message.iovec_count = 1
        self._offered = BATCH
        self.took_all = True
        """Whether the last `send` sent all that it offered."""
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._sendmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
        ]

    def send(self, fd: int, messages: Iterable[bytes]) -> int:
        """Send the first messages; return how many the kernel took, one at least.

        A destination that takes a few is offered twice as many the next time.

        Raises:
            OSError: it took none.
        """
        lines = Lines.of(list(islice(messages, self._offered)))
        sent = self._send(fd, _address(lines.data), lines.sizes)
        if sent < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self.took_all = sent == len(lines)
        self._offered = min(BATCH, 2 * (self._offered if self.took_all else sent))
        return sent

    def send_all(self, fd: int, lines: Lines) -> int:
        """Send lines until the kernel takes no more; return how many it took."""
        address, at = _address(lines.data), 0
        while at < len(lines):
            sizes = lines.sizes[at : at + BATCH]
            sent = self._send(fd, address, sizes)
            if sent < 0:
                break
            at += sent
            address += sum(sizes[:sent])
        return at

    def _send(self, fd: int, address: int, sizes: list[int]) -> int:
        """Send memory from `address` on, in pieces of these sizes, BATCH at most.

        Returns how many were taken, -1 where none was.
        """
        count = len(sizes)
        addresses = array("L", [*accumulate(sizes, initial=address)])
        self._words[0 : 2 * count : 2] = memoryview(addresses)[:-1]
        self._words[1 : 2 * count : 2] = memoryview(array("L", sizes))
        return int(self._sendmmsg(fd, self._headers, count, self._flags))


def _address(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
