# SPDX-License-Identifier: MIT
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.enrich_network import NETWORK_BUILDERS, address_text, network_connect
from sysmonlx.hooks_network import NETWORK_HOOKS

NAMES = [field.name for field in EVENT_BY_ID[3].fields]


class FakeContext:
    def utc(self, boot_ns: int) -> str:
        return f"utc of {boot_ns}"

    def user(self, uid: int) -> str:
        return f"user {uid}"

    def port_name(self, port: int, protocol: str) -> str:
        return f"{protocol} {port}"

    def host_name(self, address: str) -> str:
        return f"host {address}"


def built(**changes: Any) -> dict[str, str]:
    record = {
        "boot_ns": 5,
        "tgid": 40,
        "uid": 1000,
        "family": 2,
        "protocol": 6,
        "initiated": True,
        "failed": False,
        "source_address": bytes([192, 0, 2, 10]) + bytes(12),
        "destination_address": bytes([198, 51, 100, 7]) + bytes(12),
        "source_port": 51034,
        "destination_port": 443,
    }
    process: Any = SimpleNamespace(guid="{guid}", image="/usr/bin/curl")
    context: Any = FakeContext()
    values = network_connect(SimpleNamespace(**record | changes), process, context)
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize(
    ("address", "is_ipv6", "text"),
    [
        (bytes([127, 0, 0, 1]) + bytes(12), False, "127.0.0.1"),
        (bytes([255, 255, 255, 255]) + bytes(12), False, "255.255.255.255"),
        (bytes(16), True, "0:0:0:0:0:0:0:0"),
        (bytes(15) + b"\1", True, "0:0:0:0:0:0:0:1"),
        (
            bytes.fromhex("fe8000000000000002420acdfe110002"),
            True,
            "fe80:0:0:0:242:acd:fe11:2",
        ),
    ],
)
def test_address_is_never_shortened(address: bytes, is_ipv6: bool, text: str) -> None:
    assert address_text(address, is_ipv6) == text


def test_event_3_has_every_field_in_its_place() -> None:
    assert built() == {
        "RuleName": "-",
        "UtcTime": "utc of 5",
        "ProcessGuid": "{guid}",
        "ProcessId": "40",
        "Image": "/usr/bin/curl",
        "User": "user 1000",
        "Protocol": "tcp",
        "Initiated": "true",
        "SourceIsIpv6": "false",
        "SourceIp": "192.0.2.10",
        "SourceHostname": "host 192.0.2.10",
        "SourcePort": "51034",
        "SourcePortName": "tcp 51034",
        "DestinationIsIpv6": "false",
        "DestinationIp": "198.51.100.7",
        "DestinationHostname": "host 198.51.100.7",
        "DestinationPort": "443",
        "DestinationPortName": "tcp 443",
    }


def test_ports_of_udp_have_the_names_of_udp() -> None:
    event = built(protocol=17, initiated=False, destination_port=53)
    assert event["Protocol"] == "udp"
    assert event["Initiated"] == "false"
    assert event["DestinationPortName"] == "udp 53"


def test_both_ends_of_ipv6_are_marked() -> None:
    event = built(
        family=10, source_address=bytes(15) + b"\1", destination_address=bytes(16)
    )
    assert (event["SourceIsIpv6"], event["DestinationIsIpv6"]) == ("true", "true")
    assert event["SourceIp"] == "0:0:0:0:0:0:0:1"


def test_every_hook_serves_the_events_of_the_builders() -> None:
    events = {event for made in NETWORK_BUILDERS.values() for event, _ in made}
    assert {event for hook in NETWORK_HOOKS for event in hook.events} == events
