# SPDX-License-Identifier: MIT
"""Asks 127.0.0.1 for PREFIX-0.a.test and so on: names.py WAY PREFIX COUNT."""

from __future__ import annotations

import socket
import sys

import dns.message
import dns.query

SERVER = "127.0.0.1"


def by_dnspython(names: list[str]) -> None:
    """Ask for half of the names by UDP, for the others by TCP."""
    for number, name in enumerate(names):
        ask = dns.query.tcp if number % 2 else dns.query.udp
        ask(dns.message.make_query(name, "A"), SERVER, timeout=20)


def by_bytes(names: list[str]) -> None:
    """Ask by TCP, each byte in a packet of its own.

    dnsmasq takes 100 questions of a connection.
    """
    for first in range(0, len(names), 50):
        with socket.create_connection((SERVER, 53)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = server.makefile("rb")
            for name in names[first : first + 50]:
                data = dns.message.make_query(name, "A").to_wire()
                for byte in len(data).to_bytes(2, "big") + data:
                    server.sendall(bytes([byte]))
                assert answers.read(int.from_bytes(answers.read(2), "big"))


if __name__ == "__main__":
    way, prefix, count = sys.argv[1:]
    globals()[way]([f"{prefix}-{number}.a.test" for number in range(int(count))])
