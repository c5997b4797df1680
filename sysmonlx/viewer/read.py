# SPDX-License-Identifier: MIT
"""Lines of a log read back: XML or JSON of sysmonlx or Sysmon, wrapped or not.

Sysmon for Linux writes a line feed in a value as it is, so that an event may stand in
several lines. They are joined again, and so is JSON that was indented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.carriers import events_in
from sysmonlx.viewer.event_text import Event, System

#: Lines in which one event may stand, and their size together in bytes.
_LINES_LIMIT = 10_000
_SIZE_LIMIT = 4 << 20

#: A longer line is not read, in bytes.
LINE_LIMIT = 16 << 20
#: Where a line has not ended after this many bytes, reading ends: it may have no end.
_ENDLESS = 1 << 30
#: Bytes of one read within a line that is too long.
_PART = 1 << 20
_TOO_LONG = (
    "longer than 16 MiB: not read (split it, for example with jq -c '.[]');"
    " behind 1 GiB of one line nothing is read"
)

_XML_TAG = re.compile(rb"<Event(?=[\s>])")
_XML_OR_JSON = re.compile(rb'<Event(?=[\s>])|\{(?=\s*\\*")')
_XML_END = b"</Event>"
_LIKE_EVENT = re.compile(rb"Event|event_data")

_BOM = b"\xef\xbb\xbf"
_TO_UTF_8 = "UTF-16 text: convert it first, with iconv -f UTF-16 -t UTF-8"
#: First bytes of formats that are not read, and the advice for each.
_NOT_READ = {
    b"\x1f\x8b": "a gzip file: unpack it first, with zcat",
    b"\xfd7zXZ\0": "an xz file: unpack it first, with xzcat",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it first, with zstdcat",
    b"BZh": "a bzip2 file: unpack it first, with bzcat",
    b"LPKSHHRH": "a journal file: use journalctl --file=FILE --all -o cat",
    b"ElfFile\0": "a Windows event log: convert it to XML or JSON first",
    b"\xff\xfe": _TO_UTF_8,
    b"\xfe\xff": _TO_UTF_8,
    b"<\0": _TO_UTF_8,
    b"{\0": _TO_UTF_8,
    b"\0<": _TO_UTF_8,
    b"\0{": _TO_UTF_8,
}


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event as read: its values in the order of the schema, "-" where one is absent.

    `line` is the number of its first line. `others` are names of fields that the schema
    does not have for this event. `ours` are the values of those among them that the
    setting `Fields` can add.
    """

    line: int
    event_id: int
    values: list[str]
    others: tuple[str, ...] = ()
    system: System = field(default=System(), compare=False)
    ours: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class BadLine:
    """An event that cannot be read, or a line that has none (`is_event` is False)."""

    line: int
    reason: str
    is_event: bool = True


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; of a line that is too long, its beginning.

    That has more than `LINE_LIMIT` bytes.
    """
    while line := file.readline(LINE_LIMIT + 1):
        yield line
        left = _ENDLESS
        while len(line) > LINE_LIMIT and not line.endswith(b"\n"):
            part = file.readline(_PART)
            left -= len(part)
            if not part or left < 0:
                return
            if part.endswith(b"\n"):
                break


def read_events(lines: Iterable[bytes]) -> Iterator[EventLine | BadLine]:
    """Yield each event of each line; an empty line yields nothing."""
    lines = iter(lines)
    first = next(lines, b"").removeprefix(_BOM)
    for magic, reason in _NOT_READ.items():
        if first.startswith(magic):
            yield BadLine(1, reason)
            return
    for joined in _joined(chain([first], lines)):
        yield from joined.read()


@dataclass(frozen=True, slots=True)
class _Joined:
    """One line, or several that may be one event; `number` is that of the first."""

    number: int
    parts: list[bytes]

    def read(self) -> Iterator[EventLine | BadLine]:
        """Yield the events."""
        if any(len(part) > LINE_LIMIT for part in self.parts):
            yield BadLine(self.number, _TOO_LONG)
            return
        data = b"\n".join(self.parts)
        found = events_in(data.decode("utf-8", "surrogateescape"))
        for each in found:
            if isinstance(each, Event):
                yield _event_line(self.number, each)
            else:
                yield BadLine(self.number, each.reason)
        if not found and data.strip():
            yield BadLine(self.number, "no event in it", is_event=False)
        if len(self.parts) > 1 and _opens_xml(data):
            yield from self._taken_in()

    def _taken_in(self) -> Iterator[BadLine]:
        """Yield, as unreadable, lines like events behind an event without end.

        They may be events, or a part of a value of that event, which others chose.
        """
        reason = f"it may belong to the event that is cut short in line {self.number}"
        for number, part in enumerate(self.parts[1:], self.number + 1):
            if _LIKE_EVENT.search(part):
                yield BadLine(number, reason)


def _event_line(number: int, event: Event) -> EventLine:
    fields = dict(event.fields)
    names = [field.name for field in EVENT_BY_ID[event.event_id].fields]
    values = [fields.pop(name, "-") for name in names]
    known = {each.name for each in EVENT_BY_ID[event.event_id].appended}
    ours = {name: text for name, text in fields.items() if name in known}
    return EventLine(number, event.event_id, values, tuple(fields), event.system, ours)


def _joined(lines: Iterable[bytes]) -> Iterator[_Joined]:
    """Yield each line, together with the following ones that belong to it."""
    parts: list[bytes] = []
    size = begin = 0
    for number, line in enumerate(lines, 1):
        data = line.removesuffix(b"\n")
        if parts and not _goes_on(parts, data, size):
            yield _Joined(begin, parts)
            parts, size = [], 0
        if not parts:
            begin = number
        parts.append(data)
        size += len(data)
        if not _is_open(parts, data):
            yield _Joined(begin, parts)
            parts, size = [], 0
    if parts:
        yield _Joined(begin, parts)


def _goes_on(parts: list[bytes], data: bytes, size: int) -> bool:
    """Return whether a line, `data`, may go on the event of the lines before it."""
    if size > _SIZE_LIMIT or len(parts) > _LINES_LIMIT:
        return False
    if _opens_json(parts[0]):
        return data[:1] in (b" ", b"\t", b"}", b"]")
    return _XML_TAG.search(data) is None


def _is_open(parts: list[bytes], data: bytes) -> bool:
    """Return whether the event does not end in its last line, `data`."""
    if len(data) > LINE_LIMIT:
        return False
    if _opens_json(parts[0]):
        return len(parts) == 1 or data[:1] not in (b"}", b"]")
    return _opens_xml(parts[0]) and (len(parts) == 1 or _XML_END not in data)


def _opens_json(data: bytes) -> bool:
    """Return whether a line is the first of indented JSON."""
    return data.rstrip() in (b"{", b"[")


def _opens_xml(data: bytes) -> bool:
    """Return whether an event's XML begins in a line and does not end in it."""
    start = _XML_OR_JSON.search(data)
    return (
        start is not None
        and start[0] != b"{"
        and _XML_END not in data[data.rfind(b"<Event") :]
    )
