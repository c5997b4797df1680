# SPDX-License-Identifier: MIT
"""A DNS message, RFC 1035, as event 22 shows it: names, status and results as text.

The bytes may be anything that somebody sent. Every function here ends after a bounded
number of steps, raises nothing, and tells what can be read.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from sysmonlx.kernel_text import UNKNOWN

#: QueryStatus of a question that nobody answered in time: ERROR_TIMEOUT of Windows.
TIMED_OUT = "1460"
#: QueryStatus of an answer without records: DNS_INFONO_RECORDS.
NO_RECORDS = "9501"
#: QueryStatus of a response code that Windows has no number for: DNS_ERROR_RCODE is
#: 9000, and the number of a code is added to it.
_RCODE, OTHER_RCODE = 9000, "9504"
_KNOWN_RCODES = frozenset({*range(1, 11), *range(16, 19)})
#: Most bytes of QueryResults.
_RESULTS_BYTES = 4096
#: Most records that are looked at, and most pointers that one name follows.
_RECORDS, _JUMPS = 512, 64
_NAME_BYTES = 255
_POINTER = 0xC0

_HEADER = struct.Struct(">6H")
_QUESTION = struct.Struct(">2H")
_RECORD = struct.Struct(">2HiH")
_TRUNCATED = 0x0200
_IN = 1
_A, _AAAA, _TXT = 1, 28, 16
#: Types of which one name is shown, and where it stands behind the begin of the data:
#: NS, CNAME, SOA, PTR, MX, SRV, DNAME.
_NAME_AT = {2: 0, 5: 0, 6: 0, 12: 0, 15: 2, 33: 6, 39: 0}

#: Characters that are shown in another way, in names and in texts.
_SPELT = {byte: f"\\{byte:03d}" for byte in range(256) if not 0x21 <= byte <= 0x7E} | {
    byte: f"\\{byte:03d}" for byte in b"\\;"
}
_SPELT_IN_LABEL = {**_SPELT, ord("."): "\\046"}
#: In a name that is text already, a backslash begins such a way.
_SPELT_IN_NAME = {byte: text for byte, text in _SPELT.items() if byte != ord("\\")}


class Answer(NamedTuple):
    """An address that a name was said to have, and for how long, in seconds."""

    address: bytes
    ttl_s: int


class Message(NamedTuple):
    """What a message says; `name` is "-" where there is no question to be read.

    `key` tells questions apart: equal in a question and its answer.
    """

    name: str
    key: tuple[int, str, int]
    status: str
    results: str
    addresses: tuple[Answer, ...]
    is_whole: bool


class _Broken(Exception):  # noqa: N818 - it says where reading ends, not that we erred
    """The bytes end, or say what no message may say."""


@lru_cache(maxsize=16)
def read_message(data: bytes) -> Message:
    """Return what a message says, as far as it can be read."""
    if len(data) < _HEADER.size:
        return Message(UNKNOWN, (0, UNKNOWN, 0), UNKNOWN, UNKNOWN, (), False)
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    name, kind, at, is_whole = UNKNOWN, 0, _HEADER.size, bool(questions)
    try:
        for count in range(min(questions, 2)):
            found, at = _name(data, at)
            (found_kind, _), at = _QUESTION.unpack(_bytes(data, at, 4)), at + 4
            if not count:
                name, kind = found, found_kind
        is_whole = is_whole and questions < 3
    except _Broken:
        is_whole, answers = False, 0
    texts, addresses, has_all = _records(data, at, answers)
    key = (number, name.lower(), kind)
    status = UNKNOWN
    if is_whole:
        status = _status(flags & 0xF, bool(answers), bool(flags & _TRUNCATED))
    results = joined(texts)
    return Message(name, key, status, results, addresses, is_whole and has_all)


def status_of(code: int) -> str:
    """Return QueryStatus for a response code of DNS other than 0."""
    return str(_RCODE + code) if code in _KNOWN_RCODES else OTHER_RCODE


def _status(code: int, has_records: bool, is_truncated: bool) -> str:
    if code:
        return status_of(code)
    if has_records:
        return "0"
    return UNKNOWN if is_truncated else NO_RECORDS


def joined(texts: list[str]) -> str:
    """Return items with a semicolon behind each, whole ones within the limit."""
    results, size = [], 0
    for text in texts:
        size += len(text) + 1
        if size > _RESULTS_BYTES:
            break
        results.append(text + ";")
    return "".join(results) or UNKNOWN


def _records(
    data: bytes, at: int, count: int
) -> tuple[list[str], tuple[Answer, ...], bool]:
    """Return texts and addresses of the answer section; whether all could be read."""
    texts: list[str] = []
    addresses: list[Answer] = []
    try:
        for _ in range(min(count, _RECORDS)):
            _, at = _name(data, at)
            kind, record_class, ttl_s, size = _RECORD.unpack(_bytes(data, at, 10))
            at += 10
            content = _bytes(data, at, size)
            if record_class == _IN:
                text = _text(data, at, kind, content)
                if text:
                    texts.append(text)
                if (kind, size) in ((_A, 4), (_AAAA, 16)):
                    addresses.append(Answer(content, max(0, ttl_s)))
            at += size
    except _Broken:
        return texts, tuple(addresses), False
    return texts, tuple(addresses), count <= _RECORDS


def read_records(data: bytes) -> tuple[list[str], tuple[Answer, ...]]:
    """Return texts and addresses of one record of DNS that stands alone.

    There is at most one of each; none where the record cannot be read.
    """
    texts, addresses, _ = _records(data, 0, 1)
    return texts, addresses


def name_text(name: bytes) -> str:
    """Return a name as QueryName shows it; it comes as text, not in labels of DNS."""
    shown = name.decode("latin-1").translate(_SPELT_IN_NAME)
    return shown.rstrip(".") or "."


def _text(data: bytes, at: int, kind: int, content: bytes) -> str:
    """Return a record as QueryResults shows it; empty: it does not show this type."""
    if (kind, len(content)) in ((_A, 4), (_AAAA, 16)):
        return address_text(content)
    if kind in _NAME_AT and len(content) > _NAME_AT[kind]:
        return f"type: {kind:2d} {_name(data, at + _NAME_AT[kind])[0]}"
    if kind == _TXT:
        text = _strings(content)
        return f"type: {kind} {text}" if text else ""
    return ""


def address_text(content: bytes) -> str:
    """Return an address of 4 or 16 bytes as QueryResults shows it."""
    if len(content) == 4:
        return "::ffff:" + ".".join(map(str, content))
    address = IPv6Address(content)
    mapped = address.ipv4_mapped
    return f"::ffff:{mapped}" if mapped else str(address)


def _strings(content: bytes) -> str:
    """Return the strings of a TXT record, one behind the other, without a blank."""
    found, at = bytearray(), 0
    while at < len(content):
        found += content[at + 1 : at + 1 + content[at]]
        at += 1 + content[at]
    return found.decode("latin-1").translate(_SPELT)


def _bytes(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise _Broken
    return data[at : at + size]


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return a name as text, and where what follows it begins.

    Raises:
        _Broken: it does not end within the data, is too long, or points in a circle.
    """
    labels: list[str] = []
    behind, size, jumps = -1, 1, 0
    while True:
        (length,) = _bytes(data, at, 1)
        if length & _POINTER == _POINTER:
            (pointer,) = struct.unpack(">H", _bytes(data, at, 2))
            behind = at + 2 if behind < 0 else behind
            jumps += 1
            if jumps > _JUMPS:
                raise _Broken
            at = pointer & 0x3FFF
            continue
        if length & _POINTER:
            raise _Broken
        at += 1
        if not length:
            text = ".".join(labels) or "."
            return text, at if behind < 0 else behind
        size += length + 1
        if size > _NAME_BYTES:
            raise _Broken
        label = _bytes(data, at, length).decode("latin-1")
        labels.append(label.translate(_SPELT_IN_LABEL))
        at += length
