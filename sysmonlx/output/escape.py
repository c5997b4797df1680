# SPDX-License-Identifier: MIT
r"""Foreign text made safe to print: in XML, in JSON, within a number of bytes.

File names and arguments are bytes, chosen by whoever runs a program. XML 1.0 cannot
carry control characters, bytes that are no UTF-8, U+FFFE and U+FFFF; each byte of these
is printed as an escape, `\xNN`. A backslash that would begin such an escape is itself
printed as `\x5c`, so that escapes can be undone; every other backslash stays. TAB, LF
and CR are left to XML and JSON, which have references of their own for them.

Two steps make a value: `visible` puts these escapes in, `xml_text` or `json_text` then
replaces what the form itself gives a meaning (`<`, `"`). `xml_value` and `json_value`
do both. Bytes that are no UTF-8 stand in texts as surrogates, see PEP 383.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

#: One escape of ours, as it stands in printed text.
ESCAPE = re.compile(r"\\x(?:[01][0-9a-f]|5c|7f|[89a-f][0-9a-f])")
_BEFORE_ESCAPE = re.compile(rf"\\(?={ESCAPE.pattern[2:]})")

ELLIPSIS = "..."

#: Printed for a backslash that would begin an escape.
_GUARD = "\\x5c"

_STRAY_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _spelt(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF} - {0x09, 0x0A, 0x0D}
_SPELLING = {code: _spelt(chr(code).encode()) for code in _CONTROLS} | {
    0xDC00 + byte: _spelt(bytes([byte])) for byte in range(0x80, 0x100)
}

#: In the columns below: no byte. No escape has it.
_NOTHING = 0xFF


def _columns() -> Iterator[bytes]:
    r"""Yield four tables for `bytes.translate`, one for each byte of an escape.

    The first makes a backslash of a byte that needs an escape, the second an `x`, the
    others its digits. For a byte without an escape the first table has the byte itself,
    the others `_NOTHING`.
    """
    spelt = {byte for byte in range(256) if byte in _CONTROLS or byte >= 0x80}
    for column in range(4):
        yield bytes(
            ord(_spelt(bytes([byte]))[column])
            if byte in spelt
            else (byte if column == 0 else _NOTHING)
            for byte in range(256)
        )


_COLUMNS = tuple(_columns())

#: Characters that some reader takes for the end of a line, and their references.
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
    r"""Return `text` with an escape for each byte that XML cannot carry."""
    return spelt_out(_guarded(text))


def _guarded(text: str) -> str:
    r"""Return `text` with `\x5c` for each backslash that would begin an escape."""
    return _BEFORE_ESCAPE.sub(r"\\x5c", text) if "\\x" in text else text


def spelt_out(text: str) -> str:
    """Return `text` with escapes, but none for a backslash.

    A character has the same escape wherever it stands, so parts of a text can be
    escaped one by one. `visible` cannot do that: it looks behind a backslash.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    text = _as_bytes(text)
    try:
        return _spelt_columns(text.encode("ascii", "surrogateescape"))
    except UnicodeEncodeError:  # there are other characters
        return text.translate(_SPELLING)


def _spelt_columns(data: bytes) -> str:
    """Return ASCII and bytes that are no UTF-8 with escapes, made column by column."""
    columns = bytearray(4 * len(data))
    for at, table in enumerate(_COLUMNS):
        columns[at::4] = data.translate(table)
    return columns.translate(None, bytes([_NOTHING])).decode("ascii")


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

    Sizes count the bytes of the value, before any escape. A cut value ends in `...` and
    has whole characters only. Where even the dots have no room, in 1 or 2 bytes, the
    value is `-`.
    """
    if len(text) * 4 <= size_bytes:
        return text
    text = _as_bytes(text)
    if _size(text) <= size_bytes:
        return text
    if size_bytes < len(ELLIPSIS):
        return "-"
    room = size_bytes - len(ELLIPSIS)
    parts, _ = _fitting(text[:room], room, str)
    return "".join(parts) + ELLIPSIS


def shortened(text: str, size_bytes: int, form: Callable[[str], str]) -> str:
    r"""Return head and tail of a text as printed, with `...` between them.

    `form` is `xml_text` or `json_text`; the whole text is longer than `size_bytes` in
    that form. Head and tail have half of the room each. No character and no escape is
    split. The middle of a long text is not looked at, which would take long.
    """

    def printed(part: str) -> str:
        return form(spelt_out(part))

    room = max(0, size_bytes - len(ELLIPSIS))
    head = _head(_guarded(text[: room // 2]), room // 2, printed)
    room -= _size(head)
    tail = _tail(_guarded(text[-room:]) if room else "", room, printed)
    return f"{head}{ELLIPSIS}{tail}"


def printed_within(
    text: str, size_bytes: int, form: Callable[[str], str]
) -> str | None:
    """Return a text as printed, None where that is longer than `size_bytes`."""
    if len(text) > size_bytes:
        return None
    text = _guarded(text)
    parts, length = _fitting(text, size_bytes, lambda part: form(spelt_out(part)))
    return "".join(parts) if length == len(text) else None


def _head(text: str, room: int, printed: Callable[[str], str]) -> str:
    """Return the longest beginning of a guarded text that fits when printed."""
    parts, length = _fitting(text, room, printed)
    head = "".join(parts)
    guard = text.rfind(_GUARD, max(0, length - 3), length + 3)
    if 0 <= guard < length < guard + len(_GUARD):
        head = head[: -len(printed(text[guard:length]))]
    return head


def _tail(text: str, room: int, printed: Callable[[str], str]) -> str:
    """Return the longest end of a guarded text that fits when printed."""
    parts, length = _fitting(text, room, printed, from_end=True)
    tail = "".join(reversed(parts))
    start = len(text) - length
    guard = text.rfind(_GUARD, max(0, start - 3), start + 3)
    if 0 <= guard < start < guard + len(_GUARD):
        tail = tail[len(printed(text[start : guard + len(_GUARD)])) :]
    return tail


def _fitting(
    text: str, room: int, printed: Callable[[str], str], *, from_end: bool = False
) -> tuple[list[str], int]:
    """Return the parts of a text that fit when printed, and their length together.

    Parts are in order from the start of the text, or from its end. `length` counts
    characters of `text`. After a part that does not fit, at most half of it is tried,
    and no character beyond it again.
    """
    parts: list[str] = []
    length, most = 0, len(text)
    step = room if text[:64].isprintable() else room // 4
    while length < most:
        step = min(max(step, 1), most - length)
        first = len(text) - length - step if from_end else length
        part = printed(text[first : first + step])
        size = _size(part)
        if size <= room:
            parts.append(part)
            length += step
            room -= size
            step = room * step // max(size, 1)
        else:
            most = length + step - 1
            step = min(step // 2, room * step // size)
    return parts, length


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        if old in text:
            text = text.replace(old, new)
    return text


def _as_bytes(text: str) -> str:
    """Return `text` with a surrogate for each byte of a stray surrogate.

    Stray ones stand for no byte, see PEP 383; JSON can bring them in.
    """
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
    """Return any text as the content of an XML element: escapes and references."""
    if text.isprintable() and "\\x" not in text:
        return xml_text(text) if "&" in text or "<" in text or ">" in text else text
    return xml_text(visible(text))


def json_value(text: str) -> str:
    """Return any text as the inside of a JSON string: escapes and references."""
    if text.isprintable() and "\\" not in text and '"' not in text:
        return text
    return json_text(visible(text))
