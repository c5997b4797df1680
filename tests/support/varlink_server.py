# SPDX-License-Identifier: MIT
"""A server of the test in the place of systemd-resolved, and what event 22 must say.

The first label of a name says how it is answered: see `REPLIES`. Every other name has
an address of each family.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import threading

PATH = "/run/systemd/resolve/io.systemd.Resolve"
INTERFACE = "io.systemd.Resolve."
PR_SET_PDEATHSIG = 1

V4 = {"ifindex": 2, "family": 2, "address": [192, 0, 2, 1]}
V6 = {"ifindex": 2, "family": 10, "address": [32, 1, 13, 184, *[0] * 11, 1]}

#: First label: a reply, QueryStatus and QueryResults. NAME is put for the name asked.
REPLIES: dict[str, tuple[dict[str, object], str, str]] = {
    "nx": (
        {"error": INTERFACE + "DNSError", "parameters": {"rcode": 3}},
        *("9003", "-"),
    ),
    "none": ({"error": INTERFACE + "NoSuchResourceRecord"}, "9501", "-"),
    "late": ({"error": INTERFACE + "QueryTimedOut"}, "1460", "-"),
    "down": ({"error": INTERFACE + "NetworkDown"}, "1231", "-"),
    "odd": ({"error": "org.example.Unheard"}, "9504", "-"),
    "alias": (
        {"parameters": {"addresses": [V4], "name": "edge.NAME", "flags": 1}},
        *("0", "type:  5 edge.NAME;::ffff:192.0.2.1;"),
    ),
    "large": (
        {"parameters": {"addresses": [V4] * 200, "name": "NAME"}},
        *("0", "::ffff:192.0.2.1;" * 200),
    ),
}
PLAIN: tuple[dict[str, object], str, str] = (
    {"parameters": {"addresses": [V4, V6], "name": "NAME", "flags": 1}},
    *("0", "::ffff:192.0.2.1;2001:db8::1;"),
)


def call(method: str = "ResolveHostname", **parameters: object) -> bytes:
    """Return a call with the NUL behind it."""
    return encoded({"method": INTERFACE + method, "parameters": parameters})


def encoded(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\0"


def expected(name: str) -> tuple[str, str]:
    """Return QueryStatus and QueryResults of a call for a name."""
    _, status, results = REPLIES.get(name.partition(".")[0], PLAIN)
    return status, results.replace("NAME", name)


def reply(asked: bytes) -> bytes:
    """Return the answer to a call, without its NUL."""
    name = json.loads(asked)["parameters"]["name"]
    found = REPLIES.get(name.partition(".")[0], PLAIN)[0]
    return json.dumps(found).replace("NAME", name).encode() + b"\0"


def serve() -> None:
    """Answer in a child, for as long as this process lives."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(PATH)
    listener.listen(200)
    if os.fork():
        listener.close()
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for each in (1, 2):  # nobody waits for the end of what it writes
        os.dup2(os.open(os.devnull, os.O_WRONLY), each)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    """Answer on a connection until it ends; "silent" names are not answered."""
    buffer = b""
    while data := connection.recv(1 << 16):
        *calls, buffer = (buffer + data).split(b"\0")
        for asked in calls:
            try:
                if b'"silent.' not in asked:
                    connection.sendall(reply(asked))
            except (ValueError, KeyError, TypeError):
                connection.sendall(encoded({"error": "org.varlink.service.Bad"}))
