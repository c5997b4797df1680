# SPDX-License-Identifier: MIT
"""Connections of every kind; each runs as `actions_network.py NAME [ARGUMENT]`."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
from contextlib import suppress

from kernel.events.file.actions_file import call_32, string_32
from kernel.events.network.connections import (
    LIBC,
    LOOPBACK,
    answered,
    began,
    datagrams,
    in_child,
    own_network,
    say,
    wait_for,
)
from support.ring import Ring

TCP_FASTOPEN_CONNECT = 30
IPPROTO_MPTCP = 262
SOCKETCALL, SYS_ACCEPT, SYS_ACCEPT4 = 102, 5, 18
NOBODY = 65534


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
    select.select([listener], [], [])
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


def tcp_in_another_network() -> None:
    own_network()
    tcp_accept4()


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


def tcp_by_32_bit_calls() -> None:
    listener = server()
    where = string_32(struct.pack("=4I", listener.fileno(), 0, 0, 0))
    for what in (SYS_ACCEPT, SYS_ACCEPT4):
        client(listener)
        taken = socket.socket(fileno=call_32(SOCKETCALL, what, where, 0))
        answered("tcp", taken.getsockname(), taken.getpeername())


def tcp_made_after_its_owner_ended() -> None:
    """The listener has no room until the process that called connect(2) has ended."""
    listener = socket.create_server((LOOPBACK, 0), backlog=0)
    client(listener)
    made = socket.socket()
    made.bind((LOOPBACK, 0))
    made.setblocking(False)

    def work() -> None:
        with suppress(BlockingIOError):
            made.connect(listener.getsockname())
        began("tcp", made.getsockname(), listener.getsockname())

    wait_for(in_child(work))
    accept(listener)
    accept(listener)  # the kernel tries again after a second


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


ARGUMENT = sys.argv[2] if len(sys.argv) > 2 else ""

if __name__ == "__main__":
    say()
    globals()[sys.argv[1]]()
