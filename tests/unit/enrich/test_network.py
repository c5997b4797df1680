# SPDX-License-Identifier: MIT
from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.enrichment import complete, encode, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.dns_message import Answer
from sysmonlx.enrich.host_names import HostNames
from sysmonlx.enrich.network import NETWORK_BUILDERS, NETWORK_HOOKS, address_text
from sysmonlx.kernel_text import PlainTexts
from sysmonlx.processes.process import Process, image_key

#: Makes event 3 of a usual record with some changes; returns also whether it is plain.
Make = Callable[..., tuple[dict[str, str], bool]]


class FakeContext:
    host_names = HostNames()
    users = SimpleNamespace(names={1000: "user 1000"})
    is_plain_name = PlainTexts()

    def __init__(self) -> None:
        self.ports = self

    def utc(self, boot_ns: int) -> str:
        return f"utc of {boot_ns}"

    def port_name(self, port: int, protocol: str) -> str:
        return f"{protocol} {port}" if port != 99 else "a&b"


@pytest.fixture
def made(layouts: Layouts) -> Make:
    maker = make_maker(layouts, FakeContext(), "network_connect", 3)
    process = Process(image_key(40, 4, 1), "{guid}", "40", 0, "/usr/bin/curl")
    FakeContext.host_names.forget()

    def make(**changes: Any) -> tuple[dict[str, str], bool]:
        data = encode(layouts, "network_connect", **RECORD | changes)
        event = complete(maker, data, process)
        assert event is not None
        values, is_plain = event
        return named(3, values), is_plain

    return make


RECORD = {
    "boot_ns": 5,
    "start_boot_ns": 4,
    "exec_id": 1,
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


def test_event_3_has_every_field_in_its_place(made: Make) -> None:
    assert made()[0] == {
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
        "SourceHostname": "-",
        "SourcePort": "51034",
        "SourcePortName": "tcp 51034",
        "DestinationIsIpv6": "false",
        "DestinationIp": "198.51.100.7",
        "DestinationHostname": "-",
        "DestinationPort": "443",
        "DestinationPortName": "tcp 443",
    }


def test_event_3_is_plain_when_all_its_names_are(made: Make) -> None:
    assert made()[1]
    assert not made(source_port=99)[1]
    assert not made(destination_port=99)[1]


@pytest.mark.parametrize("protocol", [17, 136])
def test_ports_of_udp_have_the_names_of_udp(made: Make, protocol: int) -> None:
    event, _ = made(protocol=protocol, initiated=False, destination_port=53)
    assert event["Protocol"] == "udp"
    assert event["Initiated"] == "false"
    assert event["DestinationPortName"] == "udp 53"


def test_both_ends_of_ipv6_are_marked(made: Make) -> None:
    event, _ = made(
        family=10, source_address=bytes(15) + b"\1", destination_address=bytes(16)
    )
    assert (event["SourceIsIpv6"], event["DestinationIsIpv6"]) == ("true", "true")
    assert event["SourceIp"] == "0:0:0:0:0:0:0:1"


def test_every_hook_serves_the_events_of_the_builders() -> None:
    events = {event for pairs in NETWORK_BUILDERS.values() for event, _ in pairs}
    assert {event for hook in NETWORK_HOOKS for event in hook.events} == events


def test_hosts_are_named_as_answers_did(made: Make) -> None:
    process = Process(image_key(40, 4, 1), "{guid}", "40", 0, "/usr/bin/curl")
    v6 = bytes.fromhex("20010db8") + bytes(11) + b"\1"
    found = [Answer(bytes([198, 51, 100, 7]), 60), Answer(v6, 60)]
    FakeContext.host_names.learn(process, 1000, "one.example", found, 4)
    event, is_plain = made()
    assert (event["SourceHostname"], is_plain) == ("-", True)
    assert event["DestinationHostname"] == "one.example"
    event, _ = made(family=10, source_address=v6, destination_address=bytes(16))
    assert event["SourceHostname"] == "one.example"
    FakeContext.host_names.learn(process, 1000, "a<b", found, 4)
    assert not made()[1]
