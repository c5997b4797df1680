# SPDX-License-Identifier: MIT
"""Every way to ask; each runs as `actions_dns.py NAME`, beside a server of its own.

A process writes, in lines of JSON, which events 22 it must have: "name", "status" and
"results". What is not written must not be reported.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from kernel.events.network.actions_udp import UDP_SEGMENT, Message, Part
from kernel.events.network.connections import (
    LIBC,
    LOOPBACK,
    in_child,
    own_network,
    say,
    wait_for,
)
from support.dns_server import (
    AAAA,
    PORT,
    A,
    expected,
    framed,
    question,
    serve,
)
from support.ring import Ring

AF_INET6, STREAM = socket.AF_INET6, socket.SOCK_STREAM
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
SERVER = (LOOPBACK, PORT)
UDP_GRO = 104
MSG_FASTOPEN = 0x20000000
SIZE = 1 << 16


def told(name: str, kind: int = A, *, pid: int = 0) -> None:
    """Say that a question is one event, with its answer."""
    status, results = expected(name, kind)
    say(**({"pid": pid} if pid else {}), name=name, status=status, results=results)


def open_socket(family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(20)
    return made


def connected() -> socket.socket:
    made = open_socket()
    made.connect(SERVER)
    return made


def ask(
    name: str,
    send: Callable[[bytes], object],
    receive: Callable[[int], bytes],
    kind: int = A,
    number: int = 7,
) -> None:
    data = question(name, kind, number)
    send(data)
    assert receive(SIZE)[:2] == data[:2]
    told(name, kind)


def ways_to_send() -> None:
    one, other = connected(), open_socket()
    six, mapped = open_socket(socket.AF_INET6), open_socket(socket.AF_INET6)
    ask("send.a.test", one.send, one.recv)
    ask("write.a.test", lambda data: os.write(one.fileno(), data), one.recv)
    ask("sendto.a.test", lambda data: other.sendto(data, SERVER), other.recv)
    ask("sendmsg.a.test", lambda d: other.sendmsg([d], [], 0, SERVER), other.recv)
    ask("parts.a.test", lambda d: one.sendmsg([d[:3], d[3:20], d[20:]]), one.recv)
    ask("six.a.test", lambda data: six.sendto(data, ("::1", PORT)), six.recv, AAAA)
    there = ("::ffff:127.0.0.1", PORT)
    ask("mapped.a.test", lambda data: mapped.sendto(data, there), mapped.recv)


def answers_of_every_kind() -> None:
    asking = connected()
    for first in ("nx", "refused", "none", "alias", "text", "large"):
        ask(f"{first}.a.test", asking.send, asking.recv)
    ask("UPPER.A.test", asking.send, asking.recv)


def in_flight() -> None:
    asking = connected()
    for number in range(100):
        asking.send(question(f"h{number}.a.test", number=number))
    for number in range(100):
        asking.recv(SIZE)
        told(f"h{number}.a.test")


def asked_again() -> None:
    """A question that is sent twice is one, and so are two equal answers."""
    asking = connected()
    data = question("again.a.test")
    asking.send(data)
    asking.send(data)
    asking.recv(SIZE)
    asking.recv(SIZE)
    told("again.a.test")


def answered_twice() -> None:
    """A second answer that nobody asked for is told: who knows which one was used."""
    asking = connected()
    asking.send(question("twice.a.test"))
    asking.recv(SIZE)
    asking.recv(SIZE)
    told("twice.a.test")
    told("twice.a.test")


def many_a_call() -> None:
    """By one sendmmsg(2), as getaddrinfo(3) of glibc does."""
    asking = open_socket()
    where = struct.pack("=H", socket.AF_INET) + struct.pack("!H", PORT)
    where += socket.inet_aton(LOOPBACK) + bytes(8)
    kept = [ctypes.create_string_buffer(question(f"m{n}.a.test")) for n in range(20)]
    parts = [Part(ctypes.addressof(each), len(each) - 1) for each in kept]
    messages = (Message * len(parts))(
        *(Message(where, 16, ctypes.addressof(each), 1) for each in parts)
    )
    assert LIBC.sendmmsg(asking.fileno(), messages, len(parts), 0) == len(parts)
    for number in range(len(parts)):
        asking.recv(SIZE)
        told(f"m{number}.a.test")


def cut_by_the_kernel() -> None:
    """Several questions in one packet, and several answers in one."""
    asking = connected()
    names = [f"s{number}.a.test" for number in range(5)]
    data = b"".join(question(each) for each in names)
    asking.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(data) // len(names))
    asking.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    asking.send(data)
    for each in names:
        told(each)
    received = 0
    while received < 5 * (len(data) // len(names) + 16):
        received += len(asking.recv(SIZE))


def child_reads() -> None:
    """The answer belongs to the process that asked."""
    asking = connected()
    asking.send(question("child.a.test"))

    def read() -> None:
        assert asking.recv(SIZE)

    wait_for(in_child(read))
    told("child.a.test")


def fork_asks() -> None:
    def work() -> None:
        asking = connected()
        ask("fork.a.test", asking.send, asking.recv)

    wait_for(in_child(work))


def thread_asks() -> None:
    asking = connected()
    thread = threading.Thread(
        target=ask, args=("thread.a.test", asking.send, asking.recv)
    )
    thread.start()
    thread.join()


def by_io_uring() -> None:
    asking = connected()
    data = question("ring.a.test")
    with Ring() as ring:
        ring.send(asking.fileno(), data)
        assert ring.wait()[0] == len(data)
    asking.recv(SIZE)
    told("ring.a.test")


def by_the_c_library() -> None:
    assert socket.getaddrinfo("libc.a.test", 80)
    told("libc.a.test", A)
    told("libc.a.test", AAAA)


def connections_by_name() -> None:
    """By IPv4 and by IPv6, to a name, and to an address that was not asked for."""
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    listener = socket.create_server(("::", 0), dualstack_ipv6=True, family=AF_INET6)
    port = listener.getsockname()[1]
    for _, _, _, _, where in socket.getaddrinfo("web.a.test", port, type=STREAM):
        socket.create_connection((str(where[0]), port)).close()
    socket.create_connection(("192.0.2.2", port)).close()


def receive(connection: socket.socket, count: int) -> None:
    """Wait for answers on a connection."""
    with connection.makefile("rb") as file:
        for _ in range(count):
            assert file.read(int.from_bytes(file.read(2), "big"))


def by_tcp() -> None:
    for host in (LOOPBACK, "::1"):
        with socket.create_connection((host, PORT)) as one:
            one.sendall(framed(question("tcp.a.test")))
            receive(one, 1)
            one.sendall(framed(question("large.a.test")))
            receive(one, 1)
        told("tcp.a.test")
        told("large.a.test")


def by_tcp_in_pieces() -> None:
    with socket.create_connection(SERVER) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = framed(question("pieces.a.test"))
        for piece in (data[:1], data[1:9], data[9:]):
            one.sendall(piece)
        receive(one, 1)
    told("pieces.a.test")


def by_tcp_at_once() -> None:
    """Many questions in one call, and their answers as they come."""
    names = [f"t{number}.a.test" for number in range(200)]
    with socket.create_connection(SERVER) as one:
        one.sendall(
            b"".join(framed(question(e, number=n)) for n, e in enumerate(names))
        )
        receive(one, len(names))
    for each in names:
        told(each)


def by_tcp_with_the_first_packet() -> None:
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3")
    data = framed(question("fast.a.test"))
    for _ in range(2):
        with socket.socket() as one:
            one.sendto(data, MSG_FASTOPEN, SERVER)
            receive(one, 1)
        told("fast.a.test")


def by_tcp_of_a_parent() -> None:
    """The process that connected is named, whichever sends."""
    with socket.create_connection(SERVER) as one:

        def work() -> None:
            one.sendall(framed(question("parent.a.test")))
            receive(one, 1)

        wait_for(in_child(work))
    told("parent.a.test")


def no_dns_by_tcp() -> None:
    """A tunnel, and a message that never ends."""
    with socket.create_connection(SERVER) as one:
        for _ in range(20):
            one.sendall(b"SSH-2.0-x" * 4000)
    say(name="-", status="-", results="-")


def no_answer() -> None:
    open_socket().sendto(question("silent.a.test"), SERVER)
    say(name="silent.a.test", status="-", results="-")


def no_dns() -> None:
    """What cannot be read is told once for a socket."""
    asking = open_socket()
    for data in (b"short", b"x", b"123456789012xyz", question("a.test")[:-6]):
        asking.sendto(data, SERVER)
    say(name="-", status="-", results="-")
    half = bytearray(question("half.a.test") + b"\3x")
    half[5] = 2
    open_socket().sendto(half, SERVER)
    say(name="half.a.test", status="-", results="-")


def elsewhere() -> None:
    """Other ports, what servers do, and answers that nobody asked for."""
    other, liar = open_socket(), open_socket()
    other.bind(("127.0.0.1", 5353))
    liar.bind(("127.0.0.9", PORT))
    for port in (5353, 54, 9999):
        open_socket().sendto(question("other.a.test"), (LOOPBACK, port))
    deaf = open_socket()
    deaf.bind((LOOPBACK, 0))
    lying = bytearray(question("lie.a.test"))
    lying[2] |= 0x80
    for each in (other, liar):
        each.sendto(lying, deaf.getsockname())
    other.sendto(lying, SERVER)


def datagram(data: bytes) -> bytes:
    """Return a packet from port 5 to the server, with headers of IPv4 and UDP."""
    udp = struct.pack(">4H", 5, PORT, 8 + len(data), 0) + data
    loop = socket.inet_aton(LOOPBACK) * 2
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + loop
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", 0xFFFF - total) + head[12:] + udp


def by_raw_sockets() -> None:
    """One also receives; the answer to the other comes to nobody who asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        raw.sendto(datagram(question("own.a.test"))[20:], (LOOPBACK, 0))
        while raw.recv(SIZE)[20:22] != struct.pack(">H", PORT):
            pass
        told("own.a.test")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(datagram(question("raw.a.test")), (LOOPBACK, 0))
        say(name="raw.a.test", status="-", results="-")


