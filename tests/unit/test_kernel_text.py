# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import randoms, some_bytes

from sysmonlx.kernel_text import (
    BLANKED,
    UNKNOWN,
    PlainTexts,
    Texts,
    are_plain,
    args_text,
    is_plain,
    is_plain_text,
    path_bytes,
    path_text,
)


@pytest.mark.parametrize(
    ("data", "truncated", "shown"),
    [
        (b"", False, UNKNOWN),
        (b"\0", False, ""),
        (b"a\0b c\0\0d\0", False, "a b c  d"),
        (b"no end", False, "no end"),
        (b"0123456789", True, "0123456..."),
        (b"\xff\n", False, "\udcff\n"),
    ],
)
def test_arguments_are_joined(data: bytes, truncated: bool, shown: str) -> None:
    assert args_text(data, truncated) == shown


Bytes = st.builds(some_bytes, randoms(), st.sampled_from([b"", b"ab &\0\xff"]))


@given(Bytes)
def test_blanked_is_the_command_line_of_plain_arguments(data: bytes) -> None:
    line = data.translate(BLANKED)
    assert (0 not in line) is are_plain(data)
    if are_plain(data) and data.endswith(b"\0"):
        assert line[:-1].decode() == args_text(data, False)


@given(Bytes, st.booleans())
def test_text_of_bytes_is_plain_where_they_are(data: bytes, truncated: bool) -> None:
    assert is_plain_text(path_text(data, truncated)) is is_plain(data)


@given(Bytes.map(lambda data: b"/" + data), st.booleans())
def test_bytes_of_a_path_come_back(data: bytes, truncated: bool) -> None:
    assert path_bytes(path_text(data, truncated)) == data


def test_unknown_path_has_no_bytes() -> None:
    assert path_bytes(path_text(b"", False)) == b""


def test_path_without_its_front_begins_with_plus() -> None:
    assert path_text(b"/a/b", True) == "+/a/b"
    assert path_text(b"", False) == UNKNOWN


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (b"", True),
        (b"/usr/bin/program-1.0_x86 --like='this' ~", True),
        *((bytes([byte]), False) for byte in b'&<>"\\\t\n\r\x7f\0\x01\x1f\x80\xff'),
        ("/\u00e4".encode(), False),
    ],
)
def test_plain_is_what_every_form_shows_as_it_is(data: bytes, plain: bool) -> None:
    assert is_plain(data) is plain
    assert are_plain(data + b"\0") is (plain or data == b"\0")
    assert Texts()[b"/" + data][1] is plain


def test_texts_do_not_keep_what_is_long_or_grow_without_end() -> None:
    texts = Texts()
    assert texts[b"a" * 300] == ("a" * 300, True)
    assert not texts
    for number in range(5000):
        assert texts[b"%d" % number][0] == str(number)
    assert len(texts) <= 2048


def test_names_are_plain_or_not() -> None:
    names = PlainTexts()
    assert names["root"]
    assert not names["a&b"]
    assert not names["\udcff"]
    for number in range(5000):
        assert names[str(number)]
    assert len(names) <= 2048
