# SPDX-License-Identifier: MIT
"""Calls and replies of one socket, however the pieces come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from support.enrichment import SECOND, encode
from support.varlink_server import call, encoded, reply

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich import varlink_calls
from sysmonlx.enrich.varlink_calls import Calls
from sysmonlx.enrich.varlink_message import read_call

NAMES = [f"{number}.a.test" for number in range(20)]
CALLS = [call(name=each) for each in NAMES]


class Resolver:
    """What systemd-resolved receives and sends, piece by piece."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.layout = layouts.by_name["dns_message"]
        self.calls = Calls(self.layout)
        self.passed = {(1, 0): 0, (1, 1): 0}

    def take(self, content: bytes, is_answer: int, **more: Any) -> list[Any]:
        cookie = more.setdefault("cookie", 1)
        at = self.passed.setdefault((cookie, is_answer), 0)
        self.passed[cookie, is_answer] = (at + len(content)) % (1 << 32)
        record = encode(
            *(self.layouts, "dns_message"),
            data=content,
            sequence=at,
            is_answer=is_answer,
            carrier=2,
            **{"boot_ns": SECOND, "uid": 1000} | more,
        )
        return [self.layout.decode(each) for each in self.calls.take(record)]

    def lose(self, content: bytes, is_answer: int) -> None:
        self.passed[1, is_answer] += len(content)


@pytest.fixture
def resolver(layouts: Layouts) -> Resolver:
    return Resolver(layouts)


def name_of(made: Any) -> str:
    found = read_call(made.data)
    assert found is not None
    return found.name


def test_a_reply_has_the_call_before_it(resolver: Resolver) -> None:
    (asked,) = resolver.take(CALLS[0], 0, tgid=7, uid=5)
    assert (asked.tgid, asked.uid, asked.is_answer) == (7, 5, 0)
    assert asked.data == CALLS[0][:-1]
    (answered,) = resolver.take(reply(CALLS[0][:-1]), 1, tgid=7, uid=5)
    assert (answered.cookie, answered.is_answer) == (asked.cookie, 1)
    found = read_call(answered.data)
    assert found is not None
    assert (found.name, found.status) == (NAMES[0], "0")


@pytest.mark.parametrize("seed", range(10))
def test_pieces_of_any_size_are_put_together(resolver: Resolver, seed: int) -> None:
    chance = random.Random(seed)
    for is_answer, messages in enumerate((CALLS, [reply(c[:-1]) for c in CALLS])):
        stream, made = b"".join(messages), []
        while stream:
            size = chance.choice((1, 7, 100, 1000))
            made += resolver.take(stream[:size], is_answer)
            stream = stream[size:]
        assert [*map(name_of, made)] == NAMES
        assert {each.is_answer for each in made} == {is_answer}


def test_calls_for_no_name_have_replies_too(resolver: Resolver) -> None:
    other = encoded({"method": "org.varlink.service.GetInfo"})
    assert len(resolver.take(other + CALLS[0], 0)) == 1
    made = resolver.take(encoded({"parameters": {}}) + reply(CALLS[0][:-1]), 1)
    assert [*map(name_of, made)] == [NAMES[0]]


@pytest.mark.parametrize("is_answer", [0, 1])
def test_behind_a_gap_calls_are_told_without_replies(
    resolver: Resolver, is_answer: int
) -> None:
    resolver.take(CALLS[0] + CALLS[1], 0)
    resolver.lose(b"x" * 9, is_answer)
    tail = b'st"}}\0' + CALLS[2]
    made = resolver.take(tail, is_answer)
    if is_answer:
        made += resolver.take(CALLS[2], 0)
    assert [name_of(each) for each in made if name_of(each) != "-"] == NAMES[:3]
    assert {each.is_answer for each in made} == {1}
    assert {each.data[-1:] for each in made} == {b"\0"}
    assert resolver.take(reply(CALLS[2][:-1]), 1) == []


def test_a_call_right_behind_a_gap_is_told(resolver: Resolver) -> None:
    resolver.take(b" " * 9000, 0)
    resolver.lose(b"x" * 100_000, 0)
    (made,) = resolver.take(CALLS[1], 0)
    assert (name_of(made), made.is_answer) == (NAMES[1], 1)


