# SPDX-License-Identifier: MIT
"""Names learnt from DNS answers: whose they are, and for how long."""

from __future__ import annotations

import pytest

from sysmonlx.enrich import host_names
from sysmonlx.enrich.dns_message import Answer
from sysmonlx.enrich.host_names import HostNames
from sysmonlx.processes.process import Process, image_key

ALICE, BOB, RESOLVER = 1001, 1002, 101
SECOND = 1_000_000_000
V4 = bytes([192, 0, 2, 1])


def process(pid: int, exec_id: int = 1) -> Process:
    return Process(image_key(pid, pid, exec_id), "{guid}", str(pid), 0, "/bin/a")


@pytest.fixture
def names() -> HostNames:
    return HostNames()


def learn(names: HostNames, pid: int, uid: int, name: str, ttl_s: int = 60) -> None:
    names.learn(process(pid), uid, name, [Answer(V4, ttl_s)], 0)


def test_a_process_has_its_own_name_for_an_address(names: HostNames) -> None:
    learn(names, 1, ALICE, "one.test")
    learn(names, 2, ALICE, "two.test")
    assert names.name(V4, process(1), ALICE, 0) == "one.test"
    assert names.name(V4, process(1, exec_id=2), BOB, 0) == "one.test"
    assert names.name(V4, process(3), ALICE, 0) == "two.test"


def test_no_user_names_an_address_for_others(names: HostNames) -> None:
    learn(names, 1, ALICE, "lie.test")
    assert names.name(V4, process(2), BOB, 0) == "-"
    assert names.name(V4, process(3), 0, 0) == "-"


def test_what_the_system_asked_for_is_known_to_all(names: HostNames) -> None:
    learn(names, 1, RESOLVER, "true.test")
    learn(names, 2, ALICE, "own.test")
    assert names.name(V4, process(3), BOB, 0) == "true.test"
    assert names.name(V4, process(4), ALICE, 0) == "own.test"
    assert names.name(V4, process(5), 0, 0) == "true.test"


@pytest.mark.parametrize(("ttl_s", "known_s"), [(0, 60), (90, 90), (1 << 31, 3600)])
def test_a_name_ends(names: HostNames, ttl_s: int, known_s: int) -> None:
    learn(names, 1, ALICE, "a.test", ttl_s)
    assert names.name(V4, process(1), ALICE, known_s * SECOND - 1) == "a.test"
    assert names.name(V4, process(1), ALICE, known_s * SECOND) == "-"


def test_a_mapped_address_is_that_of_ipv4(names: HostNames) -> None:
    mapped = bytes(10) + b"\xff\xff" + V4
    names.learn(process(1), ALICE, "a.test", [Answer(mapped, 60)], 0)
    assert names.name(V4, process(1), ALICE, 0) == "a.test"


def test_who_learns_too_much_forgets_names_of_his_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_names, "OF_USER", 10)
    names = HostNames()
    learn(names, 1, BOB, "bob.test")
    for number in range(100):
        found = [Answer(bytes([10, 0, 0, number]), 60)]
        names.learn(process(2), ALICE, f"{number}.test", found, 0)
    assert len(names.known) == 12
    assert names.name(V4, process(1), BOB, 0) == "bob.test"
    assert names.name(bytes([10, 0, 0, 99]), process(2), ALICE, 0) == "99.test"
    names.forget()
    assert names.known == {}


def test_a_user_and_a_process_of_one_number_are_told_apart(names: HostNames) -> None:
    learn(names, 1, ALICE, "alice.test")
    for uid in (0, 1, 1 << 31, (1 << 32) - 1):
        assert names.name(V4, process(ALICE), uid, 0) == "-"


def test_two_who_call_an_address_alike_share_what_is_kept(names: HostNames) -> None:
    learn(names, 1, ALICE, "a.test")
    first, second = names.known.values()
    assert first is second
    learn(names, 1, BOB, "b.test")
    assert {value[1][0] for value in names.known.values()} == {"a.test", "b.test"}
    assert {user for user, _ in names.known.values()} == {ALICE, BOB}
