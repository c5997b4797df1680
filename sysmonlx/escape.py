# SPDX-License-Identifier: MIT
r"""Foreign text made safe to print: in XML, in JSON, within a number of bytes.

File names and arguments are bytes chosen by whoever runs a program. What XML 1.0
cannot carry (control characters, bytes that are not UTF-8, U+FFFE, U+FFFF) is spelt
`\xNN`, one escape a byte. A backslash that would begin such an escape is itself spelt
`\x5c`, so that the escapes can be undone; every other backslash stays.
TAB, LF and CR are left for XML and JSON, which have references of their own for them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

#: One escape of ours, as it stands in printed text.
ESCAPE = re.compile(r"\\x(?:[01][0-9a-f]|5c|7f|[89a-f][0-9a-f])")

ELLIPSIS = "..."

_STRAY_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _spelt(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF} - {0x09, 0x0A, 0x0D}
_SPELLING = {code: _spelt(chr(code).encode()) for code in _CONTROLS} | {
    0xDC00 + byte: _spelt(bytes([byte])) for byte in range(0x80, 0x100)
}

#: Characters that some reader takes for the end of a line.
_XML_BREAKS = (
    ("\t", "&#9;"),
    ("\n", "&#10;"),
    ("\r", "&#13;"),
    ("\u2028", "&#8232;"),
    ("\u2029", "&#8233;"),
)
_JSON_BREAKS = (
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def visible(text: str) -> str:
    r"""Return `text` with `\xNN` for all that a line cannot carry but TAB, LF, CR."""
    if "\\x" in text:
        text = ESCAPE.sub(lambda match: "\\x5c" + match[0][1:], text)
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return _as_bytes(text).translate(_SPELLING)


def xml_text(text: str) -> str:
    """Return `text`, already `visible`, as the content of an XML element."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    return _replaced(text, _XML_BREAKS)


def json_text(text: str) -> str:
    """Return `text`, already `visible`, as the inside of a JSON string."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if '"' in text:
        text = text.replace('"', '\\"')
    return _replaced(text, _JSON_BREAKS)


def limited(text: str, size_bytes: int) -> str:
    """Return `text` cut to `size_bytes` as Sysmon's FieldSizes does.

    Sizes count the bytes of the value, before any escape. A cut value ends in `...`
    and holds whole characters only; a size of 1 or 2 has room for `-` alone.
    """
    if len(text) * 4 <= size_bytes:
        return text
    text = _as_bytes(text)
    if _size(text) <= size_bytes:
        return text
    if size_bytes < len(ELLIPSIS):
        return "-"
    return text[: longest(text, size_bytes - len(ELLIPSIS), _size)] + ELLIPSIS


def shortened(text: str, size_bytes: int, form: Callable[[str], str]) -> str:
    r"""Return `text`, already `visible`, ending in `...` so that it fits once in form.

    `form` is `xml_text` or `json_text`. No character and no `\xNN` is split.
    """
    room = max(0, size_bytes - len(ELLIPSIS))
    length = longest(text, room, lambda part: len(form(part).encode()))
    start = text.rfind("\\", max(0, length - 3), length)
    if start >= 0 and (match := ESCAPE.match(text, start)) and match.end() > length:
        length = start
    return text[:length] + ELLIPSIS


def longest(text: str, size_bytes: int, size: Callable[[str], int]) -> int:
    """Return how many characters of `text` fit; each takes a byte at least."""
    lengths = range(min(len(text), size_bytes) + 1)
    return bisect_right(lengths, size_bytes, key=lambda end: size(text[:end])) - 1


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        if old in text:
            text = text.replace(old, new)
    return text


def _as_bytes(text: str) -> str:
    """Return `text` with a surrogate for each byte of what is no character."""
    if not _STRAY_SURROGATE.search(text):
        return text
    return _STRAY_SURROGATE.sub(
        lambda match: (
            match[0].encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        ),
        text,
    )


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def xml_value(text: str) -> str:
    """Return any text as the content of an XML element."""
    if text.isprintable() and "\\x" not in text:
        return xml_text(text) if "&" in text or "<" in text or ">" in text else text
    return xml_text(visible(text))


def json_value(text: str) -> str:
    """Return any text as it stands between the quotes of a JSON string."""
    if text.isprintable() and "\\" not in text and '"' not in text:
        return text
    return json_text(visible(text))
