# SPDX-License-Identifier: MIT
"""Calls of systemd-resolved, and what event 22 says of them."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import examples
from support.varlink_server import INTERFACE, REPLIES, V4, call, expected, reply

from sysmonlx.enrich.dns_message import Message
from sysmonlx.enrich.varlink_message import read_call

NAMES = ["host.a.test", *(f"{first}.a.test" for first in REPLIES)]


def asked(method: str = "ResolveHostname", **parameters: object) -> bytes:
    return call(method, **parameters)[:-1]


def read(data: bytes) -> Message:
    found = read_call(data)
    assert found is not None
    return found


def replied(asked: bytes, parameters: object) -> Message:
    return read(asked + b"\0" + json.dumps({"parameters": parameters}).encode())


@pytest.mark.parametrize("name", NAMES)
def test_replies_have_status_and_results_of_windows(name: str) -> None:
    message = read(asked(name=name) + b"\0" + reply(asked(name=name))[:-1])
    assert (message.status, message.results) == expected(name)
    assert (message.name, message.is_whole) == (name, True)
    assert message.key == read(asked(name=name)).key


def test_a_call_alone_is_a_question() -> None:
    message = read(asked(name="Host.A.test", family=2))
    assert (message.name, message.status, message.results) == ("Host.A.test", "-", "-")
    assert message.is_whole
    assert message.key == (0, "host.a.test", 0)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("a.test.", "a.test"),
        (".", "."),
        ("a b;c", "a\\032b\\059c"),
        ("bücher.test", "b\\195\\188cher.test"),
        ("a\\.b.test", "a\\.b.test"),
        ("\ud800", "\\237\\160\\128"),
        ("", "-"),
        ("x" * 256, "-"),
        (7, "-"),
        (None, "-"),
    ],
)
def test_names_are_shown_as_those_of_messages(given_name: object, shown: str) -> None:
    message = read(asked(name=given_name))
    assert message.name == shown
    assert message.is_whole == (shown != "-")


def test_addresses_are_learnt() -> None:
    message = replied(asked(name="a.test"), {"addresses": [V4], "name": "a.test"})
    assert [each.address for each in message.addresses] == [bytes([192, 0, 2, 1])]


def test_names_of_addresses_have_the_question_that_dns_would_have() -> None:
    call_of = asked("ResolveAddress", family=2, address=[192, 0, 2, 1])
    message = replied(call_of, {"names": [{"name": "a.test"}, {"name": "b.test"}]})
    assert message.name == "1.2.0.192.in-addr.arpa"
    assert message.results == "type: 12 a.test;type: 12 b.test;"
    six = read(asked("ResolveAddress", address=[0] * 15 + [1]))
    assert six.name == "1." + "0." * 31 + "ip6.arpa"


def test_records_are_read_as_dns() -> None:
    raw = b"\1a\4test\0" + bytes.fromhex("0010000100000005000605") + b"hello"
    encoded = [{"raw": b64encode(raw).decode()}, {"raw": "?"}, {"raw": "AAAA"}, {}]
    message = replied(asked("ResolveRecord", name="a.test", type=16), {"rrs": encoded})
    assert (message.name, message.results) == ("a.test", "type: 16 hello;")


def test_services_name_their_hosts() -> None:
    call_of = asked("ResolveService", name=None, type="_ipp._tcp", domain="a.test")
    services = [{"priority": 0, "hostname": "p.a.test", "addresses": [V4]}]
    message = replied(call_of, {"services": services})
    assert message.name == "_ipp._tcp.a.test"
    assert message.results == "type: 33 p.a.test;::ffff:192.0.2.1;"


@pytest.mark.parametrize(
    "method",
    ["org.varlink.service.GetInfo", INTERFACE + "Monitor.X", INTERFACE, "", "x"],
)
def test_what_asks_for_no_name_is_none(method: str) -> None:
    call_of = {"method": method, "parameters": {"name": "a.test"}}
    assert read_call(json.dumps(call_of).encode()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"{" * 100,
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' + b"9" * 9999 + b"}",
        b'{"method":7}'.replace(b"7", b"9" * 5000),
    ],
)
def test_what_cannot_be_read_is_told_as_such(data: bytes) -> None:
    message = read(data)
    assert (message.name, message.status, message.is_whole) == ("-", "-", False)


@pytest.mark.parametrize("code", [0, -1, 99, "3", None, True, 3.0, 1 << 70], ids=repr)
def test_codes_that_are_none_are_errors_of_no_kind(code: object) -> None:
    error = {"error": INTERFACE + "DNSError", "parameters": {"rcode": code}}
    message = read(asked(name="a.test") + b"\0" + json.dumps(error).encode())
    assert message.status == "9504"


@pytest.mark.parametrize("said", [b"", b"nonsense", b"[1]", b"{}", b"{\0}"])
def test_a_reply_that_cannot_be_read_has_no_status(said: bytes) -> None:
    message = read(asked(name="a.test") + b"\0" + said)
    assert (message.name, message.status, message.results) == ("a.test", "-", "-")
    assert not message.is_whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "addresses",
                    "address",
                    "names",
                    "rrs",
                    "raw",
                    "services",
                    "error",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
METHODS = ["ResolveHostname", "ResolveAddress", "ResolveRecord", "ResolveService"]


@given(st.sampled_from(METHODS), JSON, JSON)
@examples(150)
def test_whatever_is_said_can_be_shown(
    method: str, parameters: object, answered: object
) -> None:
    asking = {"method": INTERFACE + method, "parameters": parameters}
    data = json.dumps(asking).encode() + b"\0"
    for said in (answered, {"parameters": answered}):
        message = read_call(data + json.dumps(said).encode())
        assert message is not None
        for text in (message.name, message.status, message.results):
            assert text.isascii()
            assert text.isprintable()
        assert " " not in message.name + message.status
        assert len(message.results) <= 4096


@given(st.binary(max_size=300))
@examples(150)
def test_any_bytes_are_read(data: bytes) -> None:
    for each in (data, asked(name="a.test") + b"\0" + data):
        assert read_call(each) is None or isinstance(read_call(each), Message)
