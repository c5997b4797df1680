# SPDX-License-Identifier: MIT
"""Connections of every kind; each runs as `actions_network.py NAME [ARGUMENT]`.

Every process writes, in lines of JSON, what must be reported of it, from what
getsockname(2) and getpeername(2) say on either side; a line without "protocol" only
names a process of the tree. What is not written must not be reported.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ring import Ring

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
TCP_FASTOPEN_CONNECT = 30
IPPROTO_MPTCP = 262
UDP_SEGMENT = 103
LOOPBACK = "127.0.0.1"
NOBODY = 65534

Address = Any
"""What the socket module calls an address."""


def say(**line: Any) -> None:
    """Write one line at once: children write to the same pipe."""
    os.write(1, json.dumps({"pid": os.getpid(), **line}).encode() + b"\n")


def began(protocol: str, local: Address, remote: Address) -> None:
    say(protocol=protocol, initiated=True, source=local[:2], destination=remote[:2])


def answered(protocol: str, local: Address, remote: Address) -> None:
    say(protocol=protocol, initiated=False, source=remote[:2], destination=local[:2])


def in_child(act: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        say()
        act()
        os._exit(0)
    return pid


def wait_for(*pids: int) -> None:
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0


def server(family: int = socket.AF_INET, address: str = LOOPBACK) -> socket.socket:
    return socket.create_server((address, 0), family=family, backlog=128)


def client(listener: socket.socket, family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.connect(listener.getsockname())
    began("tcp", made.getsockname(), made.getpeername())
    return made


def accept(listener: socket.socket) -> socket.socket:
    made, peer = listener.accept()
    answered("tcp", made.getsockname(), peer)
    return made


def tcp_accept4() -> None:
    listener = server()
    made = client(listener)
    accept(listener).close()
    made.close()


def tcp_accept_without_address() -> None:
    listener = server()
    client(listener)
    fd = LIBC.accept(listener.fileno(), None, None)
    made = socket.socket(fileno=fd)
    answered("tcp", made.getsockname(), made.getpeername())


def tcp_ipv6() -> None:
    listener = server(socket.AF_INET6, "::1")
    client(listener, socket.AF_INET6)
    accept(listener)


def tcp_ipv4_mapped() -> None:
    listener = socket.create_server(
        ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
    )
    made = socket.create_connection((LOOPBACK, listener.getsockname()[1]))
    began("tcp", made.getsockname(), made.getpeername())
    accept(listener)
    mapped = socket.socket(socket.AF_INET6)
    mapped.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
    began("tcp", mapped.getsockname(), mapped.getpeername())
    accept(listener)


def tcp_nonblocking() -> None:
    listener = server()
    listener.setblocking(False)
    made = socket.socket()
    made.setblocking(False)
    with suppress(BlockingIOError):
        listener.accept()
    with suppress(BlockingIOError):
        made.connect(listener.getsockname())
    began("tcp", made.getsockname(), listener.getsockname())
    accept(listener)


def tcp_threads() -> None:
    listener = server()
    acceptor = threading.Thread(target=accept, args=(listener,))
    acceptor.start()
    connector = threading.Thread(target=client, args=(listener,))
    connector.start()
    connector.join()
    acceptor.join()


def tcp_forked_acceptors() -> None:
    listener = server()

    def work() -> None:
        for _ in range(5):
            accept(listener)

    pids = [in_child(work) for _ in range(3)]
    made = [client(listener) for _ in range(15)]
    wait_for(*pids)
    del made


def tcp_not_accepted() -> None:
    listener = server()
    client(listener)


def tcp_reset_before_accept() -> None:
    listener = server()
    made = client(listener)
    local = made.getsockname()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()
    accepted, _ = listener.accept()
    answered("tcp", listener.getsockname(), local)
    accepted.close()


def tcp_to_itself() -> None:
    made = socket.socket()
    made.bind((LOOPBACK, 0))
    made.connect(made.getsockname())
    began("tcp", made.getsockname(), made.getpeername())


def tcp_to_a_child_of_another_user() -> None:
    listener = server()

    def work() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        client(listener)

    wait_for(in_child(work))
    accept(listener)


def tcp_descriptor_passed_on() -> None:
    """Who connected is the owner, whoever has the socket later."""
    listener = server()
    made = client(listener)
    accepted = accept(listener)

    def work() -> None:
        made.sendall(b"x")
        assert accepted.recv(1) == b"x"

    wait_for(in_child(work))


def tcp_fast_open() -> None:
    own_network()
    with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as file:
        file.write("3")
    listener = server()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    for _ in range(2):  # the second has a cookie, and data in its first packet
        made = socket.socket()
        made.sendto(b"early", socket.MSG_FASTOPEN, listener.getsockname())
        began("tcp", made.getsockname(), listener.getsockname())
        assert accept(listener).recv(5) == b"early"
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    made.connect(listener.getsockname())
    made.sendall(b"later")
    began("tcp", made.getsockname(), listener.getsockname())
    assert accept(listener).recv(5) == b"later"


def tcp_refused() -> None:
    listener = server()
    address = listener.getsockname()
    listener.close()
    made = socket.socket()
    made.bind((LOOPBACK, 0))
    local = made.getsockname()
    with suppress(ConnectionRefusedError):
        made.connect(address)
    if ARGUMENT == "reported":
        began("tcp", local, address)


def tcp_multipath() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    listener.bind((LOOPBACK, 0))
    listener.listen()
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    made.connect(listener.getsockname())
    began("tcp", made.getsockname(), made.getpeername())
    accept(listener)
    client(listener)
    accept(listener)


def tcp_by_io_uring() -> None:
    listener = server()
    with Ring() as ring:
        made = socket.socket()
        ring.connect(made.fileno(), listener.getsockname())
        assert ring.wait()[0] == 0
        began("tcp", made.getsockname(), made.getpeername())
        ring.accept(listener.fileno())
        taken = socket.socket(fileno=ring.wait()[0])
        answered("tcp", taken.getsockname(), taken.getpeername())


def tcp_by_io_uring_again_and_again() -> None:
    listener = server()
    with Ring() as ring:
        ring.accept(listener.fileno(), multishot=True)
        for _ in range(3):
            client(listener)
            taken = socket.socket(fileno=ring.wait()[0])
            answered("tcp", taken.getsockname(), taken.getpeername())


def tcp_by_io_uring_into_its_table() -> None:
    listener = server()
    with Ring() as ring:
        ring.make_table(4)
        made = client(listener)
        ring.accept(listener.fileno(), slot=3)
        assert ring.wait()[0] == 0
        answered("tcp", listener.getsockname(), made.getsockname())


def tcp_many() -> None:
    """As fast as possible; the test counts, since the writing would take longest."""
    listener = server()

    def work() -> None:
        for _ in range(int(ARGUMENT)):
            listener.accept()[0].close()

    pid = in_child(work)
    address = listener.getsockname()
    for _ in range(int(ARGUMENT)):
        made = socket.socket()
        made.connect(address)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()
    wait_for(pid)


def datagrams(
    family: int = socket.AF_INET, address: str = LOOPBACK
) -> tuple[socket.socket, socket.socket]:
    """Return two sockets: bound, and bound too so that its end is known."""
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind((address, 0))
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.bind((address, 0))
    return receiver, sender


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


def udp_not_received() -> None:
    receiver, sender = datagrams()
    sender.sendto(b"x", receiver.getsockname())
    assert receiver.recv(9, socket.MSG_PEEK) == b"x"
    began("udp", sender.getsockname(), receiver.getsockname())


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
    tcp_accept4()


def unix_and_pairs() -> None:
    one, other = socket.socketpair()
    one.send(b"x")
    other.recv(1)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0sysmonlx-{os.getpid()}")
    listener.listen()
    made = socket.socket(socket.AF_UNIX)
    made.connect(listener.getsockname())
    listener.accept()


def tcp_serve() -> None:
    """Serve one TCP connection and one UDP flow on the address given, then end."""
    listener = server(address=ARGUMENT)
    receiver, _ = datagrams(address=ARGUMENT)
    say(ports=[listener.getsockname()[1], receiver.getsockname()[1]])
    accept(listener)
    _, peer = receiver.recvfrom(9)
    answered("udp", receiver.getsockname(), peer)


def tcp_visit() -> None:
    """Go to what `tcp_serve` offers: ADDRESS:TCP PORT:UDP PORT."""
    address, tcp, udp = ARGUMENT.split(":")
    made = socket.create_connection((address, int(tcp)))
    began("tcp", made.getsockname(), made.getpeername())
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect((address, int(udp)))
    sender.send(b"x")
    began("udp", sender.getsockname(), sender.getpeername())


def own_network() -> None:
    """Enter a network namespace of one's own, with its loopback up."""
    assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


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


ARGUMENT = sys.argv[2] if len(sys.argv) > 2 else ""

if __name__ == "__main__":
    say()
    globals()[sys.argv[1]]()
