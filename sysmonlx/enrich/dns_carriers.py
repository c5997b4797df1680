# SPDX-License-Identifier: MIT
"""How a message of DNS came: by UDP, TCP or systemd-resolved's socket; reads it."""

from __future__ import annotations

from enum import IntEnum

from sysmonlx.enrich.dns_message import Message, read_message
from sysmonlx.enrich.varlink_message import read_call
from sysmonlx.kernel_text import UNKNOWN


class Carrier(IntEnum):
    """How a message of DNS came: `enum dns_carrier` of a record.

    CALL is a call of systemd-resolved's socket.
    """

    UDP = 0
    TCP = 1
    CALL = 2


_NOT_READ = Message(UNKNOWN, (0, UNKNOWN, 0), UNKNOWN, UNKNOWN, (), is_whole=False)


def read_carried(carrier: int, content: bytes) -> Message:
    """Return what a whole message says; one of TCP is without its length."""
    if carrier == Carrier.CALL:
        return read_call(content) or _NOT_READ
    return read_message(content)
