# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.output.escape import (
    json_text,
    limited,
    shortened,
    spelt_out,
    visible,
    xml_text,
)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain é 😀 \u202e", "plain é 😀 \u202e"),
        ("\t\n\r\u2028", "\t\n\r\u2028"),
        ("\x00\x1b\x7f", r"\x00\x1b\x7f"),
        ("\x80\x9f\xa0", "\\xc2\\x80\\xc2\\x9f\xa0"),
        ("\udc80\udcff", r"\x80\xff"),
        ("\ud800\udfff", r"\xed\xa0\x80\xed\xbf\xbf"),
        ("\ufffe\uffff\ufffd", "\\xef\\xbf\\xbe\\xef\\xbf\\xbf\ufffd"),
        (r"C:\dir \n \x \x4 \x41 \x20 \x7e", r"C:\dir \n \x \x4 \x41 \x20 \x7e"),
        (r"\x1F \xFF \X1f", r"\x1F \xFF \X1f"),
        (r"\x00 \x1f \x5c \x7f \xff", r"\x5cx00 \x5cx1f \x5cx5c \x5cx7f \x5cxff"),
        ("\\\udcff", r"\\xff"),
    ],
)
def test_what_a_line_cannot_carry_is_spelt(text: str, printed: str) -> None:
    assert visible(text) == printed


@pytest.mark.parametrize("other", ["", "é", "\u4e00"])
def test_each_byte_is_spelt_the_same_whatever_stands_beside_it(other: str) -> None:
    r"""Text of ASCII and stray bytes, which takes a way of its own, and any other."""
    data = bytes(range(256)) * 2 + b"\xff" * 40 + b"a\xffb\x00" * 3
    expected = "".join(
        chr(byte) if byte in b"\t\n\r" or 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
        for byte in data
    )
    text = data.decode("ascii", "surrogateescape")
    assert spelt_out(other + text + other) == other + expected + other


def test_xml_text_is_escaped_exactly() -> None:
    text = "a&b<c>\"'\t\n\r\u2028\u2029\\"
    assert xml_text(text) == "a&amp;b&lt;c&gt;\"'&#9;&#10;&#13;&#8232;&#8233;\\"


def test_json_text_is_escaped_exactly() -> None:
    text = "a&b<c>\"'\t\n\r\u2028\u2029\\"
    assert json_text(text) == "a&b<c>\\\"'\\t\\n\\r\\u2028\\u2029\\\\"


@pytest.mark.parametrize("size_bytes", range(3, 60))
def test_shortened_splits_nothing_and_wastes_little(size_bytes: int) -> None:
    text = "é&\udcff\n\\x5c" * 20
    cut = shortened(text, size_bytes, xml_text)
    whole = xml_text(visible(text))
    assert size_bytes - 8 < len(cut.encode()) <= size_bytes
    head, tail = cut.split("...")
    assert whole.startswith(head)
    assert whole.endswith(tail)
    units = ("é", "&amp;", "\\xff", "&#10;", "\\x5c", "x5c", "x", "5", "c")
    assert head.endswith(("", *units))
    starts = ("é", "&amp;", "\\xff", "&#10;", "\\x5c", "x5c", "5c", "c")
    assert not tail or tail.startswith(starts)
    for part in (head, tail):
        assert part.count("\\") == part.count("\\xff") + part.count("\\x5c")


def test_shortened_has_room_for_the_dots_alone() -> None:
    for size_bytes in range(4):
        assert shortened("x" * 9, size_bytes, json_text) == "..."
    assert shortened("\udcff" * 9, 7, json_text) == "..."
    assert shortened("ab\udcff" * 9, 9, json_text) == "ab..."


def test_limited_keeps_what_fits_exactly() -> None:
    assert limited("é" * 10, 20) == "é" * 10
    assert limited("é" * 10, 19) == "é" * 8 + "..."
