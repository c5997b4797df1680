# SPDX-License-Identifier: MIT
"""How actions say what must be reported of them.

Every process writes, in lines of JSON, what must be reported of it, from what
getsockname(2) and getpeername(2) say on either side; a line without "protocol" only
names a process of the tree. What is not written must not be reported.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
LOOPBACK = "127.0.0.1"

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


def datagrams(
    family: int = socket.AF_INET, address: str = LOOPBACK
) -> tuple[socket.socket, socket.socket]:
    """Return two sockets: bound, and bound too so that its end is known."""
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind((address, 0))
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.bind((address, 0))
    return receiver, sender


def own_network() -> None:
    """Enter a network namespace of one's own, with its loopback up."""
    assert LIBC.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
