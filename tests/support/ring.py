# SPDX-License-Identifier: MIT
"""Just enough of io_uring(7) to connect, accept, send, receive, and use names."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

LIBC = ctypes.CDLL(None, use_errno=True)
SETUP, ENTER, REGISTER = 425, 426, 427
GETEVENTS, SQ_WAKEUP = 1, 2
#: Flags of a ring: SQPOLL; COOP_TASKRUN; SINGLE_ISSUER and DEFER_TASKRUN.
POLLED, COOPERATIVE, DEFERRED = 1 << 1, 1 << 8, 1 << 12 | 1 << 13
ASYNC, LINKED = 1 << 4, 1 << 2
REGISTER_FILES2 = 13
RSRC_REGISTER_SPARSE = 1
OP_ACCEPT, OP_CONNECT = 13, 16
OP_RECVMSG, OP_SEND, OP_RECV = 10, 26, 27
OP_OPENAT, OP_RENAMEAT, OP_UNLINKAT, OP_LINKAT = 18, 35, 36, 39
AT_FDCWD = -100
ACCEPT_MULTISHOT = 1
CQE_SKIP_SUCCESS = 1 << 6
SQES_AT = 0x10000000
ENTRIES = 8


class IoUringError(Exception):
    """The kernel has no io_uring, or forbids it."""


def call(number: int, *arguments: Any) -> int:
    result = LIBC.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise IoUringError(os.strerror(error))
    return int(result)


class Ring:
    """One ring; requests are submitted at once, `wait` returns (result, flags)."""

    def __init__(self, flags: int = 0) -> None:
        asked = struct.pack("=4I", 0, 0, flags, 0)  # a poller sleeps at once
        parameters = ctypes.create_string_buffer(asked, 120)
        self._fd = call(SETUP, ENTRIES, parameters)
        self._wakeup = SQ_WAKEUP if flags & POLLED else 0
        #: Requests that wait to be submitted together; None: none has to.
        self._together: int | None = None
        words = struct.unpack("=30I", parameters.raw)
        self._tail_at, self._mask_at = words[11], words[12]
        self._array_at = words[16]
        self._done_head_at, self._done_tail_at, self._done_mask_at = words[20:23]
        self._done_at = words[25]
        size = max(self._array_at + ENTRIES * 4, self._done_at + ENTRIES * 2 * 16)
        self._ring = mmap.mmap(self._fd, size)
        self._requests = mmap.mmap(self._fd, ENTRIES * 64, offset=SQES_AT)
        self._kept: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self._requests.close()
        os.close(self._fd)

    def _word(self, at: int) -> int:
        (value,) = struct.unpack_from("=I", self._ring, at)
        return int(value)

    def _submit(self, request: bytes) -> None:
        tail = self._word(self._tail_at)
        slot = tail & self._word(self._mask_at)
        self._requests[slot * 64 : slot * 64 + 64] = request.ljust(64, b"\0")
        struct.pack_into("=I", self._ring, self._array_at + slot * 4, slot)
        struct.pack_into("=I", self._ring, self._tail_at, tail + 1)
        if self._together is None:
            assert call(ENTER, self._fd, 1, 0, self._wakeup, None, 0) == 1
        else:
            self._together += 1

    @contextmanager
    def together(self) -> Iterator[None]:
        """Submit by one call what is begun meanwhile."""
        self._together = 0
        yield
        count, self._together = self._together, None
        assert call(ENTER, self._fd, count, 0, self._wakeup, None, 0) == count

    def look(self) -> None:
        """Have a ring with DEFERRED end what can be ended."""
        call(ENTER, self._fd, 0, 0, GETEVENTS, None, 0)

    def connect(self, fd: int, address: tuple[str, int]) -> None:
        """Begin a connection to an IPv4 address."""
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", address[1])
        where = ctypes.create_string_buffer(name + socket.inet_aton(address[0]), 16)
        self._kept.append(where)
        at = ctypes.addressof(where)
        self._submit(struct.pack("=BBHiQQ", OP_CONNECT, 0, 0, fd, 16, at))

    def on_socket(
        self, operation: int, fd: int, address: bytes, *, request_flags: int = 0
    ) -> None:
        """Begin to bind or to connect a socket; `address` is a struct sockaddr."""
        where = ctypes.create_string_buffer(address, len(address))
        self._kept.append(where)
        head = struct.pack("=BBHi", operation, request_flags, 0, fd)
        self._submit(head + struct.pack("=QQ", len(address), ctypes.addressof(where)))

    def accept(self, fd: int, *, multishot: bool = False, slot: int = 0) -> None:
        """Begin to accept; into a slot of the ring's table, counted from 1."""
        how = ACCEPT_MULTISHOT if multishot else 0
        head = struct.pack("=BBHiQQII", OP_ACCEPT, 0, how, fd, 0, 0, 0, 0)
        self._submit(head + struct.pack("=QHHi", 7, 0, 0, slot))

    def send(self, fd: int, data: bytes) -> None:
        """Begin to send to the peer of a connected socket."""
        kept = ctypes.create_string_buffer(data, len(data))
        self._kept.append(kept)
        at = ctypes.addressof(kept)
        self._submit(struct.pack("=BBHiQQI", OP_SEND, 0, 0, fd, 0, at, len(data)))

    def receive(self, fd: int, size: int, *, flags: int = 0) -> Any:
        """Begin to receive; return the buffer, whose `value` is what came."""
        buffer = ctypes.create_string_buffer(size)
        self._kept.append(buffer)
        at = ctypes.addressof(buffer)
        self._submit(struct.pack("=BBHiQQII", OP_RECV, 0, 0, fd, 0, at, size, flags))
        return buffer

    def receive_message(self, fd: int, size: int) -> None:
        """Begin to receive a message (recvmsg) into one buffer."""
        buffer = ctypes.create_string_buffer(size)
        part = struct.pack("=QQ", ctypes.addressof(buffer), size)
        parts = ctypes.create_string_buffer(part, len(part))
        head = struct.pack("=QIIQQQQI", 0, 0, 0, ctypes.addressof(parts), 1, 0, 0, 0)
        message = ctypes.create_string_buffer(head, 56)
        self._kept += [buffer, parts, message]
        at = ctypes.addressof(message)
        self._submit(struct.pack("=BBHiQQII", OP_RECVMSG, 0, 0, fd, 0, at, 1, 0))

    def name(
        self,
        operation: int,
        path: bytes,
        new: bytes = b"",
        *,
        flags: int = 0,
        slot: int = 0,
        request_flags: int = 0,
        personality: int = 0,
    ) -> None:
        """Begin an operation on a name relative to the working directory.

        `flags` are the operation's; opening takes a slot as `accept` does.
        `personality` stands for rights that were registered.
        """
        first, second = ctypes.c_char_p(path), ctypes.c_char_p(new)
        self._kept += [first, second]
        at, then = (
            ctypes.cast(each, ctypes.c_void_p).value for each in (first, second)
        )
        mode = 0o644 if operation == OP_OPENAT else 0
        length = (AT_FDCWD & 0xFFFFFFFF) if new else mode
        begin = struct.pack("=BBHi", operation, request_flags, 0, AT_FDCWD)
        head = begin + struct.pack("=QQ", then if new else 0, at)
        rest = struct.pack("=IIQHHI", length, flags, 7, 0, personality, slot)
        self._submit(head + rest)

    def fileno(self) -> int:
        """Return the descriptor of the ring."""
        return self._fd

    def make_table(self, slots: int) -> None:
        """Make an empty table of files."""
        register = struct.pack("=IIQQQ", slots, RSRC_REGISTER_SPARSE, 0, 0, 0)
        call(REGISTER, self._fd, REGISTER_FILES2, register, len(register))

    def wait(self) -> tuple[int, int]:
        """Return result and flags of the next completion."""
        head = self._word(self._done_head_at)
        while head == self._word(self._done_tail_at):
            call(ENTER, self._fd, 0, 1, GETEVENTS, None, 0)
        slot = head & self._word(self._done_mask_at)
        _, result, flags = struct.unpack_from(
            "=QiI", self._ring, self._done_at + slot * 16
        )
        struct.pack_into("=I", self._ring, self._done_head_at, head + 1)
        return result, flags


class QuietRing(Ring):
    """A ring whose requests make no completion entry when they succeed.

    `more` are other flags of each request.
    """

    def __init__(self, flags: int = 0, more: int = 0) -> None:
        super().__init__(flags)
        self._more = more

    def _submit(self, request: bytes) -> None:
        flags = request[1] | CQE_SKIP_SUCCESS | self._more
        super()._submit(request[:1] + bytes([flags]) + request[2:])
