# SPDX-License-Identifier: MIT
"""Event 3 from records: addresses, ports and their names."""

from __future__ import annotations

import struct
from functools import lru_cache

from sysmonlx.decode import Record
from sysmonlx.enrich import Builder, Context
from sysmonlx.processes import UNKNOWN, Process

_INET6 = 10  # AF_INET6
_PROTOCOLS = {6: "tcp", 17: "udp"}
_GROUPS = struct.Struct(">8H")


@lru_cache(maxsize=4096)
def address_text(address: bytes, is_ipv6: bool) -> str:
    """Return an address as Sysmon for Linux prints it.

    IPv4 is dotted decimal, in the first four bytes; IPv6 is eight groups without
    leading zeroes and never shortened with "::".
    """
    if is_ipv6:
        return ":".join([f"{group:x}" for group in _GROUPS.unpack(address)])
    return ".".join(map(str, address[:4]))


def network_connect(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 3; the source is the side that began."""
    is_ipv6 = record.family == _INET6
    is_ipv6_text = "true" if is_ipv6 else "false"
    source = address_text(record.source_address, is_ipv6)
    destination = address_text(record.destination_address, is_ipv6)
    protocol = _PROTOCOLS[record.protocol]
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        context.user(record.uid),
        protocol,
        "true" if record.initiated else "false",
        is_ipv6_text,
        source,
        context.host_name(source),
        str(record.source_port),
        context.port_name(record.source_port, protocol),
        is_ipv6_text,
        destination,
        context.host_name(destination),
        str(record.destination_port),
        context.port_name(record.destination_port, protocol),
    ]


#: Record name to (event id, builder) pairs.
NETWORK_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "network_connect": ((3, network_connect),),
}
