# SPDX-License-Identifier: MIT
"""DNS messages are read as dnspython reads them."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.enrich.dns_message import read_message

LABELS = st.binary(min_size=1, max_size=20)
NAMES = st.lists(LABELS, max_size=6).map(lambda labels: dns.name.Name([*labels, b""]))
HOSTS = st.sampled_from(["a.test.", "www.a.test.", "x.b.example.", "very.long." * 9])
#: Type, and its data as a zone file has it.
RECORDS = st.one_of(
    st.ip_addresses(v=4).map(lambda address: ("A", str(address))),
    st.ip_addresses(v=6).map(lambda address: ("AAAA", str(address))),
    HOSTS.map(lambda host: ("CNAME", host)),
    HOSTS.map(lambda host: ("NS", host)),
    HOSTS.map(lambda host: ("PTR", host)),
    HOSTS.map(lambda host: ("MX", f"10 {host}")),
    HOSTS.map(lambda host: ("SRV", f"1 2 80 {host}")),
    HOSTS.map(lambda host: ("SOA", f"{host} admin.a.test. 1 2 3 4 5")),
    HOSTS.map(lambda host: ("DNAME", host)),
    st.just(("TXT", '"a b" "c;d"')),
    st.just(("CAA", '0 issue "ca.test"')),
)
TARGETS = {"CNAME": "target", "NS": "target", "PTR": "target", "DNAME": "target"}
TARGETS |= {"MX": "exchange", "SRV": "target", "SOA": "mname"}


def shown(rdata: dns.rdata.Rdata) -> str:
    """Return what QueryResults has of a record."""
    kind = dns.rdatatype.to_text(rdata.rdtype)
    if kind == "A":
        return f"::ffff:{rdata.to_text()};"
    if kind == "AAAA":
        return f"{rdata.to_text()};"
    if kind == "TXT":
        return "type: 16 a\\032bc\\059d;"
    if kind in TARGETS:
        name = getattr(rdata, TARGETS[kind]).to_text(omit_final_dot=True)
        return f"type: {int(rdata.rdtype):2d} {name};"
    return ""


def spelt(name: dns.name.Name) -> str:
    """Return a name as QueryName has it: odd bytes in decimal."""
    plain = set(range(0x21, 0x7F)) - {*b"\\;."}
    labels = (
        "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in label)
        for label in name.labels[:-1]
    )
    return ".".join(labels) or "."


@given(
    name=NAMES,
    records=st.lists(RECORDS, max_size=12),
    code=st.integers(0, 11),
    number=st.integers(0, 65535),
)
def test_a_message_says_what_dnspython_wrote(
    name: dns.name.Name, records: list[tuple[str, str]], code: int, number: int
) -> None:
    asked = dns.message.make_query(name, "A", id=number, use_edns=True)
    answer = dns.message.make_response(asked)
    answer.set_rcode(dns.rcode.Rcode(code))
    for kind, text in records:
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, text))
    data = answer.to_wire(max_size=65535)
    read = read_message(data)
    assert read.is_whole
    assert read.name == spelt(name)
    assert read.key == (number, spelt(name).lower(), 1)
    assert read.key == read_message(asked.to_wire()).key
    wire = dns.message.from_wire(data, one_rr_per_rrset=True)
    items = [shown(rdata) for each in wire.answer for rdata in each]
    assert read.results == ("".join(items) or "-")
    addresses = {
        rdata.to_text()
        for each in wire.answer
        for rdata in each
        if dns.rdatatype.to_text(rdata.rdtype) == "A"
    }
    found = {each.address for each in read.addresses if len(each.address) == 4}
    assert found == set(map(socket.inet_aton, addresses))


@given(data=st.binary(max_size=80), name=st.sampled_from(["a.test", "b.c.example"]))
def test_a_question_that_both_take_has_one_name(data: bytes, name: str) -> None:
    head = dns.message.make_query(name, "A", id=7).to_wire()
    message = head[:12] + data
    try:
        question = dns.message.from_wire(message, question_only=True).question
    except Exception:  # whatever is wrong with it
        return
    if len(question) == 1:
        assert read_message(message).name == spelt(question[0].name)


@pytest.mark.parametrize("code", range(1, 11))
def test_status_is_the_code_of_windows(code: int) -> None:
    answer = dns.message.make_response(dns.message.make_query("a.test", "A"))
    answer.set_rcode(dns.rcode.Rcode(code))
    assert read_message(answer.to_wire()).status == str(9000 + code)
