# SPDX-License-Identifier: MIT
"""Acts on the network, which is a private one: connect, send, ask for a name."""

from __future__ import annotations

import socket
import struct

from sysmonlx.selftest.act import Scene, Tell, Values
from sysmonlx.selftest.expected import Expected

#: Name asked for, RFC 6761: no name server answers it, but the one of the self-test.
_NAME = b"sysmonlx-selftest.invalid"
_ADDRESS = "127.0.0.99"
_TIMEOUT_S = 1.0


def _ends(source: tuple[str, int], destination: tuple[str, int]) -> dict[str, Expected]:
    """Return the values of both ends of a connection."""
    return {
        "SourceIp": source[0],
        "SourcePort": str(source[1]),
        "DestinationIp": destination[0],
        "DestinationPort": str(destination[1]),
        "SourceIsIpv6": "false",
        "DestinationIsIpv6": "false",
    }


def connect(scene: Scene, tell: Tell) -> None:
    """Connect to ourselves by TCP, and accept that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_TIMEOUT_S)
        with socket.create_connection(server.getsockname(), _TIMEOUT_S) as client:
            ends = _ends(client.getsockname(), server.getsockname())
            tell("TCP connected", {**ends, "Protocol": "tcp", "Initiated": "true"})
            server.accept()[0].close()
            tell("TCP accepted", {**ends, "Protocol": "tcp", "Initiated": "false"})


def send(scene: Scene, tell: Tell) -> None:
    """Send a datagram to ourselves, and receive it."""
    with _datagrams() as server, _datagrams() as client:
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.send(b"sysmonlx-selftest")
        ends = _ends(client.getsockname(), server.getsockname())
        tell("UDP sent", {**ends, "Protocol": "udp", "Initiated": "true"})
        server.recv(64)
        tell("UDP received", {**ends, "Protocol": "udp", "Initiated": "false"})


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(_TIMEOUT_S)
    return made


def ask(scene: Scene, tell: Tell) -> None:
    """Ask a name server of our own, which answers."""
    labels = b"".join(bytes([len(each)]) + each for each in _NAME.split(b"."))
    question = labels + struct.pack(">B2H", 0, 1, 1)
    answer = struct.pack(">3HiH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(_ADDRESS)
    with _datagrams() as server, _datagrams() as client:
        server.bind(("127.0.0.1", 53))
        client.connect(("127.0.0.1", 53))
        client.send(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question)
        _, where = server.recvfrom(512)
        head = struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0)
        server.sendto(head + question + answer, where)
        client.recv(512)
    results: Values = {"QueryStatus": "0", "QueryResults": f"::ffff:{_ADDRESS};"}
    tell("", {**results, "QueryName": _NAME.decode()})
