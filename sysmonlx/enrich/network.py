# SPDX-License-Identifier: MIT
"""Event 3 from records: addresses, ports and their names."""

from __future__ import annotations

import struct
from functools import lru_cache

from sysmonlx.capture.hooks import QUIET_PROGRAMS, Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Finish, Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process

_INET6 = 10  # AF_INET6
#: IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE; Sysmon has no other texts.
_PROTOCOLS = {6: "tcp", 17: "udp", 136: "udp"}
_GROUPS = struct.Struct(">8H")

#: Fields of the record, in the order in which `network_connect` takes them.
_CONNECTION = (
    "source_address",
    "destination_address",
    "source_port",
    "destination_port",
    "family",
    "protocol",
    "initiated",
)


@lru_cache(maxsize=4096)
def address_text(address: bytes, is_ipv6: bool) -> str:
    """Return an address as Sysmon for Linux prints it.

    `address` has 16 bytes. IPv4 is in the first four of them, and is printed as dotted
    decimal. IPv6 is printed as eight groups without leading zeroes, never shortened
    with "::".
    """
    if is_ipv6:
        return ":".join([f"{group:x}" for group in _GROUPS.unpack(address)])
    return ".".join(map(str, address[:4]))


def network_connect(layout: Layout, context: Context) -> Maker:
    """Event 3; the source is the side that opened the connection."""
    read, users = layout.reader("boot_ns", "uid", *_CONNECTION), context.users.names
    known, name_of = context.host_names.known, context.host_names.name
    port_name = context.ports.port_name

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, from_bytes, to_bytes, *rest = read(data)
        from_port, to_port, family, number, began = rest
        is_ipv6 = family == _INET6
        is_ipv6_text = "true" if is_ipv6 else "false"
        protocol = _PROTOCOLS[number]
        source_host = destination_host = UNKNOWN
        if known:
            size = 16 if is_ipv6 else 4
            who = process, uid, boot_ns
            source_host = name_of(from_bytes[:size], *who)
            destination_host = name_of(to_bytes[:size], *who)
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            process.image,
            users[uid],
            protocol,
            "true" if began else "false",
            is_ipv6_text,
            address_text(from_bytes, is_ipv6),
            source_host,
            str(from_port),
            port_name(from_port, protocol),
            is_ipv6_text,
            address_text(to_bytes, is_ipv6),
            destination_host,
            str(to_port),
            port_name(to_port, protocol),
        ]

    return Maker(make, _finish(context))


def _finish(context: Context) -> Finish:
    """Return the second step: names of users, ports and hosts may not be plain."""
    utc, is_plain, known = context.utc, context.is_plain_name, context.host_names.known

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        names = is_plain[values[5]] and is_plain[values[12]] and is_plain[values[17]]
        if known:
            names = names and is_plain[values[10]] and is_plain[values[15]]
        return process.is_plain and names

    return finish


NETWORK_BUILDERS: Builders = {
    "network_connect": ((3, network_connect),),
}

_NETWORK = frozenset({3})
_RING_OVERFLOW = "io_uring_accept_overflowed"
_RING_ACCEPTS = ("syscall_exit", "io_uring_accept_begun", "io_uring_accepted")

NETWORK_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="TCP connections made",
        events=_NETWORK,
        alternatives=(("tcp_connect",), ("tcp_connect_by_address",)),
        missing="no NetworkConnect of TCP connections that this machine makes",
    ),
    Hook(
        name="TCP connections accepted",
        events=_NETWORK,
        alternatives=(
            ("tcp_accept_grafted",),
            (*QUIET_PROGRAMS[0], *_RING_ACCEPTS, _RING_OVERFLOW),
            (*_RING_ACCEPTS, _RING_OVERFLOW),
            _RING_ACCEPTS,
            ("syscall_exit",),
        ),
        missing="no NetworkConnect of TCP connections that this machine accepts",
    ),
    Hook(
        name="UDP datagrams",
        events=_NETWORK,
        alternatives=(("udp_sent", "udp_arrived"), ("udp_sent_of_any", "udp_arrived")),
        missing="no NetworkConnect of UDP",
    ),
    Hook(
        name="UDP receivers",
        events=_NETWORK,
        alternatives=(
            ("udp_received", "udp_dropped"),
            ("udp_received_v4", "udp_received_v6", "udp_dropped"),
            ("udp_received_datagram",),
        ),
        missing="no NetworkConnect of UDP received",
    ),
)
