# SPDX-License-Identifier: MIT
"""Event 3 from records: addresses, ports and their names."""

from __future__ import annotations

import struct
from functools import lru_cache

from sysmonlx.enrich import Builder, Built, Context
from sysmonlx.process import Process
from sysmonlx.processes import ACTOR_FIELDS, Fields
from sysmonlx.texts import UNKNOWN

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


def network_connect(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 3; the source is the side that began."""
    (
        boot_ns,
        _,
        tgid,
        uid,
        _,
        source_bytes,
        destination_bytes,
        source_port,
        destination_port,
        family,
        protocol_number,
        initiated,
    ) = fields
    is_ipv6 = family == _INET6
    is_ipv6_text = "true" if is_ipv6 else "false"
    source = address_text(source_bytes, is_ipv6)
    destination = address_text(destination_bytes, is_ipv6)
    protocol = _PROTOCOLS[protocol_number]
    user = context.users.names[uid]
    hosts, port_name = context.host_names.get, context.ports.port_name
    source_name = port_name(source_port, protocol)
    destination_name = port_name(destination_port, protocol)
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        process.image,
        user,
        protocol,
        "true" if initiated else "false",
        is_ipv6_text,
        source,
        hosts(source, UNKNOWN),
        str(source_port),
        source_name,
        is_ipv6_text,
        destination,
        hosts(destination, UNKNOWN),
        str(destination_port),
        destination_name,
    ]
    is_plain = context.is_plain_name
    plain = process.is_plain and is_plain[user]
    return values, plain and is_plain[source_name] and is_plain[destination_name]


#: Record name to the fields that its builders take.
NETWORK_FIELDS: dict[str, tuple[str, ...]] = {
    "network_connect": (
        *ACTOR_FIELDS,
        "source_address",
        "destination_address",
        "source_port",
        "destination_port",
        "family",
        "protocol",
        "initiated",
    )
}

#: Record name to (event id, builder) pairs.
NETWORK_BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "network_connect": ((3, network_connect),),
}
