# SPDX-License-Identifier: MIT
"""Every way to ask for a name: exactly the events 22 that a process tree must have."""

from __future__ import annotations

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

pytestmark = pytest.mark.kernel

ACTIONS = Path(__file__).with_name("actions_dns.py")
CALLS = Path(__file__).with_name("actions_varlink.py")
RULES = '<ProcessCreate onmatch="exclude"/><DnsQuery onmatch="exclude"/>'
SEEN = [
    "ways_to_send",
    "answers_of_every_kind",
    "in_flight",
    "asked_again",
    "answered_twice",
    "many_a_call",
    "cut_by_the_kernel",
    "child_reads",
    "fork_asks",
    "thread_asks",
    "by_the_c_library",
    "by_tcp",
    "by_tcp_in_pieces",
    "by_tcp_at_once",
    "by_tcp_with_the_first_packet",
    "by_tcp_of_a_parent",
    "no_dns",
    "elsewhere",
]

SEEN_IN_CALLS = [
    "ways_to_send",
    "answers_of_every_kind",
    "in_flight",
    "many_connections",
    "by_io_uring",
    "child_asks",
    "fork_asks",
    "memory_is_changed",
    "no_name",
    "elsewhere",
]

#: ProcessId, QueryName, QueryStatus, QueryResults.
Query = tuple[str, str, str, str]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), RULES, "", "") as daemon:
        yield daemon


def act(*names: str, actions: Path = ACTIONS) -> list[dict[str, Any]]:
    command = [sys.executable, os.fspath(actions), *names]
    done = subprocess.run(command, capture_output=True, check=False)
    if b"IoUringError" in done.stderr:
        pytest.skip(done.stderr.decode().splitlines()[-1])
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_tree(events: list[Event], lines: list[dict[str, Any]]) -> list[Event]:
    pids = {str(line["pid"]) for line in lines}
    return [e for e in events if e["EventID"] == "22" and e["ProcessId"] in pids]


def expected(lines: list[dict[str, Any]]) -> Counter[Query]:
    return Counter(
        (str(line["pid"]), line["name"], line["status"], line["results"])
        for line in lines
        if "name" in line
    )


def seen(events: list[Event]) -> Counter[Query]:
    return Counter(
        (
            each["ProcessId"],
            each["QueryName"],
            each["QueryStatus"],
            each["QueryResults"],
        )
        for each in events
    )


@pytest.mark.parametrize("name", SEEN)
def test_each_question_is_one_event(watch: Daemon, name: str) -> None:
    lines = act(name)
    assert seen(of_tree(watch.settle(), lines)) == expected(lines)


def test_io_uring_hides_nothing(watch: Daemon) -> None:
    lines = act("by_io_uring")
    assert seen(of_tree(watch.settle(), lines)) == expected(lines)


@pytest.mark.parametrize("name", SEEN_IN_CALLS)
def test_each_call_of_the_resolver_is_one_event(watch: Daemon, name: str) -> None:
    lines = act(name, actions=CALLS)
    assert seen(of_tree(watch.settle(), lines)) == expected(lines)


def test_calls_behind_more_than_is_looked_at_are_told(watch: Daemon) -> None:
    before = watch.stats()["records"]["dns_message"]["left_out"]
    lines = act("too_much", actions=CALLS)
    found = seen(of_tree(watch.settle(), lines))
    assert found >= expected(lines)
    assert {name for _, name, _, _ in found} == {"behind.a.test", "-"}
    stats = watch.stats()
    assert stats["records"]["dns_message"]["left_out"] > before
    assert stats["gaps"] == []


def test_a_frame_on_the_link_is_not_seen(watch: Daemon) -> None:
    lines = act("past_all_sockets")
    found = seen(of_tree(watch.settle(), lines))
    assert found == expected(lines), "now it is seen: see docs/evasion.md"


def test_event_names_image_guid_and_user(watch: Daemon) -> None:
    lines = act("thread_asks")
    (event,) = of_tree(watch.settle(), lines)
    created = next(
        each
        for each in watch.events()
        if each["EventID"] == "1" and each["ProcessId"] == event["ProcessId"]
    )
    assert event["ProcessGuid"] == created["ProcessGuid"]
    assert event["Image"] == created["Image"]
    assert event["User"] == "root"
    assert watch.events().index(created) < watch.events().index(event)


