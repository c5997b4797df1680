# SPDX-License-Identifier: MIT
"""Ways to take or to look at a datagram; each runs as `actions_received.py NAME`."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress

from kernel.events.file.actions_file import call_32, string_32
from kernel.events.network.actions_udp import Message, Part
from kernel.events.network.connections import (
    LIBC,
    LOOPBACK,
    Address,
    answered,
    began,
    datagrams,
    in_child,
    say,
    wait_for,
)
from support.ring import Ring

SO_PEEK_OFF = 42
UDP_LITE = 136
SOCKETCALL, SYS_SENDTO, SYS_RECV, SYS_RECVFROM = 102, 11, 10, 12
NOWHERE = 8  # an address at which no process has memory
ELSEWHERE = ("127.0.0.53", 53)
ROOM = 16384  # peers that were followed by others, in the queues of all sockets
SOCKETS = 80  # each has room for a few hundred datagrams
DATA = b"data and more of it"
TURNS = 5000


def arrived(count: int = 1) -> tuple[socket.socket, list[socket.socket]]:
    """Return a socket in whose queue there is a datagram of each of `count` others."""
    receiver, _ = datagrams()
    senders = [datagrams()[1] for _ in range(count)]
    for sender in senders:
        send(sender, receiver)
    return receiver, senders


def send(sender: socket.socket, receiver: socket.socket) -> None:
    sender.sendto(DATA, receiver.getsockname())
    began("udp", sender.getsockname(), receiver.getsockname())


def got(receiver: socket.socket, *senders: socket.socket) -> None:
    for sender in senders:
        answered("udp", receiver.getsockname(), sender.getsockname())


def in_parts(receiver: socket.socket, flags: int, *at: int) -> tuple[int, int]:
    """Receive four bytes at each address; return the result and the error number."""
    parts = (Part * len(at))(*(Part(each, 4) for each in at))
    message = Message(None, 0, ctypes.addressof(parts), len(at))
    result = LIBC.recvmsg(receiver.fileno(), ctypes.byref(message), flags)
    return result, ctypes.get_errno()


# --- looked at, and left in the queue


def received_by_peek() -> None:
    receiver, (first, _) = arrived(2)
    for _ in range(3):
        assert receiver.recvfrom(99, socket.MSG_PEEK)[1] == first.getsockname()
    got(receiver, first)


def received_by_peek_behind_others() -> None:
    """The offset leads to the third datagram at once; the fourth is not looked at."""
    receiver, senders = arrived(4)
    receiver.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 2 * len(DATA) + 5)
    data, peer = receiver.recvfrom(2, socket.MSG_PEEK)
    assert (data, peer) == (DATA[5:7], senders[2].getsockname())
    got(receiver, senders[2])


def received_by_peek_on_and_on() -> None:
    receiver, senders = arrived(100)
    receiver.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0)
    for sender in senders:
        for size in (4, 99):
            peer = receiver.recvfrom(size, socket.MSG_PEEK)[1]
            assert peer == sender.getsockname()
    got(receiver, *senders)


def received_by_peek_of_nothing() -> None:
    """Empty datagrams have no data, but each has a peer."""
    receiver, _ = datagrams()
    senders = [datagrams()[1] for _ in range(3)]
    receiver.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0)
    for sender in senders:
        sender.sendto(b"", receiver.getsockname())
        began("udp", sender.getsockname(), receiver.getsockname())
    for sender in senders:
        assert receiver.recvfrom(9, socket.MSG_PEEK)[1] == sender.getsockname()
    got(receiver, *senders)


def received_by_peek_after_others_were_read() -> None:
    receiver, senders = arrived(3)
    receiver.recv(99)
    peer = receiver.recvfrom(99, socket.MSG_PEEK)[1]
    assert peer == senders[1].getsockname()
    got(receiver, *senders[:2])


def received_by_child_that_peeks() -> None:
    """Who looks is reported, and then who takes."""
    receiver, (sender,) = arrived()

    def work() -> None:
        assert receiver.recv(99, socket.MSG_PEEK) == DATA
        got(receiver, sender)

    wait_for(in_child(work))
    assert receiver.recv(99) == DATA
    got(receiver, sender)


# --- with a buffer that is not there: the first bytes are delivered all the same


def received_into_a_faulting_buffer() -> None:
    receiver, senders = arrived(3)
    for sender in senders:
        good = ctypes.create_string_buffer(4)
        at = ctypes.addressof(good)
        assert in_parts(receiver, 0, at, NOWHERE) == (-1, errno.EFAULT)
        assert good.raw == DATA[:4]
        got(receiver, sender)


def received_into_a_faulting_buffer_by_peek() -> None:
    receiver, (first, second) = arrived(2)
    receiver.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, len(DATA))
    good = ctypes.create_string_buffer(4)
    at = ctypes.addressof(good)
    failed = in_parts(receiver, socket.MSG_PEEK, at, NOWHERE)
    assert failed == (-1, errno.EFAULT)
    assert good.raw == DATA[:4]
    got(receiver, second)
    assert receiver.recvfrom(99)[1] == first.getsockname()
    got(receiver, first)


def received_nothing() -> None:
    """What fails before there is a datagram is none."""
    receiver, _ = datagrams()
    for flags in (socket.MSG_DONTWAIT, socket.MSG_DONTWAIT | socket.MSG_PEEK):
        assert in_parts(receiver, flags, NOWHERE) == (-1, errno.EAGAIN)


# --- the socket's own peer is another one by then


def received_after_connect_elsewhere() -> None:
    receiver, (sender,) = arrived()
    here = receiver.getsockname()
    receiver.connect(ELSEWHERE)
    assert receiver.recvfrom(99) == (DATA, sender.getsockname())
    answered("udp", here, sender.getsockname())


def received_after_connect_elsewhere_by_peek() -> None:
    receiver, (sender,) = arrived()
    receiver.connect(ELSEWHERE)
    data, peer = receiver.recvfrom(99, socket.MSG_PEEK)
    assert (data, peer) == (DATA, sender.getsockname())
    got(receiver, sender)


def received_after_connect_to_one_and_another() -> None:
    receiver, first = datagrams()
    _, second = datagrams()
    for sender in (first, second):
        receiver.connect(sender.getsockname())
        send(sender, receiver)
    receiver.connect(ELSEWHERE)
    for sender in (first, second):
        assert receiver.recvfrom(99)[1] == sender.getsockname()
        got(receiver, sender)


def received_after_the_connection_was_dissolved() -> None:
    receiver, sender = datagrams()
    receiver.connect(sender.getsockname())
    here = receiver.getsockname()
    send(sender, receiver)
    nobody = struct.pack("=H14x", socket.AF_UNSPEC)
    assert LIBC.connect(receiver.fileno(), nobody, len(nobody)) == 0
    assert receiver.recvfrom(99) == (DATA, sender.getsockname())
    answered("udp", here, sender.getsockname())


# --- other calls


def received_by_read() -> None:
    receiver, senders = arrived(2)
    assert os.read(receiver.fileno(), 99) == DATA
    assert os.readv(receiver.fileno(), [bytearray(4), bytearray(99)]) == len(DATA)
    got(receiver, *senders)


def received_by_splice() -> None:
    receiver, (sender,) = arrived()
    out, into = os.pipe()
    assert os.splice(receiver.fileno(), into, 99) == len(DATA)
    assert os.read(out, 99) == DATA
    got(receiver, sender)


def received_by_many_messages_that_fault() -> None:
    """The second of two messages has no buffer: the call says that there was one."""
    receiver, senders = arrived(2)
    good = ctypes.create_string_buffer(99)
    parts = (Part * 2)(Part(ctypes.addressof(good), 99), Part(NOWHERE, 99))
    messages = (Message * 2)(
        *(Message(None, 0, ctypes.addressof(each), 1) for each in parts)
    )
    assert LIBC.recvmmsg(receiver.fileno(), messages, 2, 0, None) == 1
    got(receiver, *senders)


def received_by_io_uring() -> None:
    receiver, senders = arrived(3)
    with Ring() as ring:
        taken = ring.receive(receiver.fileno(), 99)
        assert ring.wait()[0] == len(DATA)
        assert taken.value == DATA
        ring.receive_message(receiver.fileno(), 4)
        assert ring.wait()[0] == 4
        ring.receive(receiver.fileno(), 99, flags=socket.MSG_PEEK)
        assert ring.wait()[0] == len(DATA)
    got(receiver, *senders)


def received_by_32_bit_calls() -> None:
    """Send by sendto(2); take by recv(2) and recvfrom(2), which tells the peer."""
    receiver, sender = datagrams()
    address: Address = receiver.getsockname()
    name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", address[1])
    at = string_32(bytes(24) + name + socket.inet_aton(address[0]) + bytes(108))
    there, data = at + 24, at + 48
    calls = [
        (SYS_SENDTO, (sender.fileno(), data, 7, 0, there, 16)),
        (SYS_SENDTO, (sender.fileno(), data, 7, 0, there, 16)),
        (SYS_RECV, (receiver.fileno(), data, 99, socket.MSG_PEEK)),
        (SYS_RECVFROM, (receiver.fileno(), data, 99, 0, 0, 0)),
    ]
    for number, words in calls:
        ctypes.memmove(at, struct.pack(f"={len(words)}I", *words), 4 * len(words))
        assert call_32(SOCKETCALL, number, at, 0) == 7
    began("udp", sender.getsockname(), receiver.getsockname())
    got(receiver, sender)


def received_behind_other_headers() -> None:
    """Other headers of IPv6 stand in front. A raw socket sends: it makes no event."""
    receiver, _ = datagrams(socket.AF_INET6, "::1")
    for port, headers in ((1001, "f"), (1002, "od"), (1003, "ofdd")):
        send_behind(headers, port, receiver.getsockname()[1])
        data, peer = receiver.recvfrom(99)
        assert (data, peer[:2]) == (b"x", ("::1", port))
        answered("udp", receiver.getsockname(), peer)


def received_not_what_was_dropped() -> None:
    """There is room for few datagrams; those of the second sender come too late."""
    receiver, _ = datagrams()
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    first, second, third = (datagrams()[1] for _ in range(3))
    for sender in (*[first] * 9, second, second, first, third):
        sender.sendto(DATA, receiver.getsockname())
    for sender in (first, second, third):
        began("udp", sender.getsockname(), receiver.getsockname())
    receiver.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            assert receiver.recvfrom(99)[1] == first.getsockname()
    got(receiver, first)
    third.sendto(DATA, receiver.getsockname())
    assert receiver.recvfrom(99)[1] == third.getsockname()
    got(receiver, third)


def received_while_others_arrive() -> None:
    """Datagrams of two peers arrive by turns while another processor receives."""
    receiver, first = datagrams()
    _, second = datagrams()

    def send() -> None:
        for _ in range(TURNS):
            first.sendto(DATA, receiver.getsockname())
            second.sendto(DATA, receiver.getsockname())
        for sender in (first, second):
            began("udp", sender.getsockname(), receiver.getsockname())

    sending = in_child(send)
    receiver.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            receiver.recvfrom(99)
    got(receiver, first, second)
    wait_for(sending)


def received_behind_too_many_headers() -> None:
    """The ports are behind more headers than are read; what follows is seen."""
    receiver, _ = datagrams(socket.AF_INET6, "::1")
    for port, headers in ((1001, "odddddd"), (1002, "od")):
        send_behind(headers, port, receiver.getsockname()[1])
        assert receiver.recvfrom(99)[1][:2] == ("::1", port)
    answered("udp", receiver.getsockname(), ("::1", 1002))


def received_after_others_took_the_room() -> None:
    """Datagrams of two peers by turns fill the map in which peers are kept.

    The last peer, and the one before it, are known to the socket itself. All is done by
    one processor, since each keeps the entries that it made last from being thrown out.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    receiver, (_, second, third) = arrived(3)
    full = [arrived(2) for _ in range(SOCKETS)]
    for crowded, others in full:
        crowded.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for _ in range(ROOM // SOCKETS):
            for other in others:
                other.sendto(b"", crowded.getsockname())
    for _ in "123":
        receiver.recv(99)
    got(receiver, second, third)


def send_behind(headers: str, port: int, to_port: int) -> None:
    """Send a datagram from `port`. Headers: a fragment (f), options at two places."""
    numbers = {"f": 44, "d": 60, "o": 0}
    ends = socket.inet_pton(socket.AF_INET6, "::1") * 2
    udp = struct.pack("!HHHH", port, to_port, 9, 0) + b"x"
    udp = (
        udp[:6]
        + struct.pack("!H", checksum(ends + struct.pack("!II", 9, 17) + udp))
        + udp[8:]
    )
    packet, following = udp, 17
    for each in reversed(headers):
        rest = struct.pack("!HI", 0, 7) if each == "f" else b"\1\4\0\0\0\0"
        length = 0xFF if each == "f" else 0
        packet, following = bytes([following, length]) + rest + packet, numbers[each]
    head = struct.pack("!IHBB", 6 << 28, len(packet), following, 64)
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.sendto(head + ends + packet, ("::1", 0))


def checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071."""
    total: int = sum(
        struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- UDP-Lite


def light(family: int, address: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM, UDP_LITE)
    made.bind((address, 0))
    return made


def received_by_udp_lite() -> None:
    for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        receiver, *senders = (light(family, address) for _ in range(3))
        for sender in senders:
            send(sender, receiver)
            assert receiver.recvfrom(99)[1] == sender.getsockname()
        got(receiver, *senders)


def received_by_udp_lite_in_every_way() -> None:
    first, second, third = (light(socket.AF_INET, LOOPBACK) for _ in range(3))
    second.connect(first.getsockname())
    second.send(DATA)
    began("udp", second.getsockname(), first.getsockname())
    assert in_parts(first, 0, NOWHERE) == (-1, errno.EFAULT)
    got(first, second)
    send(third, first)
    first.connect(ELSEWHERE)
    assert first.recv(99, socket.MSG_PEEK) == DATA
    got(first, third)


def received_by_udp_and_udp_lite_at_one_port() -> None:
    """The ports of one are not those of the other: there are two flows."""
    here, there = datagrams()
    lite = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDP_LITE) for _ in "12"]
    for each, of_udp in zip(lite, (here, there), strict=True):
        each.bind(of_udp.getsockname())
    for sender, receiver in ((there, here), (lite[1], lite[0])):
        send(sender, receiver)
        assert receiver.recv(99) == DATA
        got(receiver, sender)


if __name__ == "__main__":
    say()
    globals()[sys.argv[1]]()
