# SPDX-License-Identifier: MIT
"""Event lines read back: XML or JSON, ours or Sysmon's, behind any syslog prefix.

Sysmon for Linux writes control characters raw or as references that XML forbids, so no
XML parser is asked. A line feed in a value splits its event over several lines; they
are joined again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.escape import ESCAPE

#: Lines that one event may be split over, and what they may hold together.
_LINES_LIMIT = 10_000
_SIZE_LIMIT = 4 << 20

_XML_START = re.compile(rb"<Event(?=[\s>])")
_XML_END = b"</Event>"
_EVENT_ID = re.compile(r"<EventID(?:\s[^>]*)?>\s*([0-9]{1,5})\s*</EventID>")
_DATA = re.compile(
    r"""<Data\s+Name=(?:"([^"<]*)"|'([^'<]*)')\s*(?:/>|>([^<]*)</Data>)"""
)
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,4}));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

_JSON_START = re.compile(rb'\{\s*"Event"\s*:')
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event as read: its values in the order of the catalogue, "-" where absent."""

    line: int
    event_id: int
    values: list[str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no event (`is_event` False) or one that cannot be read."""

    line: int
    reason: str
    is_event: bool = True


def read_events(lines: Iterable[bytes]) -> Iterator[EventLine | BadLine]:
    """Yield what each line holds; lines without any text yield nothing."""
    for number, data in _joined(lines):
        start = _start(data)
        if start < 0:
            if data.strip():
                yield BadLine(number, "no event in it", is_event=False)
            continue
        read = _read_xml if data[start : start + 1] == b"<" else _read_json
        try:
            event_id, fields = read(data[start:].decode("utf-8", "surrogateescape"))
        except ValueError as error:
            yield BadLine(number, str(error))
            continue
        names = [field.name for field in EVENT_BY_ID[event_id].fields]
        yield EventLine(number, event_id, [fields.get(name, "-") for name in names])


def _start(data: bytes) -> int:
    """Return where the event begins, -1 if there is none; a value may hold either."""
    starts = [m.start() for p in (_XML_START, _JSON_START) if (m := p.search(data))]
    return min(starts, default=-1)


def _joined(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number, an XML event that was split as one."""
    parts: list[bytes] = []
    first = size = 0
    for number, line in enumerate(lines, 1):
        data = line.removesuffix(b"\n")
        if parts and (_starts_xml(data) or size > _SIZE_LIMIT):
            yield first, b"\n".join(parts)
            parts, size = [], 0
        if not parts and (not _starts_xml(data) or _XML_END in data):
            yield number, data
            continue
        first = first if parts else number
        parts.append(data)
        size += len(data)
        if _XML_END in data or len(parts) > _LINES_LIMIT:
            yield first, b"\n".join(parts)
            parts, size = [], 0
    if parts:
        yield first, b"\n".join(parts)


def _starts_xml(data: bytes) -> bool:
    start = _start(data)
    return start >= 0 and data[start : start + 1] == b"<"


def _read_xml(text: str) -> tuple[int, dict[str, str]]:
    if _XML_END.decode() not in text:
        raise ValueError("the event is cut short: no </Event>")
    number = _EVENT_ID.search(text)
    if number is None:
        raise ValueError("no EventID in it")
    fields = {
        one or other: _restored(_REFERENCE.sub(_character, value))
        for one, other, value in _DATA.findall(text)
    }
    return _known(int(number[1])), fields


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _ENTITIES.get(name, match[0])
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if 0 < code < 0x110000 else match[0]


def _read_json(text: str) -> tuple[int, dict[str, str]]:
    try:
        found, _ = _JSON.raw_decode(text)
        event = found["Event"]
        number = event["System"]["EventID"]
        data = event["EventData"]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise ValueError("no Event.System.EventID and Event.EventData in it") from error
    if type(number) is not int or not isinstance(data, Mapping):
        raise ValueError("EventID is no number, or EventData no object")
    return _known(number), {name: _printed(name, value) for name, value in data.items()}


def _printed(name: str, value: object) -> str:
    """Return a JSON value as the text that XML has."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _restored(value)
    if value is None:
        return "-"
    raise ValueError(f"{name} is neither text nor number")


def _known(event_id: int) -> int:
    if event_id not in EVENT_BY_ID:
        raise ValueError(f"unknown EventID {event_id}")
    return event_id


def _restored(text: str) -> str:
    r"""Return text with our `\xNN` escapes undone."""
    if "\\x" not in text:
        return text
    text = ESCAPE.sub(lambda match: _byte(int(match[0][2:], 16)), text)
    try:
        return text.encode("utf-8", "surrogateescape").decode(
            "utf-8", "surrogateescape"
        )
    except UnicodeEncodeError:  # half a character out of JSON
        return text


def _byte(code: int) -> str:
    return chr(code) if code < 0x80 else chr(0xDC00 + code)
