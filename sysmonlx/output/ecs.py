# SPDX-License-Identifier: MIT
"""Events to lines in the Elastic Common Schema: a JSON document each.

`schema.ecs` says which value goes where. Objects nest, since readers of documents as
they are stored do not look for dots in names. A value that is not known has no member,
and an object without members is left out: which pieces a document has depends on the
values. `ecs_members` makes them.

Most values recur: images, users, names of rules. A template has all those of an event
in place, and slots for the others. It is found by these values, or for events 1 by
their shape (`processes.launches`) and the name of the rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from sysmonlx.bounded import CacheUse
from sysmonlx.event import Event, Picker, Shape
from sysmonlx.output.ecs_members import UNKNOWN, Convert, Node, Part, members_of
from sysmonlx.output.escape import ELLIPSIS, json_value
from sysmonlx.output.lines import Lines
from sysmonlx.output.render import Clock, Writer, common_cap, sizes_by_event
from sysmonlx.output.templates import PROVIDER
from sysmonlx.policy import LEAST_LIMIT_BYTES
from sysmonlx.schema.ecs import TIME_FIELD, VERSION, kind_of
from sysmonlx.schema.event_types import EventType, FieldType
from sysmonlx.schema.events import EVENT_BY_ID

#: Templates that are kept of one event type, and the longest, in characters.
_TEMPLATES_LIMIT, _TEMPLATE_CHARACTERS = 256, 8192

#: Fields whose values recur, though the schema does not say it for the rules' sake.
_RECUR_TOO = frozenset(
    (
        *("RuleName", "Hashes", "LogonGuid", "CurrentDirectory"),
        *("SourceHostname", "SourcePortName"),
        *("DestinationHostname", "DestinationPortName"),
    )
)

#: Length of a time in an event: 2026-01-05 10:00:05.201.
_TIME_CHARACTERS = 23

#: Room for the names of objects that have no member while all foreign values are empty.
_OBJECTS_BYTES = 200

#: Tries to shorten a value so that it fits into its share of a line.
_TRIES = 6

#: Key of a template: the values that recur, or shape and name of the rule.
Key = tuple[object, ...]


class EcsRenderer:
    """Makes one document of each event, for one sink; see `render.Renderer`.

    Raises:
        ValueError: `limit_bytes` is below LEAST_LIMIT_BYTES.
    """

    def __init__(
        self,
        writer: Writer,
        limit_bytes: int = 65535,
        field_sizes: Iterable[tuple[str, int]] = (),
        appended: Collection[str] = (),
    ) -> None:
        if limit_bytes < LEAST_LIMIT_BYTES:
            raise ValueError(f"a line needs {LEAST_LIMIT_BYTES} bytes at least")
        self._writer = writer
        self._limit_bytes = limit_bytes
        self._events = {
            number: event.with_appended(appended)
            for number, event in EVENT_BY_ID.items()
        }
        self._sizes = sizes_by_event(self._events, dict(field_sizes))
        self._clock = Clock()
        self._documents: dict[int, _Document] = {}
        self._looked_up = 0

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
        stamp, documents, texts = self._clock.stamp(wall_ns), self._documents, []
        head, created = f'{before}{{"@timestamp":"', f'"created":"{stamp}","sequence":'
        self._looked_up += len(events)
        for number, event in enumerate(events, first_record_id):
            document = documents.get(event[0]) or self._document_of(event[0])
            text = document.text(event, head, f"{created}{number}")
            if text is None:
                text = before + document.whole(event[1], stamp, str(number))
            texts.append(text)
        lines, room = Lines.of_texts(texts), self._limit_bytes + len(before)
        if texts and max(lines.sizes) > room:
            shortened = partial(self._shortened, events, first_record_id, stamp, before)
            return lines.within(room, texts, shortened)
        return lines

    def _shortened(
        self,
        events: Sequence[Event],
        first_record_id: int,
        stamp: str,
        before: str,
        at: int,
    ) -> str:
        event_id, values, _, _ = events[at]
        number = str(first_record_id + at)
        return before + self._documents[event_id].fitting(values, stamp, number)

    def template_use(self) -> CacheUse:
        """Return how often documents that recur were there in pieces already."""
        documents = self._documents.values()
        made = sum(document.made for document in documents)
        return CacheUse(self._looked_up - made, made, sum(map(len, documents)))

    def _document_of(self, event_id: int) -> _Document:
        event, sizes = self._events[event_id], self._sizes.get(event_id, ())
        made = _Document(event, self._writer, self._limit_bytes, dict(sizes))
        self._documents[event_id] = made
        return made


class _Template(NamedTuple):
    """A document in pieces, with slots for the values that `pick` takes.

    `pieces` are four for what is the same in a batch, then constant text and slots by
    turns. `converts` has the number of the picked value and its conversion, for each
    slot; `plain` those of plain values. None: the text itself.
    """

    pieces: list[str]
    pick: Picker
    converts: list[tuple[int, Convert | None]]
    plain: list[tuple[int, Convert | None]]


class _Document:
    """The documents of one event type."""

    def __init__(
        self,
        event: EventType,
        writer: Writer,
        limit_bytes: int,
        sizes: dict[int, int],
    ) -> None:
        names = [field.name for field in event.fields]
        self._limit_bytes = limit_bytes
        self._time_at = names.index(TIME_FIELD)
        self._members = members_of(event, limit_bytes, sizes)
        self._root = Node.of(self._members)
        self._in_event = self._root.take("event")
        self._foreign = [
            at
            for at, field in enumerate(event.fields)
            if field.type is FieldType.STRING and not field.is_made_here
        ]
        recurs = [
            at
            for at, field in enumerate(event.fields)
            if field.recurs or field.name in _RECUR_TOO
        ]
        self._differ = [at for at in range(len(names)) if at not in recurs]
        self._key: Picker = itemgetter(*recurs, recurs[0]) if recurs else tuple
        self._begin, self._end = _frame(event, writer)
        self._templates: dict[Key, _Template] = {}
        self.made = 0

    def __len__(self) -> int:
        return len(self._templates)

    def text(
        self,
        event: Event,
        head: str,
        created: str,
    ) -> str | None:
        """Return the document of an event, made by a template.

        The result is None where some value is not known; `whole` makes it then. `head`
        is the text before the time. `created` is the text that has the time of writing
        and the EventRecordID.
        """
        _, values, is_plain, shape = event
        key: Key = self._key(values) if shape is None else (shape, values[0])
        template = self._templates.get(key) or self._made(key, values, shape)
        pieces, pick, converts, plain = template
        own = pick(values)
        time = values[self._time_at]
        if not UNKNOWN.isdisjoint(own) or len(time) != _TIME_CHARACTERS:
            return None
        pieces[0] = f'{head}{time[:10]}T{time[11:]}Z"'
        pieces[2] = created
        pieces[4::2] = [
            own[at] if convert is None else convert(own[at])
            for at, convert in (plain if is_plain else converts)
        ]
        return "".join(pieces)

    def _made(self, key: Key, values: Sequence[str], shape: Shape | None) -> _Template:
        """Make the template of these values, and keep it."""
        self.made += 1
        picked = self._differ if shape is None else shape.own(range(len(values)))
        own = [at for at in picked if at not in (0, self._time_at)]
        speaks_of_own = shape is None or bool(own)  # what an event says to be plain
        if shape is None or not own:
            own = [at for at in self._differ if at != self._time_at]
        numbers = {at: number for number, at in enumerate(own)}
        parts: list[Part] = [
            *self._in_event.parts(values, numbers),
            self._end,
            *self._root.parts(values, numbers),
            "}",
        ]
        pieces, slots = ["", self._begin, "", ""], []
        for part in parts:
            if isinstance(part, str):
                pieces[-1] += part
            else:
                slots.append(part)
                pieces += ("", "")
        pick: Picker = itemgetter(*own, self._time_at)
        converts = [(each.number, each.convert) for each in slots]
        plain = [(each.number, each.plain) for each in slots]
        plain = plain if speaks_of_own else converts
        template = _Template(pieces, pick, converts, plain)
        if sum(map(len, pieces)) <= _TEMPLATE_CHARACTERS:
            if len(self._templates) >= _TEMPLATES_LIMIT:
                self._templates.clear()
            self._templates[key] = template
        return template

    def whole(self, values: Sequence[str], stamp: str, number: str) -> str:
        """Return a document of values some of which are not known."""
        time = values[self._time_at]
        when = f"{time[:10]}T{time[11:]}Z" if len(time) == _TIME_CHARACTERS else stamp
        in_event = "".join(map(str, self._in_event.parts(values, {})))
        rest = "".join(map(str, self._root.parts(values, {})))
        return (
            f'{{"@timestamp":"{when}"{self._begin}"created":"{stamp}"'
            f',"sequence":{number}{in_event}{self._end}{rest}}}'
        )

    def fitting(self, values: Sequence[str], stamp: str, number: str) -> str:
        """Return a document within the limit, its longest values shortened.

        What a value becomes, in all its members, counts as its size.
        """
        shorter = list(values)
        for at in self._foreign:
            shorter[at] = ""
        least = len(self.whole(shorter, stamp, number).encode())
        room = self._limit_bytes - least - _OBJECTS_BYTES
        sizes = {at: self._size_of(at, values[at]) for at in self._foreign}
        cap = common_cap(sorted(sizes.values()), room)
        for at, size in sizes.items():
            whole = values[at]
            shorter[at] = whole if size <= cap else self._shortened(at, whole, cap)
        return self.whole(shorter, stamp, number)

    def _size_of(self, at: int, text: str) -> int:
        if text in UNKNOWN:
            return 0
        members = (member for each, member in self._members if each == at)
        return sum(len(member.text(text).encode()) for member in members)

    def _shortened(self, at: int, text: str, cap: int) -> str:
        """Return head and tail of a value, so that its members fit into `cap` bytes."""
        length = min(len(text), cap)
        for _ in range(_TRIES):
            half = max(0, length - len(ELLIPSIS)) // 2
            shorter = f"{text[:half]}{ELLIPSIS}{text[len(text) - half :]}"
            size = self._size_of(at, shorter)
            if size <= cap:
                return shorter
            length = min(length - 1, length * cap // size)
        return ELLIPSIS


def _frame(event: EventType, writer: Writer) -> tuple[str, str]:
    """Return the constant text behind the time, and that behind the event's numbers.

    agent.type and event.module are what Kibana's analyzer of processes asks for.
    """
    kind, host = kind_of(event), json_value(writer.computer)
    types = '","'.join(kind.types)
    action = f'"action":"{kind.action}",' if kind.action else ""
    begin = (
        f',"ecs":{{"version":"{VERSION}"}},"agent":{{"type":"winlogbeat"}}'
        ',"event":{"kind":"event","module":"sysmon","dataset":"sysmon_linux.log"'
        f',"provider":"{PROVIDER}","code":"{event.id}","category":["{kind.category}"]'
        f',"type":["{types}"],{action}'
    )
    end = (
        f'}},"host":{{"name":"{host}","hostname":"{host}","os":{{"type":"linux"'
        ',"platform":"linux"}}'
    )
    return begin, end
