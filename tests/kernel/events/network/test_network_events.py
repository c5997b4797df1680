# SPDX-License-Identifier: MIT
"""Every way to talk to another: exactly the events 3 that a process tree must have."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.running import Daemon, Event

from sysmonlx.host.ports import Services

pytestmark = pytest.mark.kernel

TCP = Path(__file__).with_name("actions_network.py")
UDP = Path(__file__).with_name("actions_udp.py")
RECEIVED = Path(__file__).with_name("actions_received.py")
RULES = '<ProcessCreate onmatch="exclude"/><NetworkConnect onmatch="exclude"/>'
MANY = 8000

#: pid, protocol, initiated, source address and port, destination address and port.
Connection = tuple[str, str, str, str, str, str, str]

ALONE = [
    "tcp_accept4",
    "tcp_accept_without_address",
    "tcp_ipv6",
    "tcp_ipv4_mapped",
    "tcp_nonblocking",
    "tcp_threads",
    "tcp_forked_acceptors",
    "tcp_not_accepted",
    "tcp_reset_before_accept",
    "tcp_to_itself",
    "tcp_to_a_child_of_another_user",
    "tcp_descriptor_passed_on",
    "tcp_made_after_its_owner_ended",
    "tcp_fast_open",
    "tcp_in_another_network",
    "tcp_refused",
    "tcp_multipath",
    "udp_ipv4",
    "udp_ipv6",
    "udp_ipv4_mapped",
    "udp_connected",
    "udp_answer_is_no_new_flow",
    "udp_messages",
    "udp_many_messages_a_call",
    "udp_several_peers",
    "udp_any_address",
    "udp_nobody_listens",
    "udp_empty_and_large",
    "udp_segmented",
    "udp_corked",
    "udp_threads",
    "udp_one_socket_of_several_processes",
    "udp_multicast",
    "udp_in_another_network",
    "received_by_peek",
    "received_by_peek_behind_others",
    "received_by_peek_on_and_on",
    "received_by_peek_of_nothing",
    "received_by_peek_after_others_were_read",
    "received_by_child_that_peeks",
    "received_into_a_faulting_buffer",
    "received_into_a_faulting_buffer_by_peek",
    "received_nothing",
    "received_not_what_was_dropped",
    "received_after_connect_elsewhere",
    "received_after_connect_elsewhere_by_peek",
    "received_after_connect_to_one_and_another",
    "received_after_the_connection_was_dissolved",
    "received_by_read",
    "received_by_splice",
    "received_by_many_messages_that_fault",
    "received_behind_other_headers",
    "received_by_udp_lite",
    "received_by_udp_lite_in_every_way",
    "received_by_udp_and_udp_lite_at_one_port",
    "unix_and_pairs",
]
BY_IO_URING = [
    "tcp_by_io_uring",
    "tcp_by_io_uring_again_and_again",
    "tcp_by_io_uring_into_its_table",
    "received_by_io_uring",
]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), RULES, "", "") as daemon:
        yield daemon


def command(name: str, argument: str = "") -> list[str]:
    scripts = {"udp": UDP, "received": RECEIVED}
    script = scripts.get(name.partition("_")[0], TCP)
    return [sys.executable, os.fspath(script), name, argument]


def lines_of(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def act(name: str, argument: str = "") -> list[dict[str, Any]]:
    done = subprocess.run(command(name, argument), stdout=subprocess.PIPE, check=True)
    return lines_of(done.stdout)


def as_printed(address: str) -> str:
    """Return the text of an event for what the socket module calls the address."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return ":".join(f"{int(group, 16):x}" for group in found.exploded.split(":"))


def expected(lines: list[dict[str, Any]]) -> Counter[Connection]:
    return Counter(
        (
            str(line["pid"]),
            line["protocol"],
            str(line["initiated"]).lower(),
            as_printed(line["source"][0]),
            str(line["source"][1]),
            as_printed(line["destination"][0]),
            str(line["destination"][1]),
        )
        for line in lines
        if "protocol" in line
    )


def of_tree(daemon: Daemon, lines: list[dict[str, Any]]) -> list[Event]:
    pids = {str(line["pid"]) for line in lines}
    return [
        event
        for event in daemon.settle()
        if event["EventID"] == "3" and event["ProcessId"] in pids
    ]


def seen(events: list[Event]) -> Counter[Connection]:
    return Counter(
        (
            event["ProcessId"],
            event["Protocol"],
            event["Initiated"],
            event["SourceIp"],
            event["SourcePort"],
            event["DestinationIp"],
            event["DestinationPort"],
        )
        for event in events
    )


def check(daemon: Daemon, lines: list[dict[str, Any]]) -> list[Event]:
    events = of_tree(daemon, lines)
    assert seen(events) == expected(lines)
    assert "-" not in {event["Image"] for event in events}
    return events


@pytest.mark.parametrize("name", ALONE)
def test_each_connection_is_reported_once(watch: Daemon, name: str) -> None:
    check(watch, act(name))


@pytest.mark.parametrize("name", BY_IO_URING)
def test_io_uring_hides_nothing(watch: Daemon, name: str) -> None:
    done = subprocess.run(command(name), capture_output=True, check=False)
    if b"IoUringError" in done.stderr:
        pytest.skip(done.stderr.decode().splitlines()[-1])
    assert done.returncode == 0, done.stderr.decode()
    check(watch, lines_of(done.stdout))


