# SPDX-License-Identifier: MIT
"""Names that systemd-resolved is asked for by its socket; each runs as actions_dns.py.

A server of the test has the socket, in a mount namespace of its own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kernel.events.network.connections import LIBC, in_child, say, wait_for
from support.ring import Ring
from support.varlink_server import PATH, call, encoded, expected, serve

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 16384, 1 << 18
SIZE = 1 << 17


def told(name: str) -> None:
    """Say that a call is one event, with its reply."""
    status, results = expected(name)
    say(name=name, status=status, results=results)


def connected() -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(PATH)
    return made


def receive(asking: socket.socket, count: int = 1) -> None:
    found = 0
    while found < count:
        data = asking.recv(SIZE)
        assert data
        found += data.count(b"\0")


def ask(name: str, asking: socket.socket, send: Callable[[bytes], object]) -> None:
    send(call(name=name, family=0, flags=0))
    receive(asking)
    told(name)


def ways_to_send() -> None:
    one = connected()
    ask("send.a.test", one, one.send)
    ask("write.a.test", one, lambda data: os.write(one.fileno(), data))
    ask("sendmsg.a.test", one, lambda data: one.sendmsg([data[:5], data[5:]]))
    name = "pieces.a.test"
    for byte in call(name=name):
        one.send(bytes([byte]))
    receive(one)
    told(name)


def answers_of_every_kind() -> None:
    one = connected()
    for first in ("nx", "none", "late", "down", "odd", "alias", "large", "UPPER"):
        ask(f"{first}.a.test", one, one.send)


def in_flight() -> None:
    one = connected()
    names = [f"v{number}.a.test" for number in range(100)]
    one.sendall(b"".join(call(name=each) for each in names))
    receive(one, len(names))
    for each in names:
        told(each)


def many_connections() -> None:
    for number in range(50):
        with connected() as one:
            ask(f"c{number}.a.test", one, one.send)


def by_io_uring() -> None:
    one = connected()
    data = call(name="ring.a.test")
    with Ring() as ring:
        ring.send(one.fileno(), data)
        assert ring.wait()[0] == len(data)
    receive(one)
    told("ring.a.test")


def child_asks() -> None:
    """The process that connected is named, as with TCP."""
    one = connected()

    def work() -> None:
        one.send(call(name="child.a.test"))
        receive(one)

    wait_for(in_child(work))
    told("child.a.test")


def fork_asks() -> None:
    def work() -> None:
        one = connected()
        ask("fork.a.test", one, one.send)

    wait_for(in_child(work))


def memory_is_changed() -> None:
    """What is shown was received: the sender's memory says something else by then."""
    one = connected()
    data = call(name="true.a.test")
    memory = ctypes.create_string_buffer(data, len(data))
    assert LIBC.send(one.fileno(), memory, len(data), 0) == len(data)
    memory.raw = call(name="liar.a.test")
    receive(one)
    told("true.a.test")


def no_name() -> None:
    """What is no question is none; what cannot be read is told."""
    one = connected()
    one.send(encoded({"method": "org.varlink.service.GetInfo"}))
    receive(one)
    ask("after.a.test", one, one.send)
    one.send(b"\xff{[\0")
    receive(one)
    say(name="-", status="-", results="-")


def too_much() -> None:
    """Behind more than is looked at, names are seen all the same."""
    one = connected()
    one.sendall(call(name="a" * 200_000) + call(name="b" * 200_000))
    receive(one, 2)
    time.sleep(1.1)  # so much is looked at in a second
    one.sendall(call(name="behind.a.test"))
    receive(one)
    say(name="behind.a.test", status="-", results="-")


def elsewhere() -> None:
    """Other sockets, whatever is said there."""
    here, there = socket.socketpair()
    for each in (here, there):
        each.send(call(name="pair.a.test"))
        (there if each is here else here).recv(SIZE)


def set_up() -> None:
    """Have the socket in a mount namespace of its own."""
    assert LIBC.unshare(CLONE_NEWNS) == 0
    assert LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
    assert LIBC.mount(b"none", b"/run", b"tmpfs", 0, None) == 0
    Path(PATH).parent.mkdir(parents=True)
    serve()


if __name__ == "__main__":
    set_up()
    say()
    for each in sys.argv[1:]:
        globals()[each]()
