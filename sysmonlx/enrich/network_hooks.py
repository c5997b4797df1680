# SPDX-License-Identifier: MIT
"""What is attached for network connections."""

from __future__ import annotations

from sysmonlx.capture.hooks import Hook

_NETWORK = frozenset({3})

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
            ("syscall_exit", "io_uring_accept_begun", "io_uring_accepted"),
            ("syscall_exit",),
        ),
        missing="no NetworkConnect of TCP connections that this machine accepts",
    ),
    Hook(
        name="UDP datagrams",
        events=_NETWORK,
        alternatives=(("udp_sent", "udp_arrived"), ("udp_sent_of_any", "udp_arrived")),
        missing="no NetworkConnect of UDP",
        kind="cgroup",
    ),
    Hook(
        name="UDP receivers",
        events=_NETWORK,
        alternatives=(
            ("udp_received",),
            ("udp_received_v4", "udp_received_v6"),
            ("udp_received_datagram",),
        ),
        missing="no NetworkConnect of UDP received",
    ),
)