def unreadable(daemon: Daemon) -> int:
    """Return how many connections could not be told, up to now."""
    lost = daemon.stats()["records"]["network_connect"]["lost"]
    return int(lost.get("unreadable", 0))


@pytest.mark.parametrize(
    "name", ["received_behind_too_many_headers", "received_after_others_took_the_room"]
)
def test_what_cannot_be_told_is_counted(watch: Daemon, name: str) -> None:
    before = unreadable(watch)
    check(watch, act(name))
    assert unreadable(watch) == before + 1


def test_peers_that_change_while_another_processor_receives(watch: Daemon) -> None:
    before = unreadable(watch)
    check(watch, act("received_while_others_arrive"))
    assert unreadable(watch) == before


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is of x86")
@pytest.mark.parametrize("name", ["tcp_by_32_bit_calls", "received_by_32_bit_calls"])
def test_calls_of_the_32_bit_interface_are_seen(watch: Daemon, name: str) -> None:
    check(watch, act(name))


def test_event_names_image_guid_and_user(watch: Daemon) -> None:
    lines = act("tcp_to_a_child_of_another_user")
    events = check(watch, lines)
    created = next(
        event
        for event in watch.events()
        if event["EventID"] == "1" and event["ProcessId"] == str(lines[0]["pid"])
    )
    assert {event["Image"] for event in events} == {os.path.realpath(sys.executable)}
    by_side = {event["Initiated"]: event for event in events}
    assert by_side["false"]["ProcessGuid"] == created["ProcessGuid"]
    assert by_side["true"]["ProcessGuid"] != created["ProcessGuid"]
    assert by_side["true"]["User"] == "nobody"
    assert by_side["false"]["User"] == "root"


def test_ports_have_names_and_hosts_have_none(watch: Daemon) -> None:
    services = Services()
    for event in check(watch, act("udp_ipv4")):
        for side in ("Source", "Destination"):
            name = services.port_name(int(event[f"{side}Port"]), "udp")
            assert event[f"{side}PortName"] == name
            assert event[f"{side}Hostname"] == "-"
            assert event[f"{side}IsIpv6"] == "false"


def test_no_connection_of_many_is_lost_or_doubled(watch: Daemon) -> None:
    lines = act("tcp_many", str(MANY))
    found = seen(of_tree(watch, lines))
    made = {key[3:] for key in found if key[2] == "true"}
    taken = {key[3:] for key in found if key[2] == "false"}
    by_side = Counter(key[2] for key in found.elements())
    lost = watch.stats()["records"]["network_connect"]
    assert by_side == {"true": MANY, "false": MANY}, lost
    assert made == taken
    assert {key[0] for key in found} == {str(line["pid"]) for line in lines}


@pytest.fixture
def two_networks() -> Iterator[tuple[str, str]]:
    """Names of two network namespaces, 10.213.7.1 and .2, joined by a cable."""
    names = (f"sysmonlx-a-{os.getpid()}", f"sysmonlx-b-{os.getpid()}")
    ends = (f"sl{os.getpid()}a", f"sl{os.getpid()}b")
    ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
    try:
        for name, end, number in zip(names, ends, "12", strict=True):
            ip("netns", "add", name)
            ip("link", "set", end, "netns", name)
            ip("-n", name, "address", "add", f"10.213.7.{number}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)
        ip("link", "delete", ends[0], check=False)


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, stderr=subprocess.DEVNULL)


def test_both_ends_of_a_cable_agree(
    watch: Daemon, two_networks: tuple[str, str]
) -> None:
    inside = [["ip", "netns", "exec", name] for name in two_networks]
    serving = subprocess.Popen(
        inside[0] + command("tcp_serve", "10.213.7.1"), stdout=subprocess.PIPE
    )
    assert serving.stdout is not None
    lines = lines_of(serving.stdout.readline() + serving.stdout.readline())
    ports = ":".join(map(str, lines[-1]["ports"]))
    visit = subprocess.run(
        inside[1] + command("tcp_visit", f"10.213.7.1:{ports}"),
        stdout=subprocess.PIPE,
        check=True,
    )
    lines += lines_of(serving.communicate()[0]) + lines_of(visit.stdout)
    assert {line["source"][0] for line in lines if "source" in line} == {"10.213.7.2"}
    check(watch, lines)


def test_failed_connection_is_reported_on_request(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, RULES, "<FailedConnects>true</FailedConnects>", "")
    daemon.start()
    try:
        check(daemon, act("tcp_refused", "reported"))
    finally:
        daemon.stop()


def test_flow_is_reported_again_after_the_interval(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, RULES, "<UdpInterval>0</UdpInterval>", "")
    daemon.start()
    try:
        lines = act("udp_ipv4")
        once = expected(lines)
        assert seen(of_tree(daemon, lines)) == Counter(dict.fromkeys(once, 3))
    finally:
        daemon.stop()


def test_nothing_is_attached_when_no_rule_asks(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, '<ProcessCreate onmatch="exclude"/>', "", "")
    daemon.start()
    try:
        lines = act("tcp_accept4")
        assert not of_tree(daemon, lines)
        assert not {
            p for p in daemon.stats()["attached"] if p.startswith(("tcp", "udp", "sys"))
        }
    finally:
        daemon.stop()