def past_all_sockets() -> None:
    """As a frame on the link: needs CAP_NET_RAW; after a question in the usual way."""
    asking = connected()
    ask("usual.a.test", asking.send, asking.recv)
    heard = open_socket()
    heard.bind((LOOPBACK, 5))
    for each in ("route_localnet", "accept_local"):
        Path(f"/proc/sys/net/ipv4/conf/lo/{each}").write_text("1")
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    link.sendto(datagram(question("frame.a.test")), ("lo", 0x0800))
    assert heard.recv(SIZE)


def set_up() -> None:
    """Enter a network and a root of files with this server as the resolver."""
    own_network()
    assert LIBC.unshare(CLONE_NEWNS) == 0
    assert LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"nameserver {LOOPBACK}\n")
        file.flush()
        there = os.path.realpath("/etc/resolv.conf").encode()
        assert LIBC.mount(file.name.encode(), there, None, MS_BIND, None) == 0
    listener = socket.create_server(("::", PORT), family=AF_INET6, dualstack_ipv6=True)
    sockets = [open_socket(), open_socket(socket.AF_INET6)]
    sockets[0].bind(SERVER)
    sockets[1].bind(("::1", PORT))
    say(pid=serve(sockets, listener))
    for each in (*sockets, listener):
        each.close()


if __name__ == "__main__":
    set_up()
    say()
    for each in sys.argv[1:]:
        globals()[each]()
