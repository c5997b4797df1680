# SPDX-License-Identifier: MIT
"""Event 22 from records: DNS questions, with the answers that came to them."""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Builders, Maker, Values, timed
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.dns_carriers import read_carried
from sysmonlx.enrich.dns_message import TIMED_OUT
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process


def dns_query(layout: Layout, context: Context) -> Maker:
    """Event 22, of an answer; of a question, when nobody has answered it in time."""
    read: Callable[[bytes], tuple[int, int, int, int, bytes]]
    read = layout.reader("boot_ns", "uid", "is_answer", "carrier", "data")

    def make(data: bytes, process: Process) -> Values:
        boot_ns, uid, is_answer, carrier, content = read(data)
        message = read_carried(carrier, content)
        status, results = message.status, message.results
        if not is_answer:
            status, results = TIMED_OUT if message.is_whole else UNKNOWN, UNKNOWN
        return [
            UNKNOWN,
            boot_ns,
            process.guid,
            process.pid,
            message.name,
            status,
            results,
            process.image,
            context.user(uid),
        ]

    return Maker(make, timed(context))


DNS_BUILDERS: Builders = {
    "dns_message": ((22, dns_query),),
}

DNS_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="DNS messages",
        events=frozenset({22}),
        helps=3,
        helps_with="dns_lookup",
        alternatives=(("dns_sent", "dns_arrived"),),
        missing="no DnsQuery",
    ),
    Hook(
        name="addresses of DNS questions",
        events=frozenset({22}),
        helps=3,
        helps_with="dns_lookup",
        alternatives=(("dns_addressed_v4", "dns_addressed_v6"),),
        missing="no DnsQuery of unconnected sockets where NAT changes the port",
    ),
    Hook(
        name="connections to name servers",
        events=frozenset({22}),
        helps=3,
        helps_with="dns_lookup",
        alternatives=(("dns_connected_v4", "dns_connected_v6"),),
        missing="no certain process in DnsQuery by TCP",
    ),
    Hook(
        name="calls of systemd-resolved",
        events=frozenset({22}),
        helps=3,
        helps_with="dns_lookup",
        alternatives=(
            ("dns_call_received", "dns_call_answered"),
            ("dns_call_received_by_function", "dns_call_answered_by_function"),
        ),
        missing="no DnsQuery of what programs ask systemd-resolved by its socket",
    ),
)
