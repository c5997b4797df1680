# SPDX-License-Identifier: MIT
"""Datagrams of every kind; each runs as `actions_udp.py NAME`."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import threading

from kernel.events.network.connections import (
    LIBC,
    LOOPBACK,
    Address,
    answered,
    began,
    datagrams,
    in_child,
    own_network,
    say,
    wait_for,
)

UDP_SEGMENT = 103


def sent(sender: socket.socket, receiver: socket.socket) -> None:
    """Say that a datagram went from one to the other, both of this process."""
    began("udp", sender.getsockname(), receiver.getsockname())
    answered("udp", receiver.getsockname(), sender.getsockname())


def udp_ipv4() -> None:
    receiver, sender = datagrams()
    for _ in range(3):
        sender.sendto(b"x", receiver.getsockname())
        assert receiver.recvfrom(9)[1] == sender.getsockname()
    sent(sender, receiver)


def udp_ipv6() -> None:
    receiver, sender = datagrams(socket.AF_INET6, "::1")
    sender.sendto(b"x", receiver.getsockname())
    receiver.recvfrom(9)
    sent(sender, receiver)


def udp_ipv4_mapped() -> None:
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    receiver.bind(("::", 0))
    address = (LOOPBACK, receiver.getsockname()[1])
    _, sender = datagrams()
    sender.sendto(b"x", address)
    receiver.recv(9)
    began("udp", sender.getsockname(), address)
    answered("udp", address, sender.getsockname())


def udp_connected() -> None:
    receiver, sender = datagrams()
    sender.connect(receiver.getsockname())
    receiver.connect(sender.getsockname())
    os.write(sender.fileno(), b"x")
    assert os.read(receiver.fileno(), 9) == b"x"
    sent(sender, receiver)


def udp_answer_is_no_new_flow() -> None:
    receiver, sender = datagrams()
    sender.sendto(b"question", receiver.getsockname())
    receiver.sendto(b"answer", receiver.recvfrom(9)[1])
    sender.recv(9)
    sent(sender, receiver)


def udp_messages() -> None:
    receiver, sender = datagrams()
    sender.sendmsg([b"x"], [], 0, receiver.getsockname())
    receiver.recvmsg(9)
    sent(sender, receiver)


def udp_many_messages_a_call() -> None:
    receiver, sender = datagrams()
    others = [datagrams()[0] for _ in range(3)]
    send_many(sender, [other.getsockname() for other in others])
    for other in others:
        other.recv(9)
        sent(sender, other)
    for other in others:
        other.sendto(b"x", receiver.getsockname())
        sent(other, receiver)
    receive_many(receiver, 3)


def udp_several_peers() -> None:
    receiver, _ = datagrams()
    senders = [datagrams()[1] for _ in range(100)]
    for sender in senders:
        sender.sendto(b"x", receiver.getsockname())
        sent(sender, receiver)
    for _ in senders:
        receiver.recv(9)


def udp_any_address() -> None:
    """Bound to no address: the datagrams know which one it is."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("0.0.0.0", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for address in (LOOPBACK, "127.0.0.2"):
        there = (address, receiver.getsockname()[1])
        sender.sendto(b"x", there)
        here = receiver.recvfrom(9)[1]
        began("udp", here, there)
        answered("udp", there, here)


def udp_nobody_listens() -> None:
    receiver, sender = datagrams()
    address = receiver.getsockname()
    receiver.close()
    sender.sendto(b"x", address)
    began("udp", sender.getsockname(), address)


def udp_empty_and_large() -> None:
    for size in (0, 60000):
        receiver, sender = datagrams()
        sender.sendto(bytes(size), receiver.getsockname())
        assert len(receiver.recv(1 << 16)) == size
        sent(sender, receiver)


def udp_segmented() -> None:
    receiver, sender = datagrams()
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
    sender.sendto(bytes(1000), receiver.getsockname())
    for _ in range(10):
        assert len(receiver.recv(2000)) == 100
    sent(sender, receiver)


def udp_corked() -> None:
    receiver, sender = datagrams()
    sender.sendto(b"x", socket.MSG_MORE, receiver.getsockname())
    sender.sendto(b"y", receiver.getsockname())
    assert receiver.recv(9) == b"xy"
    sent(sender, receiver)


def udp_threads() -> None:
    receiver, sender = datagrams()
    address = receiver.getsockname()
    for _ in range(2):
        thread = threading.Thread(target=sender.sendto, args=(b"x", address))
        thread.start()
        thread.join()
        receiver.recv(9)
    sent(sender, receiver)


def udp_one_socket_of_several_processes() -> None:
    """Whoever receives is reported, not whoever made or used the socket before."""
    receiver, _ = datagrams()
    senders = [datagrams()[1] for _ in range(4)]
    for sender in senders:
        sender.sendto(b"x", receiver.getsockname())
        began("udp", sender.getsockname(), receiver.getsockname())

    def work() -> None:
        _, peer = receiver.recvfrom(9)
        answered("udp", receiver.getsockname(), peer)

    for _ in senders:
        wait_for(in_child(work))


def udp_multicast() -> None:
    own_network()
    subprocess.run(["ip", "route", "add", "224.0.0.0/4", "dev", "lo"], check=True)
    group = "239.1.2.3"
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((group, 0))
    member = socket.inet_aton(group) + socket.inet_aton(LOOPBACK)
    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    _, sender = datagrams()
    sender.sendto(b"x", (group, receiver.getsockname()[1]))
    receiver.recv(9)
    sent(sender, receiver)


def udp_in_another_network() -> None:
    own_network()
    udp_ipv4()


class Message(ctypes.Structure):
    """struct mmsghdr, <bits/socket.h>."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("parts_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("pad", ctypes.c_int),
        ("length", ctypes.c_uint32),
        ("pad_at_end", ctypes.c_uint32),
    )


class Part(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def send_many(sender: socket.socket, addresses: list[Address]) -> None:
    """Send a datagram to each by one sendmmsg(2)."""
    data = ctypes.create_string_buffer(b"x")
    part = Part(ctypes.addressof(data), 1)
    names = [
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H", port)
        + socket.inet_aton(host)
        + bytes(8)
        for host, port in addresses
    ]
    messages = (Message * len(names))(
        *(Message(name, 16, ctypes.addressof(part), 1) for name in names)
    )
    assert LIBC.sendmmsg(sender.fileno(), messages, len(names), 0) == len(names)


def receive_many(receiver: socket.socket, count: int) -> None:
    """Receive `count` datagrams by one recvmmsg(2), not asking from where."""
    data = ctypes.create_string_buffer(9)
    part = Part(ctypes.addressof(data), 9)
    messages = (Message * count)(
        *(Message(None, 0, ctypes.addressof(part), 1) for _ in range(count))
    )
    assert LIBC.recvmmsg(receiver.fileno(), messages, count, 0, None) == count


if __name__ == "__main__":
    say()
    globals()[sys.argv[1]]()
