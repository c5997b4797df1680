# SPDX-License-Identifier: MIT
"""Events inside of other text: behind a syslog header, in JSON, in CSV, quoted.

Programs that pass events on wrap them: `journalctl -o json`, Filebeat, Docker, exports
to CSV. Each puts an event's text under a key of its own and escapes it.

A value of an event may hold the text of another event: whoever is watched can run a
program with such an argument. That text must never be read in place of the event
itself. Hence these rules:

* Text is parsed from its first character on. The inside of an event is not searched for
  events. Behind the start of a broken event nothing is read up to the next `<Event>`:
  no value of an event's XML has a "<" in it.
* In a JSON object that carries an event, a key that is known to hold messages counts
  before all others. Keys that are names of fields of an event never count.
* Text in a value of one event is not an event of the same object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sysmonlx.viewer.event_text import (
    XML_END,
    XML_START,
    Event,
    Repeated,
    Unreadable,
    read_object,
    read_xml,
    referenced,
)

Found = list[Event | Unreadable]

#: How many times text may be wrapped in text, and how deep JSON objects may be nested
#: in an object that carries an event.
_DEPTH_LIMIT = 6
_NESTING_LIMIT = 30

_XML_TAG = re.compile(r"<Event(?=[\s>/])")
#: Beginnings of an event, and of an object that may carry one.
_START = re.compile(
    rf"{_XML_TAG.pattern}"
    r'|\{(?=\s*\\*")'
    r"|&(?P<amps>(?:amp;)*)lt;Event(?=\s|&)"
    r"|(?P<slashes>\\+)u003[cC]Event(?=\s|\\)"
)
_LIKE_EVENT = re.compile(r"Event|event_data")
_HAS_SYSTEM = re.compile(rf"{XML_START.pattern}\s*<System")
#: The quotes of the first attribute of a tag: single ones, doubled, or with
#: backslashes.
_QUOTED = re.compile(r"""<[^<>]*?=\s*(\\*)("+|')(.?)""", re.DOTALL)
_UP_TO_QUOTE = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_UP_TO_SINGLE = re.compile(r'(?:[^"]|"")*')

#: Keys under which programs put a whole message, in lower case.
_MESSAGE_KEYS = frozenset(
    (
        *("message", "msg", "log", "original", "_raw", "raw", "line", "body", "text"),
        *("full_message", "short_message", "logmessage"),
    )
)
#: Keys of values that watched programs chose, in lower case without underscores. Text
#: of an event there is no event.
_VALUE_KEYS = frozenset(
    (
        *("commandline", "parentcommandline", "image", "parentimage", "sourceimage"),
        *("targetimage", "targetfilename", "currentdirectory", "imageloaded", "args"),
        *("executable", "title", "workingdirectory"),
    )
)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    several: dict[str, list[object]] = {}
    for key, value in pairs:
        several.setdefault(key, []).append(value)
    return Repeated((k, v if len(v) > 1 else v[0]) for k, v in several.items())


_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_object)


def events_in(text: str, depth: int = 0) -> Found:
    """Return all events of a text in order, also those that cannot be read.

    `depth` is how many times the text was wrapped in other text.
    """
    if _LIKE_EVENT.search(text) is None and '"MESSAGE"' not in text:
        return []
    if depth > _DEPTH_LIMIT:
        return [Unreadable(f"it is wrapped more than {_DEPTH_LIMIT} times")]
    whole = _whole_json(text)
    if whole is not None:
        return _of_value(whole, depth)
    return _Scan(text, depth).run()


def _whole_json(text: str) -> object:
    """Return the value of a text that is one JSON string or array, else None."""
    text = text.strip()
    if text[:1] not in ('"', "["):
        return None
    try:
        value, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if end == len(text) else None


@dataclass(slots=True)
class _Scan:
    """One text, searched for events from its start to its end."""

    text: str
    depth: int
    found: Found = field(default_factory=list)
    is_quoted: bool = False
    """Whether an event was quoted: the text may then have other columns or keys."""

    def run(self) -> Found:
        """Return the events in order."""
        at: int | None = 0
        while at is not None and (start := _START.search(self.text, at)):
            at = self._step(start)
        return _without_inner(self.found, self.depth) if self.is_quoted else self.found

    def _step(self, start: re.Match[str]) -> int | None:
        """Read the event or object that begins here.

        Returns the position behind it, None where nothing behind it may be read.
        """
        if start[0] == "<Event":
            return self._xml(start.start())
        if start[0] == "{":
            return self._json(start.start())
        if start["slashes"]:
            slashes = re.escape(start["slashes"])
            end = re.compile(rf"{slashes}u003[cC]/Event{slashes}u003[eE]")
            return self._wrapped(start.start(), end, _unslashed)
        amps = start["amps"]
        end = re.compile(f"&{amps}lt;/Event&{amps}gt;")
        return self._wrapped(start.start(), end, referenced)

    def _xml(self, at: int) -> int | None:
        text = self.text
        following = _XML_TAG.search(text, at + 1)
        end = text.find(XML_END, at) + len(XML_END)
        if following and not len(XML_END) <= end <= following.start():
            if _HAS_SYSTEM.match(text, at):
                self.found.append(Unreadable("the event is cut short: no </Event>"))
            return following.start()
        if end < len(XML_END):
            self.found.append(Unreadable("the event is cut short: no </Event>"))
            return None
        self.found += self._unquoted_xml(text[at:end])
        return end

    def _unquoted_xml(self, part: str) -> Found:
        quoted = _QUOTED.search(part)
        if quoted and quoted[1]:
            return self._inner(_unslashed(part))
        if quoted and quoted[2].startswith('""') and quoted[3].isalnum():
            return self._inner(part.replace('""', '"'))
        return [read_xml(part)]

    def _inner(self, text: str | None) -> Found:
        self.is_quoted = True
        if text is None:
            return [Unreadable("it is quoted in a way that is not known")]
        return events_in(text, self.depth + 1)

    def _wrapped(
        self, at: int, end: re.Pattern[str], unwrapped: Callable[[str], str | None]
    ) -> int | None:
        last = end.search(self.text, at)
        if last is None:
            self.found.append(Unreadable("the event is cut short: no </Event>"))
            return None
        self.found += self._inner(unwrapped(self.text[at : last.end()]))
        return last.end()

    def _json(self, at: int) -> int | None:
        text = self.text
        try:
            value, end = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            return self._quoted_json(at, str(error))
        self.found += _of_value(value, self.depth)
        return end

    def _quoted_json(self, at: int, reason: str) -> int | None:
        """Read an object whose quotes are doubled or escaped, else stop."""
        text = self.text
        after = text[at + 1 : at + 60].lstrip()
        if after.startswith('""'):
            part = _UP_TO_SINGLE.match(text, at)
            inner = part and part[0].replace('""', '"')
        elif after.startswith("\\"):
            part = _UP_TO_QUOTE.match(text, at)
            inner = part and _unslashed(part[0])
        else:
            part = inner = None
        if part and inner and part.end() < len(text):
            self.found += self._inner(inner)
            return part.end()
        if _LIKE_EVENT.search(text, at):
            self.found.append(Unreadable(f"not JSON: {reason}"))
        return None


