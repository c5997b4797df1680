# SPDX-License-Identifier: MIT
"""A DNS server of the test, and what event 22 must say of its answers.

The first label of a name says how it is answered: see `ANSWERS`. Every other name has
an address of each family.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable

PORT = 53
PR_SET_PDEATHSIG = 1
A, CNAME, TXT, AAAA = 1, 5, 16, 28
HEADER = struct.Struct(">6H")
V4, V6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8") + bytes(11) + b"\1"
NAME_AGAIN = b"\xc0\x0c"

#: First label: response code, records of an answer, QueryStatus and QueryResults.
ANSWERS: dict[str, tuple[int, list[tuple[int, bytes]], str, str]] = {
    "nx": (3, [], "9003", "-"),
    "refused": (5, [], "9005", "-"),
    "none": (0, [], "9501", "-"),
    "alias": (
        0,
        [(CNAME, b"\4edge" + NAME_AGAIN), (A, V4)],
        "0",
        "type:  5 edge.{name};::ffff:192.0.2.1;",
    ),
    "text": (0, [(TXT, b"\5a b;c")], "0", "type: 16 a\\032b\\059c;"),
    "large": (0, [(A, V4)] * 200, "0", "::ffff:192.0.2.1;" * 200),
}
PLAIN = {
    A: (0, [(A, V4)], "0", "::ffff:192.0.2.1;"),
    AAAA: (0, [(AAAA, V6)], "0", "2001:db8::1;"),
}


def question(name: str, kind: int = A, number: int = 7) -> bytes:
    """Return a message that asks for the records of a type."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return (
        HEADER.pack(number, 0x100, 1, 0, 0, 0)
        + labels
        + struct.pack(">BHH", 0, kind, 1)
    )


def expected(name: str, kind: int = A) -> tuple[str, str]:
    """Return QueryStatus and QueryResults of such a question."""
    _, _, status, results = ANSWERS.get(name.partition(".")[0].lower(), PLAIN[kind])
    return status, results.format(name=name)


def answer(asked: bytes) -> bytes:
    """Return the answer to a question."""
    first = asked[13 : 13 + asked[12]].decode().lower()
    end = asked.index(b"\0", 12) + 5
    (kind,) = struct.unpack_from(">H", asked, end - 4)
    code, records, _, _ = ANSWERS.get(first, PLAIN.get(kind, PLAIN[A]))
    head = asked[:2] + HEADER.pack(0, 0x8180 | code, 1, len(records), 0, 0)[2:]
    return (
        head
        + asked[12:end]
        + b"".join(
            NAME_AGAIN + struct.pack(">2HiH", each, 1, 60, len(data)) + data
            for each, data in records
        )
    )


def serve(sockets: list[socket.socket], listener: socket.socket | None = None) -> int:
    """Answer in a child, for as long as this process lives; return the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for each in (1, 2):  # nobody waits for the end of what it writes
        os.dup2(os.open(os.devnull, os.O_WRONLY), each)
    if listener is not None:
        threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
    while True:
        for ready in select.select(sockets, [], [])[0]:
            answer_one(ready)


def accept_all(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    """Answer on a connection until it ends, in pieces where the name says that."""
    with connection, connection.makefile("rb") as file:
        while len(length := file.read(2)) == 2:
            asked = file.read(int.from_bytes(length, "big"))
            reply(asked, lambda data: send_framed(connection, data))


def framed(data: bytes) -> bytes:
    """Return a message as it stands in a stream."""
    return len(data).to_bytes(2, "big") + data


def send_framed(connection: socket.socket, data: bytes) -> None:
    data = framed(data)
    if b"pieces" not in data:
        connection.sendall(data)
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(data), 9):
        connection.sendall(data[at : at + 9])


def answer_one(listening: socket.socket) -> None:
    """Answer the datagram that waits."""
    asked, peer = listening.recvfrom(4096)
    reply(asked, lambda data: listening.sendto(data, peer))


def reply(asked: bytes, send: Callable[[bytes], object]) -> None:
    """Answer a question as its name says: never, twice, or once."""
    if asked[2:6] != question("a")[2:6] or b"\0" not in asked[HEADER.size :]:
        return
    for _ in range({b"silent": 0, b"twice": 2}.get(asked[13 : 13 + asked[12]], 1)):
        send(answer(asked))
