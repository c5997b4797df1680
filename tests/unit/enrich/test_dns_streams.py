# SPDX-License-Identifier: MIT
"""DNS messages out of TCP, however the pieces come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.dns_server import answer, framed, question
from support.enrichment import SECOND, encode

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich import dns_streams
from sysmonlx.enrich.dns_streams import Streams

FIRST = (1 << 32) - 100  # the numbers begin again within the stream
MESSAGES = [answer(question(f"{number}.test")) for number in range(20)]
STREAM = b"".join(map(framed, MESSAGES))


class Peer:
    """Sends pieces of streams."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.layout = layouts.by_name["dns_message"]
        self.streams = Streams(self.layout)

    def send(self, content: bytes, at: int = 0, **more: Any) -> list[bytes]:
        values = {"cookie": 1, "is_answer": 1, "boot_ns": SECOND, "uid": 1000} | more
        record = encode(
            *(self.layouts, "dns_message"),
            data=content,
            sequence=(FIRST + at) % (1 << 32),
            carrier=1,
            **values,
        )
        return self.contents(self.streams.take(record))

    def contents(self, records: list[bytes]) -> list[bytes]:
        return [self.layout.decode(each).data for each in records]


@pytest.fixture
def peer(layouts: Layouts) -> Peer:
    return Peer(layouts)


def test_messages_are_records_of_the_same_process(peer: Peer) -> None:
    record = encode(
        *(peer.layouts, "dns_message"),
        **{"tgid": 7, "uid": 5, "boot_ns": 9, "cookie": 3, "is_answer": 1},
        data=framed(MESSAGES[0]),
    )
    (made,) = peer.streams.take(record)
    found = peer.layout.decode(made)
    assert (found.tgid, found.uid, found.boot_ns, found.cookie) == (7, 5, 9, 3)
    assert (found.is_answer, found.data) == (1, MESSAGES[0])


@given(cuts=st.lists(st.integers(1, len(STREAM))), seed=st.none() | st.integers(0, 99))
@example(cuts=[*range(1, len(STREAM))], seed=None)
@example(cuts=[*range(1, len(STREAM), 7)], seed=1)
def test_pieces_of_any_size_in_any_order_twice(
    layouts: Layouts, cuts: list[int], seed: int | None
) -> None:
    peer = Peer(layouts)
    ends = sorted({*cuts, len(STREAM)})
    pieces = list(zip([0, *ends], ends, strict=False))
    if seed is not None:  # all but the first, which says where the stream begins
        rest = pieces[1:] * 2
        random.Random(seed).shuffle(rest)
        pieces[1:] = rest
    found = [
        each for begin, end in pieces for each in peer.send(STREAM[begin:end], begin)
    ]
    assert found == MESSAGES
    assert peer.streams.forget_idle(1 << 60) == []


def test_the_second_piece_may_come_first(peer: Peer) -> None:
    data = framed(MESSAGES[0])
    assert peer.send(data[1:], 1) == []
    assert peer.send(data[:1], 0) == [MESSAGES[0]]


def test_pieces_that_overlap(peer: Peer) -> None:
    data = framed(MESSAGES[0]) + framed(MESSAGES[1])
    assert peer.send(data[:30]) == []
    assert peer.send(data[10:], 10) == MESSAGES[:2]
    assert peer.send(data[5:], 5) == []


def test_both_directions_and_all_sockets_are_apart(peer: Peer) -> None:
    data = framed(question("a.test"))
    assert peer.send(data[:9]) == []
    assert peer.send(data, is_answer=0) == [question("a.test")]
    assert peer.send(data, cookie=2) == [question("a.test")]
    assert peer.send(data[9:], 9) == [question("a.test")]


def test_what_never_ends_is_told_when_nothing_comes_any_more(peer: Peer) -> None:
    data = b"\xff\xff" + question("hidden.test")
    assert peer.send(data) == []
    assert peer.streams.forget_idle(2 * SECOND) == []
    rest = peer.streams.forget_idle(12 * SECOND)
    assert peer.contents(rest) == [question("hidden.test")]
    assert len(peer.streams) == 0


def test_a_gap_ends_the_wait_for_what_is_lost(peer: Peer) -> None:
    peer.send(framed(MESSAGES[0]))
    at, found = 5000, []
    for _ in range(20):
        found += peer.send(framed(bytes(4094)), at)
        at += 4096
    assert found == [bytes(4094)] * 20
    assert peer.send(framed(MESSAGES[1]), at) == [MESSAGES[1]]


def test_who_has_too_many_streams_loses_his_own(
    layouts: Layouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_streams, "OF_USER", 3)
    peer = Peer(layouts)
    peer.send(framed(MESSAGES[0])[:9], cookie=99, uid=1001)
    told = [peer.send(b"\0\x50ab", cookie=cookie) for cookie in range(6)]
    assert told == [[], [], [], [b"ab"], [b"ab"], [b"ab"]]
    assert len(peer.streams) == 4
    assert peer.send(framed(MESSAGES[0])[9:], 9, cookie=99) == [MESSAGES[0]]


def test_a_question_is_kept_short(peer: Peer) -> None:
    (made,) = peer.send(framed(question("a.test") + bytes(9000)), is_answer=0)
    assert len(made) == 512


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(-99, 99_000))))
def test_any_pieces_are_read_in_bounded_memory(
    layouts: Layouts, pieces: list[tuple[bytes, int]]
) -> None:
    peer = Peer(layouts)
    for content, at in pieces:
        peer.send(content * 999, at)
    for _, stream in peer.streams._known.values():
        waiting = sum(map(len, stream.parts.values()))
        assert waiting <= (1 << 16) + 40 * 999
        assert len(stream.buffer) <= 1 << 17
