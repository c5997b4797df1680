# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.width import columns, cut, cut_middle, head, padded, tail

texts = st.text(max_size=60).map(safe)


@given(texts)
def test_width_is_never_less_than_what_a_terminal_takes(text: str) -> None:
    assert 0 <= wcswidth(text) <= columns(text)


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("é─→", 3), ("日本", 4), ("e\u0301", 1), ("❤\ufe0f", 2), ("", 0)],
)
def test_width_of_a_text(text: str, width: int) -> None:
    assert columns(text) == width


@given(texts, st.integers(-3, 70))
def test_parts_fit(text: str, room: int) -> None:
    room_there = max(0, room)
    for part in (head(text, room), tail(text, room), cut(text, room, "…")):
        assert columns(part) <= room_there
    assert columns(cut_middle(text, room, "...")) <= room_there
    assert text.startswith(head(text, room))
    assert text.endswith(tail(text, room))


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghijk", 10, "abcde…hijk"),
        ("日本語日本語", 7, "日本…語"),
        ("abc", 2, "a…"),
        ("abc", 0, ""),
    ],
)
def test_middle_goes_first(text: str, room: int, shown: str) -> None:
    assert cut_middle(text, room, "…") == shown


def test_padding_counts_columns() -> None:
    assert padded("日本", 6) == "日本  "
