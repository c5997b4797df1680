# SPDX-License-Identifier: MIT
"""Events to lines: Sysmon's XML, or JSON with the same values.

A line is one join of the pieces of a template with the values of the event. A template
is made when it is needed: one for each event type (`templates.template_of`), and for
events 1 one for each shape that recurs (`processes.launches` explains shapes). That one
is kept as long as the launches keep the shape. Values that are not known to be plain
are escaped by `escape`, once where they recur.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sysmonlx.bounded import CacheUse
from sysmonlx.event import Event, Shape
from sysmonlx.output.escape import (
    json_text,
    json_value,
    limited,
    printed_within,
    shortened,
    xml_text,
    xml_value,
)
from sysmonlx.output.lines import Lines
from sysmonlx.output.templates import Template, template_of, template_with
from sysmonlx.policy import LEAST_LIMIT_BYTES
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID

#: Escaped values that are kept, and the longest of them.
_SPELT_LIMIT, _SPELT_CHARACTERS = 512, 1024

_THREE_DIGITS = tuple(f"{number:03d}" for number in range(1000))


class Writer(NamedTuple):
    """Who writes: the host's name, and the daemon's own pid, tid and uid."""

    computer: str
    pid: int
    tid: int
    uid: int


class Clock:
    """Writes times; the date is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._date = ""

    def stamp(self, wall_ns: int) -> str:
        """Return a time in ns since the epoch as ISO 8601 with nine digits."""
        second, fraction_ns = divmod(wall_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{fraction_ns:09d}Z"


class Renderer:
    """Makes one line of each event, in one form, for one sink.

    `form` is "xml", "json" or "velociraptor". `computer` is the host name; `pid`, `tid`
    and `uid` are the daemon's own. `limit_bytes` is the longest line: longer ones lose
    the middle of their longest values. `field_sizes` are pairs of field and bytes, from
    the option FieldSizes; of two for one field the later one counts. `appended` are the
    fields of ours that events have: see `EventType.appended`.

    Raises:
        ValueError: `form` is unknown or `limit_bytes` is below LEAST_LIMIT_BYTES.
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
        appended: Collection[str] = (),
    ) -> None:
        if form not in ("xml", "json", "velociraptor"):
            raise ValueError(f"no such form: {form!r}")
        if limit_bytes < LEAST_LIMIT_BYTES:
            raise ValueError(f"a line needs {LEAST_LIMIT_BYTES} bytes at least")
        self._form = form
        self._is_json = form != "xml"
        self._system = Writer(computer, pid, tid, uid)
        self._limit_bytes = limit_bytes
        self._events = {
            number: event.with_appended(appended)
            for number, event in EVENT_BY_ID.items()
        }
        self._sizes = sizes_by_event(self._events, dict(field_sizes))
        self._form_text = xml_text if form == "xml" else json_text
        self._spelt = _Spelt(form, limit_bytes)
        self._takes_plain = form == "xml" and not self._sizes
        self._templates: dict[int, Template] = {}
        self._of_shapes: WeakKeyDictionary[Shape, Template] = WeakKeyDictionary()
        self._looked_up = self._made = 0
        self._stamp = Clock().stamp

    def template_use(self) -> CacheUse:
        """Return how often templates of shapes were there: once for each batch."""
        hits = self._looked_up - self._made
        return CacheUse(hits, self._made, len(self._of_shapes))

    def line(
        self, event_id: int, values: Sequence[str], record_id: int, wall_ns: int
    ) -> bytes:
        """Return the event as one line of UTF-8, without the newline.

        `values` are the texts of the fields in the order of the schema; `wall_ns` is
        the time of rendering, in ns since the epoch.
        """
        return self.lines([(event_id, values, False, None)], record_id, wall_ns).data

    def lines(
        self,
        events: Sequence[Event],
        first_record_id: int,
        wall_ns: int,
        before: str = "",
    ) -> Lines:
        """Return the lines of events whose record ids are in sequence.

        Each line begins with `before`, which does not count for the limit.
        """
        thousands, numbers = _numbers(first_record_id, len(events))
        heads = _Heads(self._templates, before, self._stamp(wall_ns), thousands)
        begun: dict[int | Shape, list[str]] = {}
        texts = self._texts(events, numbers, begun, heads)
        lines, room = Lines.of_texts(texts), self._limit_bytes + len(before)
        if texts and max(lines.sizes) > room:
            shortened = partial(self._shortened, events, numbers, begun, room)
            return lines.within(room, texts, shortened)
        return lines

    def _texts(
        self,
        events: Sequence[Event],
        numbers: Sequence[str],
        begun: dict[int | Shape, list[str]],
        heads: _Heads,
    ) -> list[str]:
        """Return the lines, however long; `begun` gets the pieces of each kind.

        Within the loop, `what` is the key of a template: the event id, or the shape.
        """
        join, ready = "".join, self._ready
        texts: list[str] = []
        append, places = texts.append, slice(3, None, 2)
        what: int | Shape
        prepared = events if self._takes_plain else map(self._prepared, events)
        for event, number in zip(prepared, numbers, strict=True):
            what, values, is_plain, shape = event
            if shape is not None:
                if shape.recurs:
                    what, own = shape, shape.own
                    values = own(values)
                else:
                    shape.recurs = True
                    is_plain = is_plain and shape.has_plain_rest
            try:
                pieces = begun[what]
            except KeyError:
                pieces = begun[what] = self._template(what, event).pieces.copy()
                pieces[0] = heads.of(event[0])
            if not is_plain:
                values = ready(what, values)
            pieces[1] = number
            pieces[places] = values
            append(join(pieces))
        return texts

    def _template(self, what: int | Shape, event: Event) -> Template:
        """Return a template, by its key; it is made where it is missing."""
        if isinstance(what, int):
            return self._templates.get(what) or self._made_template(what)
        self._looked_up += 1
        template = self._of_shapes.get(what)
        if template is None:
            self._made += 1
            event_id, values, _, _ = event
            whole, own = self._template(event_id, event), what.own(range(len(values)))
            template = template_with(whole, self._ready(event_id, values), own)
            self._of_shapes[what] = template
        return template

    def _made_template(self, event_id: int) -> Template:
        template = template_of(self._events[event_id], self._form, self._system)
        self._templates[event_id] = template
        return template

    def _prepared(self, event: Event) -> Event:
        """Return the event without a shape, its values as they are printed.

        JSON, and lines with FieldSizes, have every value treated by itself.
        """
        event_id, values, is_plain, shape = event
        if event_id not in self._templates:
            self._made_template(event_id)
        if shape is not None:
            is_plain = is_plain and shape.has_plain_rest
        return event_id, self._ready(event_id, values, is_plain), True, None

    def _ready(
        self, what: int | Shape, values: Sequence[str], is_plain: bool = False
    ) -> Sequence[str]:
        """Return the values as they are printed; `what` is the key of the template."""
        ready = list(values)
        if isinstance(what, int):
            template = self._templates[what]
            _cut(ready, self._sizes.get(what, ()))
        else:
            template = self._of_shapes[what]
        if not is_plain:
            spelt = self._spelt
            for at in template.foreign:
                ready[at] = spelt[ready[at]]
        return _bare(template, ready) if self._is_json else ready

    def _shortened(
        self,
        events: Sequence[Event],
        numbers: Sequence[str],
        begun: dict[int | Shape, list[str]],
        room: int,
        at: int,
    ) -> str:
        """Return the line of one event, its longest values cut to one common size.

        `room` is the size of the line in bytes, with the text before it. The line's
        number is `at`, counted from 0.
        """
        event_id, values, _, shape = events[at]
        values = list(values)
        _cut(values, self._sizes.get(event_id, ()))
        template = self._templates[event_id]
        pieces = template.pieces.copy()
        what = event_id if shape is None or shape not in begun else shape
        pieces[:2] = begun[what][0], numbers[at]
        foreign = [values[at] for at in template.foreign]
        for at in template.foreign:
            values[at] = ""
        if self._is_json:
            _bare(template, values)
        pieces[3::2] = values
        room -= len("".join(pieces).encode())
        for at, text in zip(template.foreign, self._fitted(foreign, room), strict=True):
            pieces[3 + 2 * at] = text
        return "".join(pieces)

    def _fitted(self, texts: Sequence[str], room: int) -> list[str]:
        """Return texts as they are printed, within `room` bytes all together."""
        printed = [self._spelt[text] for text in texts]
        sizes = [len(text.encode()) for text in printed]
        cap = common_cap(sorted(sizes), room)
        form = self._form_text
        return [
            shortened(text, cap, form) if size > cap else whole
            for text, size, whole in zip(texts, sizes, printed, strict=True)
        ]


class _Heads:
    """What lines of one batch begin with, by event id; the same text for all shapes."""

    def __init__(
        self, templates: dict[int, Template], before: str, stamp: str, thousands: str
    ) -> None:
        self._templates = templates
        self._parts = before, stamp, thousands
        self._known: dict[int, str] = {}

    def of(self, event_id: int) -> str:
        """Return the text before the last digits of the record id."""
        head = self._known.get(event_id)
        if head is None:
            before, stamp, thousands = self._parts
            template = self._templates[event_id]
            head = f"{before}{template.start}{stamp}{template.after_time}{thousands}"
            self._known[event_id] = head
        return head


class _Spelt(dict[str, str]):
    """Values as they are printed, by the value; for those that recur.

    Long ones are not kept: a hostile program can make many of them. A value that is
    longer than a whole line may be is replaced by blanks of that length: the line is
    then too long, and is made again by `Renderer._shortened`.
    """

    def __init__(self, form: str, limit_bytes: int) -> None:
        super().__init__()
        self._spell = xml_value if form == "xml" else json_value
        self._form_text = xml_text if form == "xml" else json_text
        self._limit_bytes = limit_bytes
        self._too_long = " " * (limit_bytes + 1)

    def __missing__(self, text: str) -> str:
        if len(text) > _SPELT_CHARACTERS:
            spelt = printed_within(text, self._limit_bytes, self._form_text)
            return self._too_long if spelt is None else spelt
        if len(self) >= _SPELT_LIMIT:
            self.clear()
        spelt = self[text] = self._spell(text)
        return spelt


def _numbers(first: int, size: int) -> tuple[str, Sequence[str]]:
    """Return the text that all numbers in sequence begin with, and the rest of each."""
    thousands, rest = divmod(first, 1000)
    if thousands and rest + size <= 1000:
        return str(thousands), _THREE_DIGITS[rest : rest + size]
    return "", [*map(str, range(first, first + size))]


def sizes_by_event(
    events: Mapping[int, EventType], sizes: dict[str, int]
) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return the positions and sizes of FieldSizes, by event id."""
    found = {
        event.id: tuple(
            (at, sizes[field.name])
            for at, field in enumerate(event.fields)
            if field.name in sizes
        )
        for event in events.values()
    }
    return {event_id: limits for event_id, limits in found.items() if limits}


def _cut(values: list[str], limits: tuple[tuple[int, int], ...]) -> None:
    for at, size_bytes in limits:
        values[at] = limited(values[at], size_bytes)


def common_cap(sizes: list[int], room: int) -> int:
    """Return the size to which the longest texts must shrink to fit into `room`.

    `sizes` ascend. All sizes are in bytes.
    """
    for at, size in enumerate(sizes):
        share = room // (len(sizes) - at)
        if size > share:
            return max(share, 3)
        room -= size
    return sizes[-1]


def _number(text: str) -> str:
    """Return escaped text as a JSON number where it is one, else as a string."""
    if text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0"):
        return text
    return f'"{text}"'


def _bare(template: Template, values: list[str]) -> list[str]:
    """Put JSON numbers without quotes into `values`."""
    for at in template.numbers:
        values[at] = _number(values[at])
    return values
