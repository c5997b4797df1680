# SPDX-License-Identifier: MIT
"""Bytes of the kernel as text."""

from __future__ import annotations

UNKNOWN = "-"

_TEXTS_LIMIT = 2048
_TEXT_BYTES = 256


def text(data: bytes) -> str:
    """Return bytes of the kernel as text, "-" when there are none."""
    return data.decode("utf-8", "surrogateescape") if data else UNKNOWN


#: 1 for each byte that some form of output spells otherwise; NUL ends an argument.
_SPELT = bytes(
    not (0x20 <= byte < 0x7F or byte == 0) or byte in b'&<>"\\' for byte in range(256)
)


def is_plain(data: bytes) -> bool:
    """Say whether every form of output shows these bytes just as they are."""
    return 1 not in data.translate(_SPELT)


class Texts(dict[bytes, tuple[str, bool]]):
    """Text of bytes and whether it is plain, made once for those that recur.

    Images and directories do. Long ones, which a hostile program may make many of, are
    not kept.
    """

    def __missing__(self, data: bytes) -> tuple[str, bool]:
        found = text(data), is_plain(data)
        if len(data) <= _TEXT_BYTES:
            if len(self) >= _TEXTS_LIMIT:
                self.clear()
            self[data] = found
        return found


class PlainTexts(dict[str, bool]):
    """Whether a text is plain, for texts of which there are few: names of users."""

    def __missing__(self, name: str) -> bool:
        if len(self) >= _TEXTS_LIMIT:
            self.clear()
        self[name] = found = is_plain(name.encode("utf-8", "surrogatepass"))
        return found


def path_text(data: bytes, truncated: bool) -> str:
    """Return a path; one whose front is missing begins with "+", as Sysmon shows it."""
    return ("+" if truncated else "") + text(data)


def args_text(data: bytes, truncated: bool) -> str:
    """Return a command line: arguments joined by blanks, "-" when there are none.

    A longer one than the kernel side takes ends in "...".
    """
    if not data:
        return UNKNOWN
    if truncated:
        data = data[:-3] + b"..."
    elif data.endswith(b"\0"):
        data = data[:-1]
    return data.replace(b"\0", b" ").decode("utf-8", "surrogateescape")


_BLANKED = bytes(
    32 if byte == 0 else 0 if _SPELT[byte] else byte for byte in range(256)
)


def plain_args(data: bytes) -> str:
    """Return a whole command line as `args_text` does, "" when it is not plain."""
    line = data[:-1].translate(_BLANKED)
    return "" if 0 in line or data[-1:] != b"\0" else line.decode()
