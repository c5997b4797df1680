# SPDX-License-Identifier: MIT
"""DNS messages: what event 22 shows of them, and that no bytes are too hostile."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.enrich.dns_message import Message, read_message

A, CNAME, MX, TXT, AAAA, SRV, OPT = 1, 5, 15, 16, 28, 33, 41
QUESTION = b"\3www\1a\4test\0"


def message(
    *records: tuple[int, bytes], flags: int = 0x8180, name: bytes = QUESTION
) -> bytes:
    """Return an answer to a question of type A; each record is a type and its data."""
    head = struct.pack(">6H", 7, flags, 1, len(records), 0, 0)
    body = b"".join(
        b"\xc0\x0c" + struct.pack(">2HiH", kind, 1, 60, len(data)) + data
        for kind, data in records
    )
    return head + name + struct.pack(">2H", A, 1) + body


def read(*records: tuple[int, bytes], flags: int = 0x8180) -> Message:
    return read_message(message(*records, flags=flags))


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ((A, bytes([192, 0, 2, 1])), "::ffff:192.0.2.1;"),
        ((AAAA, bytes.fromhex("20010db8") + bytes(11) + b"\1"), "2001:db8::1;"),
        ((CNAME, b"\1b\xc0\x12"), "type:  5 b.test;"),
        ((MX, b"\0\1\1b\xc0\x12"), "type: 15 b.test;"),
        ((SRV, bytes(6) + b"\1b\xc0\x12"), "type: 33 b.test;"),
        ((TXT, b"\3a b\2;c"), "type: 16 a\\032b\\059c;"),
        ((TXT, b"\0"), "-"),
        ((99, b"anything"), "-"),
        ((A, b"123"), "-"),
    ],
)
def test_results_of_one_record(record: tuple[int, bytes], text: str) -> None:
    assert read(record).results == text


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (0x8180, "9501"),
        (0x8183, "9003"),
        (0x8182, "9002"),
        (0x818B, "9504"),
        (0x8380, "-"),
    ],
)
def test_status_of_an_answer_without_records(flags: int, status: str) -> None:
    assert read(flags=flags).status == status


def test_name_is_as_on_the_wire_with_odd_bytes_spelt_out() -> None:
    data = message(name=b"\4W;.\x20\1a\0")
    assert read_message(data).name == "W\\059\\046\\032.a"
    assert read_message(message(name=b"\0")).name == "."


def test_question_and_answer_have_one_key_in_either_case() -> None:
    asked = message(flags=0x0100, name=b"\3WwW\1a\4test\0")
    assert read_message(asked).key == read().key


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\x3fshort", b"\x40a\0", (b"\x3f" + b"a" * 63) * 4 + b"\0", b""],
    ids=["circle", "cut", "reserved", "long", "none"],
)
def test_name_that_is_broken_is_unknown(name: bytes) -> None:
    found = read_message(struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name)
    assert (found.name, found.status, found.is_whole) == ("-", "-", False)


def test_results_end_at_a_whole_item() -> None:
    found = read(*[(TXT, b"\xfa" + b"x" * 250)] * 40)
    assert len(found.results) <= 4096
    assert found.results.endswith("x;")


def test_64_kib_of_pointers_are_read_in_bounded_steps() -> None:
    pointers = b"".join(struct.pack(">H", 0xC000 | 12 + 2 * n) for n in range(8000))
    data = struct.pack(">6H", 7, 0x8180, 0xFFFF, 0xFFFF, 0, 0) + pointers * 4
    assert not read_message(data[:65535]).is_whole


def is_sound(found: Message) -> bool:
    items = found.results.split(";") if found.results != "-" else []
    parts = [item.split() for item in items if item.startswith("type:")]
    return all(map(str.isascii, items)) and all(len(each) == 3 for each in parts)


@given(st.binary(max_size=600))
def test_any_bytes_give_a_sound_message(data: bytes) -> None:
    assert is_sound(read_message(data))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, CNAME, MX, TXT, AAAA, SRV, OPT]), st.binary(max_size=40)
        ),
        max_size=8,
    )
)
def test_any_records_give_sound_results(records: list[tuple[int, bytes]]) -> None:
    assert is_sound(read(*records))