def test_a_connection_that_was_there_before_has_no_replies(resolver: Resolver) -> None:
    assert resolver.take(reply(CALLS[0][:-1]), 1) == []
    (made,) = resolver.take(CALLS[1], 0)
    assert (name_of(made), made.is_answer) == (NAMES[1], 1)


def test_what_is_too_long_is_a_message_that_cannot_be_read(resolver: Resolver) -> None:
    (made,) = resolver.take(call(name="x" * 9000), 0)
    assert name_of(made) == "-"
    resolver.take(reply(CALLS[0][:-1]), 1)
    resolver.take(CALLS[0], 0)
    for _ in range(20):
        assert resolver.take(b" " * 4096, 1) == []
    (made,) = resolver.take(b"{}\0", 1)
    assert (name_of(made), made.data[-1:]) == (NAMES[0], b"\0")


def test_memory_is_bounded(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlink_calls, "_CALLS", 5)
    made = resolver.take(b"".join(CALLS[:8]), 0)
    assert [each.is_answer for each in made] == [0] * 6 + [1] * 8
    for number in range(700):
        resolver.take(b"x" * 100, 0, cookie=10 + number, uid=number % 9)
    assert len(resolver.calls) <= varlink_calls.OF_ALL
    resolver.calls.forget_idle(200 * SECOND)
    assert len(resolver.calls) == 0


@pytest.mark.parametrize("loses", [False, True])
def test_calls_for_no_name_take_no_memory(resolver: Resolver, *, loses: bool) -> None:
    other = encoded({"method": "a.b"})
    if loses:
        resolver.take(reply(CALLS[0][:-1]), 1)
    for _ in range(varlink_calls._CALLS * 2):
        resolver.take(other, 0)
    talk = resolver.calls._known[1][1]
    assert len(talk.waiting) <= varlink_calls._CALLS


def test_long_calls_take_little_memory(resolver: Resolver) -> None:
    for number in range(100):
        resolver.take(call(name=f"{number}.a.test", more="x" * 7000), 0)
    talk = resolver.calls._known[1][1]
    assert sum(len(each) for _, each in talk.waiting) <= varlink_calls._WAITING_BYTES


def test_nothing_is_no_flood_of_calls(resolver: Resolver) -> None:
    made = resolver.take(CALLS[0] + b"\0" * 4000, 0)
    assert len(made) <= varlink_calls._MESSAGES + 2
    assert [name_of(each) for each in made if name_of(each) != "-"] == NAMES[:1]


@pytest.mark.parametrize("loses", [False, True])
def test_what_cannot_be_read_is_of_its_socket(
    resolver: Resolver, *, loses: bool
) -> None:
    if loses:
        resolver.take(reply(CALLS[0][:-1]), 1)
    made = resolver.take(b"x\0{}\0", 0) + resolver.take(b"\0", 0)
    assert {(name_of(each), each.cookie) for each in made} == {("-", 1)}
    (asked,) = resolver.take(CALLS[0], 0)
    assert asked.cookie > 1 << 62


def test_others_are_not_crowded_out(resolver: Resolver) -> None:
    resolver.take(CALLS[0], 0, cookie=5, uid=0)
    for number in range(200):
        resolver.take(CALLS[1], 0, cookie=10 + number, uid=1000)
    (made,) = resolver.take(reply(CALLS[0][:-1]), 1, cookie=5, uid=0)
    assert name_of(made) == NAMES[0]


def test_numbers_of_sequence_begin_again(resolver: Resolver) -> None:
    resolver.take(CALLS[0], 0)
    talk = resolver.calls._known[1][1]
    talk.calls.next = resolver.passed[1, 0] = (1 << 32) - 5
    made = len(resolver.take(CALLS[1], 0)) + len(resolver.take(CALLS[2], 0))
    assert (made, talk.is_lost) == (2, False)


def test_after_a_change_of_rules_no_reply_is_mistaken(resolver: Resolver) -> None:
    resolver.take(CALLS[0], 0)
    resolver.calls.forget()
    assert resolver.take(reply(CALLS[0][:-1]), 1) == []
    (made,) = resolver.take(CALLS[1], 0)
    assert made.is_answer == 1