def _unslashed(text: str) -> str | None:
    """Return the text of the inside of a JSON string, None where it is not one."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return None


def _of_value(value: object, depth: int) -> Found:
    """Return the events of a JSON value that is no member of an object."""
    if isinstance(value, Mapping):
        return _of_record(value, depth)
    if isinstance(value, str):
        return events_in(value, depth + 1)
    if isinstance(value, list):
        if (text := _byte_text(value)) is not None:
            return events_in(text, depth + 1)
        return [each for item in value for each in _of_value(item, depth)]
    return []


def _byte_text(value: Sequence[object]) -> str | None:
    """Return the text of an array of bytes, else None.

    journalctl prints such arrays for messages that are no UTF-8.
    """
    if not value or not all(type(item) is int and 0 <= item < 256 for item in value):
        return None
    data = bytes(value)  # type: ignore[arg-type]  # each item is a byte, see above
    return data.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class _Parts:
    """The parts of a JSON object: events, texts by kind of key, and other values."""

    events: Found = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    below: list[object] = field(default_factory=list)


def _of_record(record: Mapping[str, object], depth: int) -> Found:
    event = read_object(record) or _left_out(record)
    if event is not None:
        return [event]
    parts = _Parts()
    _gather(record, parts, 0)
    if parts.events:
        return parts.events
    for texts in (parts.messages, parts.others):
        groups = [found for text in texts if (found := events_in(text, depth + 1))]
        if groups:
            return _resolved(groups, depth)
    return [each for item in parts.below for each in _of_value(item, depth)]


def _left_out(record: Mapping[str, object]) -> Unreadable | None:
    """Return an unreadable event where journalctl printed null for a long message."""
    name = record.get("SYSLOG_IDENTIFIER", "sysmon")
    if record.get("MESSAGE", "") is None and str(name).startswith("sysmon"):
        return Unreadable("journalctl left the message out: it needs --all")
    return None


def _gather(record: Mapping[str, object], parts: _Parts, nesting: int) -> None:
    """Sort the members of an object, and of the objects in it, into `parts`."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            event = read_object(value)
            if event is not None:
                parts.events.append(event)
            elif nesting < _NESTING_LIMIT:
                _gather(value, parts, nesting + 1)
            continue
        for text in _texts(value, parts):
            name = key.rpartition(".")[2].casefold()
            if name in _MESSAGE_KEYS:
                parts.messages.append(text)
            elif name.replace("_", "") not in _VALUE_KEYS:
                parts.others.append(text)


def _texts(value: object, parts: _Parts) -> Iterator[str]:
    """Yield the texts of a value; other members of an array go to `parts.below`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if (text := _byte_text(value)) is not None:
            yield text
            return
        for item in value:
            if isinstance(item, str):
                yield item
            elif isinstance(item, list) and (text := _byte_text(item)) is not None:
                yield text
            else:
                parts.below.append(item)


def _resolved(groups: list[Found], depth: int) -> Found:
    """Return the events of a JSON object.

    `groups` has a list for each text in the object: the events in that text. A list
    that stands in the object several times, under several keys, counts once.
    """
    readable = [
        found for found in groups if any(isinstance(each, Event) for each in found)
    ]
    if not readable:
        return groups[0]
    unique: list[Found] = []
    for found in readable:
        if found not in unique:
            unique.append(found)
    return _without_inner([each for found in unique for each in found], depth)


def _without_inner(found: Found, depth: int) -> Found:
    """Return the events but for those that stand in a value of another one."""
    if len(found) < 2:
        return found
    inner = {
        each
        for event in found
        if isinstance(event, Event)
        for _, value in event.fields
        for each in events_in(value, depth + 1)
        if isinstance(each, Event)
    }
    return [each for each in found if each not in inner] or found
