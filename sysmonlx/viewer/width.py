# SPDX-License-Identifier: MIT
"""How many columns of a terminal a text takes, and texts cut to a number of columns.

Terminals disagree about some characters. The number here is never less than what any of
them takes, so a row that fits by it never wraps.
"""

from __future__ import annotations

import re
from unicodedata import category, east_asian_width

from sysmonlx.bounded import Answers

#: Asks for the picture of the character before it, which may then be wide.
_AS_PICTURE = "\ufe0f"
#: Marks that are drawn over the character before them.
_ABOVE_OTHERS = ("Mn", "Me")
#: Characters that this Python does not know yet may be wide.
_UNKNOWN = "Cn"

#: Characters whose width is kept.
_KEPT = 4096


def _columns_of(character: str) -> int:
    if character == _AS_PICTURE:
        return 1
    kind = category(character)
    if kind in _ABOVE_OTHERS:
        return 0
    is_wide = kind == _UNKNOWN or east_asian_width(character) in ("W", "F")
    return 2 if is_wide else 1


_columns = Answers(_columns_of, _KEPT)

#: Texts of characters that take one column each: Latin, and the signs of rows.
_is_narrow = re.compile(
    "[ -~\u00a1-\u00ac\u00ae-\u02ff\u2500-\u257f\u2190-\u2193\u2026\u203c]*"
).fullmatch


def columns(text: str) -> int:
    """Return the columns of a text without control characters."""
    if text.isascii() or _is_narrow(text):
        return len(text)
    return sum(map(_columns.__getitem__, text))


def head(text: str, room: int) -> str:
    """Return the longest beginning of a text that fits into `room` columns."""
    if text.isascii() or _is_narrow(text):
        return text[: max(0, room)]
    for at, character in enumerate(text):
        room -= _columns[character]
        if room < 0:
            return text[:at]
    return text


def tail(text: str, room: int) -> str:
    """Return the longest end of a text that fits into `room` columns."""
    if room <= 0:
        return ""
    if text.isascii() or _is_narrow(text):
        return text[-room:]
    for at in range(len(text) - 1, -1, -1):
        room -= _columns[text[at]]
        if room < 0:
            return text[at + 1 :]
    return text


def cut(text: str, room: int, dots: str) -> str:
    """Return a text within `room` columns; a longer one ends in `dots`."""
    if columns(text) <= room:
        return text
    return head(head(text, room - len(dots)) + dots, room)


def cut_middle(text: str, room: int, dots: str) -> str:
    """Return a text within `room` columns; a longer one has `dots` for its middle.

    Six tenths of what is left of it are its beginning.
    """
    if columns(text) <= room:
        return text
    left = room - len(dots)
    if left < 2:
        return cut(text, room, dots)
    first = head(text, (left * 6 + 5) // 10)
    return first + dots + tail(text, left - columns(first))


def padded(text: str, room: int) -> str:
    """Return a text with blanks behind it, up to `room` columns."""
    return text + " " * (room - columns(text))
