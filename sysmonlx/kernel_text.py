# SPDX-License-Identifier: MIT
"""Bytes of the kernel as text."""

from __future__ import annotations

UNKNOWN = "-"

_TEXTS_LIMIT = 2048
_TEXT_BYTES = 256


def text(data: bytes) -> str:
    """Return bytes of the kernel as text, "-" when there are none."""
    return data.decode("utf-8", "surrogateescape") if data else UNKNOWN


#: 1 for each byte that some form of output spells otherwise.
_SPELT = bytes(not 0x20 <= byte < 0x7F or byte in b'&<>"\\' for byte in range(256))
_SPELT_IN_ARGS = b"\0" + _SPELT[1:]


def is_plain(data: bytes) -> bool:
    """Say whether every form of output shows these bytes just as they are."""
    return 1 not in data.translate(_SPELT)


def are_plain(args: bytes) -> bool:
    """Say the same of arguments, each of which ends in a NUL byte."""
    return 1 not in args.translate(_SPELT_IN_ARGS)


def is_plain_text(shown: str) -> bool:
    """Say the same of a text that was made from such bytes."""
    try:
        return 1 not in shown.encode().translate(_SPELT)
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False


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


def path_bytes(shown: str) -> bytes:
    """Return what `path_text` made such a text from; an absolute path, or nothing."""
    path = shown.removeprefix("+")
    return b"" if path == UNKNOWN else path.encode("utf-8", "surrogateescape")


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


#: Makes a command line of arguments that are plain, and 0 of bytes that are not.
BLANKED = b" " + bytes(0 if _SPELT[byte] else byte for byte in range(1, 256))
