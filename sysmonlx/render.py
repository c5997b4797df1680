# SPDX-License-Identifier: MIT
"""Events to lines: Sysmon's XML, or JSON with the same values.

For each event type a template is made once, on first use: all of the line but the
values, as a list in which the values have their places, so that a line is one join.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import NamedTuple

from sysmonlx.catalogue import EVENT_BY_ID, EventType, Field, FieldType
from sysmonlx.escape import json_text, limited, shortened, visible, xml_text
from sysmonlx.lines import Lines

PROVIDER = "Linux-Sysmon"
PROVIDER_GUID = "{ff032593-a8d3-4f13-b0d6-01fc615a0f97}"
CHANNEL = "Linux-Sysmon/Operational"
KEYWORDS = "0x8000000000000000"

#: The smallest limit: every event fits with its strings cut to `...`.
MIN_LIMIT_BYTES = 2048

_SPELT_LIMIT, _SPELT_CHARACTERS = 512, 1024

_LEVELS = {"Informational": 4, "Error": 2}

_NUMBERS = (FieldType.UINT16, FieldType.UINT32, FieldType.PID)

#: String fields whose text is made by this program alone: nothing in them to escape.
_OURS = {
    "UtcTime",
    "CreationUtcTime",
    "PreviousCreationUtcTime",
    "Hashes",
    "ConfigurationFileHash",
    "IntegrityLevel",
}

#: Event id, the fields' texts in catalogue order, whether all are `texts.is_plain`.
Event = tuple[int, Sequence[str], bool]


class _Template(NamedTuple):
    """A line in pieces: `pieces[1]` is the record id, `pieces[3::2]` are the values.

    `start` comes before the time, `after_time` behind it; they make up `pieces[0]`.
    `foreign` are the places of values that someone else may have chosen, `numbers` and
    `booleans` of those that JSON shows without quotes.
    """

    start: str
    after_time: str
    pieces: list[str]
    foreign: tuple[int, ...]
    numbers: tuple[int, ...]
    booleans: tuple[int, ...]


class Renderer:
    """Makes one line of each event, in one form, for one sink.

    `computer` is the host name; `pid`, `tid` and `uid` are the daemon's own.
    `field_sizes` are (field, bytes) pairs of the FieldSizes option; later ones win.

    Raises:
        ValueError: `form` is unknown or `limit_bytes` is below MIN_LIMIT_BYTES.
    """

    def __init__(
        self,
        form: str,
        computer: str,
        pid: int,
        tid: int,
        uid: int,
        limit_bytes: int = 65535,
        field_sizes: Iterable[tuple[str, int]] = (),
    ) -> None:
        if form not in ("xml", "json"):
            raise ValueError(f"no such form: {form!r}")
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"a line needs {MIN_LIMIT_BYTES} bytes at least")
        self._form = form
        self._system = (computer, pid, tid, uid)
        self._limit_bytes = limit_bytes
        self._sizes = _sizes_by_event(dict(field_sizes))
        self._spelt = _Spelt(_xml_value if form == "xml" else _json_value)
        self._takes_plain = form == "xml" and not self._sizes
        self._templates: dict[int, _Template] = {}
        self._second = -1
        self._date = ""

    def line(
        self, event_id: int, values: Sequence[str], record_id: int, wall_ns: int
    ) -> bytes:
        """Return the event as one line of UTF-8, without the newline.

        `values` are the fields' texts in catalogue order; `wall_ns` is the time of
        formatting, in nanoseconds since the epoch.
        """
        return self.lines([(event_id, values, False)], record_id, wall_ns).data

    def lines(
        self,
        events: Sequence[Event],
        first_record_id: int,
        wall_ns: int,
        before: str = "",
    ) -> Lines:
        """Return the lines of events that are numbered in sequence.

        Each begins with `before`, which does not count for the limit.
        """
        stamp = self._stamp(wall_ns)
        begun: dict[int, list[str]] = {}
        join, ready, takes_plain = "".join, self._ready, self._takes_plain
        texts: list[str] = []
        append, places = texts.append, slice(3, None, 2)
        numbers = map(str, count(first_record_id))
        for (event_id, values, is_plain), number in zip(events, numbers, strict=False):
            try:
                pieces = begun[event_id]
            except KeyError:
                pieces = begun[event_id] = self._begin(event_id, before, stamp)
            if not (is_plain and takes_plain):
                values = ready(event_id, values, is_plain)
            pieces[1] = number
            pieces[places] = values
            append(join(pieces))
        lines = Lines.of_texts(texts)
        if texts and max(lines.sizes) > self._limit_bytes + len(before):
            return self._shortened(lines, len(before), events, begun, first_record_id)
        return lines

    def _begin(self, event_id: int, before: str, stamp: str) -> list[str]:
        """Return the pieces of a line of now."""
        template = self._templates.get(event_id)
        if template is None:
            template = _template(EVENT_BY_ID[event_id], self._form, self._system)
            self._templates[event_id] = template
        pieces = template.pieces
        pieces[0] = f"{before}{template.start}{stamp}{template.after_time}"
        return pieces

    def _ready(
        self, event_id: int, values: Sequence[str], is_plain: bool
    ) -> Sequence[str]:
        """Return the values as they are printed."""
        template, ready = self._templates[event_id], list(values)
        if event_id in self._sizes:
            _cut(ready, self._sizes[event_id])
        if not is_plain:
            spelt = self._spelt
            for at in template.foreign:
                ready[at] = spelt[ready[at]]
        return _bare(template, ready) if self._form == "json" else ready

    def _shortened(
        self,
        lines: Lines,
        before_bytes: int,
        events: Sequence[Event],
        begun: dict[int, list[str]],
        first_record_id: int,
    ) -> Lines:
        """Return the lines, those that are too long made anew."""
        split = lines.split()
        for at, (line_bytes, event) in enumerate(zip(lines.sizes, events, strict=True)):
            size = line_bytes - before_bytes
            if size > self._limit_bytes:
                event_id, values = event[0], list(event[1])
                _cut(values, self._sizes.get(event_id, ()))
                pieces = begun[event_id]
                pieces[1] = str(first_record_id + at)
                pieces[3::2] = self._fitted(event_id, values, size)
                split[at] = "".join(pieces).encode()
        return Lines.of(split)

    def _stamp(self, wall_ns: int) -> str:
        second, fraction_ns = divmod(wall_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{fraction_ns:09d}Z"

    def _fitted(self, event_id: int, values: Sequence[str], size: int) -> list[str]:
        """Return the values escaped, the longest texts cut to one common size."""
        form = xml_text if self._form == "xml" else json_text
        texts = [visible(value) for value in values]
        escaped = [form(text) for text in texts]
        fields = EVENT_BY_ID[event_id].fields
        sizes = {
            at: len(escaped[at].encode())
            for at, field in enumerate(fields)
            if field.type is FieldType.STRING
        }
        room = self._limit_bytes - (size - sum(sizes.values()))
        cap = _common_cap(sorted(sizes.values()), room)
        for at, size_bytes in sizes.items():
            if size_bytes > cap:
                escaped[at] = form(shortened(texts[at], cap, form))
        if self._form == "json":
            return _bare(self._templates[event_id], escaped)
        return escaped


class _Spelt(dict[str, str]):
    """Values as they are printed, made once for those that recur.

    Long ones, which a hostile program may make many of, are not kept.
    """

    def __init__(self, spell: Callable[[str], str]) -> None:
        super().__init__()
        self._spell = spell

    def __missing__(self, text: str) -> str:
        spelt = self._spell(text)
        if len(text) <= _SPELT_CHARACTERS:
            if len(self) >= _SPELT_LIMIT:
                self.clear()
            self[text] = spelt
        return spelt


def _sizes_by_event(sizes: dict[str, int]) -> dict[int, tuple[tuple[int, int], ...]]:
    found = {
        event.id: tuple(
            (at, sizes[field.name])
            for at, field in enumerate(event.fields)
            if field.name in sizes
        )
        for event in EVENT_BY_ID.values()
    }
    return {event_id: limits for event_id, limits in found.items() if limits}


def _cut(values: list[str], limits: tuple[tuple[int, int], ...]) -> None:
    for at, size_bytes in limits:
        values[at] = limited(values[at], size_bytes)


def _common_cap(sizes: list[int], room: int) -> int:
    """Return the size to which the longest must shrink; `sizes` ascend."""
    for at, size in enumerate(sizes):
        share = room // (len(sizes) - at)
        if size > share:
            return max(share, 3)
        room -= size
    return sizes[-1]


def _xml_value(text: str) -> str:
    if text.isprintable() and "\\x" not in text:
        return xml_text(text) if "&" in text or "<" in text or ">" in text else text
    return xml_text(visible(text))


def _json_value(text: str) -> str:
    if text.isprintable() and "\\" not in text and '"' not in text:
        return text
    return json_text(visible(text))


def _number(text: str) -> str:
    """Return a JSON number where `text` is one, else a string; escaped already."""
    if text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0"):
        return text
    return f'"{text}"'


def _boolean(text: str) -> str:
    return text if text in ("true", "false") else f'"{text}"'


def _bare(template: _Template, values: list[str]) -> list[str]:
    """Put JSON numbers and booleans without quotes into `values`."""
    for at in template.numbers:
        values[at] = _number(values[at])
    for at in template.booleans:
        values[at] = _boolean(values[at])
    return values


def _template(
    event: EventType, form: str, system: tuple[str, int, int, int]
) -> _Template:
    literals = (_xml_literals if form == "xml" else _json_literals)(event, *system)
    start, after_time, *between = literals
    pieces = [""]
    for literal in between:
        pieces += ("", literal)

    def places(*types: FieldType) -> tuple[int, ...]:
        return tuple(at for at, each in enumerate(event.fields) if each.type in types)

    foreign = tuple(
        at for at in places(FieldType.STRING) if event.fields[at].name not in _OURS
    )
    return _Template(
        start,
        after_time,
        pieces,
        foreign,
        places(*_NUMBERS),
        places(FieldType.BOOLEAN),
    )


def _xml_literals(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[str]:
    """Return what stands before, between and after time, record id and values."""
    return [
        f'<Event><System><Provider Name="{PROVIDER}" Guid="{PROVIDER_GUID}"/>'
        f"<EventID>{event.id}</EventID><Version>{event.version}</Version>"
        f"<Level>{_LEVELS[event.level]}</Level><Task>{event.id}</Task><Opcode>0</Opcode>"
        f'<Keywords>{KEYWORDS}</Keywords><TimeCreated SystemTime="',
        '"/><EventRecordID>',
        "</EventRecordID><Correlation/>"
        f'<Execution ProcessID="{pid}" ThreadID="{tid}"/><Channel>{CHANNEL}</Channel>'
        f"<Computer>{_xml_value(computer)}</Computer>"
        f'<Security UserId="{uid}"/></System><EventData>'
        f'<Data Name="{event.fields[0].name}">',
        *(f'</Data><Data Name="{field.name}">' for field in event.fields[1:]),
        "</Data></EventData></Event>",
    ]


def _json_literals(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[str]:
    """Return what stands before, between and after time, record id and values."""
    system = (
        ',"Correlation":null,"Execution":{"#attributes":'
        f'{{"ProcessID":{pid},"ThreadID":{tid}}}}},'
        f'"Channel":"{CHANNEL}","Computer":"{_json_value(computer)}",'
        f'"Security":{{"#attributes":{{"UserId":"{uid}"}}}}}},"EventData":{{'
    )
    quotes = [_json_quote(field) for field in event.fields]
    names = [
        f'"{field.name}":{quote}'
        for field, quote in zip(event.fields, quotes, strict=True)
    ]
    return [
        '{"Event":{"System":{"Provider":{"#attributes":'
        f'{{"Name":"{PROVIDER}","Guid":"{PROVIDER_GUID}"}}}},'
        f'"EventID":{event.id},"Version":{event.version},"Level":{_LEVELS[event.level]},'
        f'"Task":{event.id},"Opcode":0,"Keywords":"{KEYWORDS}",'
        '"TimeCreated":{"#attributes":{"SystemTime":"',
        '"}},"EventRecordID":',
        system + names[0],
        *(f"{quote},{name}" for quote, name in zip(quotes, names[1:], strict=False)),
        quotes[-1] + "}}}",
    ]


def _json_quote(field: Field) -> str:
    is_bare = field.type in (*_NUMBERS, FieldType.BOOLEAN)
    return "" if is_bare else '"'
