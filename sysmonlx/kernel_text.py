# SPDX-License-Identifier: MIT
"""Bytes of the kernel as text, and which of them are plain.

A text is *plain* when XML and JSON show it just as it is: printable ASCII without `&`,
`<`, `>`, `"` and a backslash. Plain texts need no escape, so the renderer does not look
at them. Whether a text is plain is found out once, from its bytes, where they recur.
"""

from __future__ import annotations

from sysmonlx.bounded import Answers

UNKNOWN = "-"

#: Number of texts that one table keeps. A full table is emptied.
_TEXTS_LIMIT = 2048
#: Longer ones are not kept, in bytes.
_TEXT_BYTES = 256


def text(data: bytes) -> str:
    """Return bytes of the kernel as text, "-" when there are none."""
    return data.decode("utf-8", "surrogateescape") if data else UNKNOWN


#: 1 for each byte that XML or JSON shows in another way, else 0.
_SPELT = bytes(not 0x20 <= byte < 0x7F or byte in b'&<>"\\' for byte in range(256))
_SPELT_IN_ARGS = b"\0" + _SPELT[1:]


def is_plain(data: bytes) -> bool:
    """Say whether XML and JSON show these bytes just as they are."""
    return 1 not in data.translate(_SPELT)


def are_plain(args: bytes) -> bool:
    """Say whether arguments are plain, each of which ends in a NUL byte."""
    return 1 not in args.translate(_SPELT_IN_ARGS)


def is_plain_text(shown: str) -> bool:
    """Say whether a text is plain that was made of bytes of the kernel."""
    try:
        return 1 not in shown.encode().translate(_SPELT)
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False


class Texts(dict[bytes, tuple[str, bool]]):
    """Texts by their bytes, and whether they are plain; for bytes that recur.

    Images and directories do. A text that is not kept yet is made when it is looked up.
    Long ones are never kept: a hostile program can make many of them.
    """

    def __missing__(self, data: bytes) -> tuple[str, bool]:
        found = text(data), is_plain(data)
        if len(data) <= _TEXT_BYTES:
            if len(self) >= _TEXTS_LIMIT:
                self.clear()
            self[data] = found
        return found


class PlainTexts(Answers[str, bool]):
    """Whether a text is plain, by the text; for few texts: names of users and rules."""

    def __init__(self) -> None:
        super().__init__(
            lambda name: is_plain(name.encode("utf-8", "surrogatepass")), _TEXTS_LIMIT
        )


def path_text(data: bytes, truncated: bool) -> str:
    """Return a path as text.

    A truncated one lacks its beginning: Sysmon shows "+" in its place.
    """
    return ("+" if truncated else "") + text(data)


def path_bytes(shown: str) -> bytes:
    """Return the bytes of which `path_text` made this text; b"" for an unknown path."""
    path = shown.removeprefix("+")
    return b"" if path == UNKNOWN else path.encode("utf-8", "surrogateescape")


def args_text(data: bytes, truncated: bool) -> str:
    """Return a command line: arguments joined by blanks, "-" when there are none.

    `data` has arguments that each end in a NUL byte. `truncated`: there were more than
    the kernel side takes, so that the command line ends in "...".
    """
    if not data:
        return UNKNOWN
    if truncated:
        data = data[:-3] + b"..."
    elif data.endswith(b"\0"):
        data = data[:-1]
    return data.replace(b"\0", b" ").decode("utf-8", "surrogateescape")


#: For `bytes.translate`: makes a command line of plain arguments. A byte that is not
#: plain becomes 0, so that a 0 in the result says that the arguments are not plain.
BLANKED = b" " + bytes(0 if _SPELT[byte] else byte for byte in range(1, 256))