def test_books_close_and_say_what_was_left_out(watch: Daemon) -> None:
    before = watch.stats()
    act("no_dns", "elsewhere", "asked_again")
    watch.settle()
    stats = watch.stats()
    assert stats["gaps"] == []
    assert not [each for each in stats["missing"] if "DnsQuery" in each]
    kernel = stats["records"]["dns_message"]
    assert kernel["left_out"] == before["records"]["dns_message"]["left_out"] + 1
    assert kernel["lost"] == {}
    reasons = stats["events"]["22"]["no_event"]
    assert {"malformed as before", "asked before", "told with its answer"} <= {*reasons}
    malformed = stats["unknown_values"]["DNS question: malformed"]
    was = before["unknown_values"].get("DNS question: malformed", 0)
    assert malformed == was + 5


def test_what_is_too_much_of_a_socket_is_left_out(watch: Daemon) -> None:
    before = watch.stats()["records"]["dns_message"]["left_out"]
    lines = act("no_dns_by_tcp")
    assert seen(of_tree(watch.settle(), lines)) == expected(lines)
    stats = watch.stats()
    assert stats["records"]["dns_message"]["left_out"] > before + 50
    assert stats["gaps"] == []


def test_questions_that_wait_are_told_at_the_end(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, RULES, "", "")
    daemon.start()
    try:
        lines = act("no_answer", "by_raw_sockets")
        assert len(of_tree(daemon.settle(), lines)) == 1
        assert daemon.stats()["events"]["22"]["waiting"] == 2
    finally:
        daemon.stop()
    events = of_tree(daemon.events(), lines)
    assert seen(events) == expected(lines)
    assert daemon.events()[-1].get("State") == "Stopped"


def test_names_that_no_rule_wants_do_not_reach_the_daemon(tmp_path: Path) -> None:
    rules = (
        '<DnsQuery onmatch="include"><QueryName condition="end with">7.A.test'
        '</QueryName><QueryName condition="is">-</QueryName></DnsQuery>'
    )
    daemon = Daemon(tmp_path, rules, "", "")
    daemon.start()
    try:
        lines = act("in_flight", "no_dns", "by_tcp")
        events = of_tree(daemon.settle(), lines)
        stats = daemon.stats()
    finally:
        daemon.stop()
    wanted = [
        each for each in lines if each.get("name", "").endswith(("7.a.test", "-"))
    ]
    assert seen(events) == expected(wanted)
    assert stats["events"]["22"]["filtered_in"] == "kernel"
    assert stats["records"]["dns_message"]["filtered_in_kernel"] == 180
    assert stats["gaps"] == []


@pytest.mark.parametrize(
    "unwanted",
    [
        "",
        '<DnsQuery onmatch="include"><QueryName>nowhere</QueryName></DnsQuery>',
    ],
)
def test_hosts_are_named_where_no_rule_asks_for_the_questions(
    tmp_path: Path, unwanted: str
) -> None:
    rules = f'<ProcessCreate onmatch="exclude"/>{unwanted}'
    rules += '<NetworkConnect onmatch="exclude"/>'
    daemon = Daemon(tmp_path, rules, "", "<DnsLookup>true</DnsLookup>")
    daemon.start()
    try:
        pids = {str(line["pid"]) for line in act("connections_by_name")}
        events = [e for e in daemon.settle() if e.get("ProcessId") in pids]
        stats = daemon.stats()
    finally:
        daemon.stop()
    named = {
        (event["DestinationIp"], event["DestinationHostname"])
        for event in events
        if event.get("Protocol") == "tcp"
    }
    assert named == {
        ("192.0.2.1", "web.a.test"),
        ("2001:db8:0:0:0:0:0:1", "web.a.test"),
        ("192.0.2.2", "-"),
    }
    assert "22" not in {event["EventID"] for event in events}
    assert stats["gaps"] == []
    if not unwanted:
        assert stats["events"]["22"]["no_event"].keys() == {"no rule asks for it"}


def test_nothing_is_attached_when_no_rule_asks(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, '<ProcessCreate onmatch="exclude"/>', "", "")
    daemon.start()
    try:
        assert not {p for p in daemon.stats()["attached"] if p.startswith("dns")}
    finally:
        daemon.stop()
