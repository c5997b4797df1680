# SPDX-License-Identifier: MIT
"""The text of one event, XML or a JSON object, to its event id and fields.

No XML parser could read all of it: Sysmon for Linux writes control characters as they
are, or as references that XML forbids. Both programs escape `<` and `>` in values,
though. Each `<` of an event's XML therefore belongs to a tag of the event itself, and
regular expressions find the tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sysmonlx.output.escape import ESCAPE
from sysmonlx.schema.events import EVENT_BY_ID

_ATTRIBUTES = r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*"""
_DATUM = r"""<Data\s+Name=(?:"[^"<]*"|'[^'<]*')\s*(?:/>|>[^<]*</Data>)"""

#: The tag that an event begins with.
XML_START = re.compile(rf"<Event{_ATTRIBUTES}>")
XML_END = "</Event>"
_XML = re.compile(
    rf"<Event{_ATTRIBUTES}>\s*<System>(?P<system>.*?)</System>\s*"
    rf"<EventData{_ATTRIBUTES}>(?P<data>\s*(?:{_DATUM}\s*)*)</EventData>\s*"
    rf"(?:<RenderingInfo{_ATTRIBUTES}>.*?</RenderingInfo>\s*)?</Event>",
    re.DOTALL,
)
_EVENT_ID = re.compile(rf"<EventID{_ATTRIBUTES}>\s*([0-9]{{1,5}})\s*</EventID>")
_RECORD_ID = re.compile(r"<EventRecordID>\s*([0-9]{1,20})\s*</EventRecordID>")
_TIME = re.compile(r"""<TimeCreated\s+SystemTime=["']([^"'<]*)["']""")
_COMPUTER = re.compile(r"<Computer>([^<]*)</Computer>")
_DATA = re.compile(
    r"""<Data\s+Name=(?:"([^"<]*)"|'([^'<]*)')\s*(?:/>|>([^<]*)</Data>)"""
)
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,4}));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

#: Keys under which readers of EVTX files put the text of an element with attributes.
_TEXTS = ("#text", "Value", "value")


class Repeated(dict[str, object]):
    """A JSON object with a key that stands in it more than once.

    The value of that key is the list of all its values, in order.
    """


#: In the place of EventRecordID where a line has none; the first line has 0.
NO_RECORD_ID = -1


@dataclass(frozen=True, slots=True)
class System:
    """Which line an event is; `time` is when it was written, as the line has it.

    Members that the line does not have are `NO_RECORD_ID` or empty.
    """

    record_id: int = NO_RECORD_ID
    time: str = ""
    computer: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as read: pairs of name and text, also of fields not in the schema.

    Events are equal if their ids and fields are equal; `system` is not compared.
    """

    event_id: int
    fields: tuple[tuple[str, str], ...]
    system: System = field(default=System(), compare=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that cannot be read, and the reason."""

    reason: str


def read_xml(text: str) -> Event | Unreadable:
    """Return the event of a text from its `<Event>` tag to its `</Event>` tag."""
    parts = xml_parts(text)
    return parts if isinstance(parts, Unreadable) else _checked(parts)


def xml_parts(text: str) -> Event | Unreadable:
    """Return what an event's XML says, of events that are not known too."""
    found = _XML.fullmatch(text)
    if found is None:
        return Unreadable(_fault(text))
    numbers = _EVENT_ID.findall(found["system"])
    if len(numbers) != 1:
        return Unreadable(
            "no EventID in it" if not numbers else "EventID is twice in it"
        )
    pairs = [
        (one or other, _restored(referenced(value)))
        for one, other, value in _DATA.findall(found["data"])
    ]
    return Event(int(numbers[0]), tuple(pairs), _xml_system(found["system"]))


def _xml_system(text: str) -> System:
    record_id, time = _RECORD_ID.search(text), _TIME.search(text)
    computer = _COMPUTER.search(text)
    return System(
        int(record_id[1]) if record_id else NO_RECORD_ID,
        time[1] if time else "",
        referenced(computer[1]) if computer else "",
    )


def _fault(text: str) -> str:
    """Return the reason why this XML is not an event."""
    if not text.endswith(XML_END):
        return "the event is cut short: no </Event>"
    if _EVENT_ID.search(text) is None:
        return "no EventID in it"
    return "it is not <Event><System>...</System><EventData>...</EventData></Event>"


def referenced(text: str) -> str:
    """Return text of XML with its references replaced by their characters."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _ENTITIES.get(name, match[0])
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if 0 < code < 0x110000 else match[0]


def read_object(found: Mapping[str, object]) -> Event | Unreadable | None:
    """Return the event of a JSON object, None where it has none of these forms.

    `{"Event": {"System": ..., "EventData": ...}}`, as sysmonlx and readers of EVTX
    files write it; the same without "Event"; and `winlog` of Winlogbeat.
    """
    inner = found.get("Event")
    if isinstance(inner, Mapping):
        is_event = len(found) == 1 or "System" in inner or "EventData" in inner
        if is_event:
            return _of_parts(inner.get("System"), inner.get("EventData"))
    if "System" in found and "EventData" in found:
        return _of_parts(found["System"], found["EventData"])
    if "event_id" in found and isinstance(found.get("event_data"), Mapping):
        system = {
            "EventID": found["event_id"],
            "EventRecordID": found.get("record_id"),
            "Computer": found.get("computer_name"),
        }
        return _of_parts(system, found["event_data"])
    return None


def _of_parts(system: object, data: object) -> Event | Unreadable:
    if not isinstance(system, Mapping) or "EventID" not in system:
        return Unreadable("no Event.System.EventID in it")
    if not isinstance(data, Mapping):
        return Unreadable("no Event.EventData in it")
    if isinstance(data, Repeated) or isinstance(system, Repeated):
        return Unreadable("a field is twice in it")
    number = _number(system["EventID"])
    if number is None:
        return Unreadable("EventID is no number")
    return _of_values(number, data, _object_system(system))


def _object_system(system: Mapping[str, object]) -> System:
    record_id, computer = _number(system.get("EventRecordID")), system.get("Computer")
    return System(
        NO_RECORD_ID if record_id is None else record_id,
        _time_in(system.get("TimeCreated")),
        computer if isinstance(computer, str) else "",
    )


def _time_in(value: object) -> str:
    """Return the time of an element with attributes, however they were turned."""
    for name in ("#attributes", "SystemTime", "@SystemTime", "#text"):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
    return value if isinstance(value, str) else ""


def _of_values(
    number: int, data: Mapping[str, object], system: System
) -> Event | Unreadable:
    if number not in EVENT_BY_ID:
        return Unreadable(f"unknown EventID {number}")
    names = {field.name for field in EVENT_BY_ID[number].fields}
    pairs = []
    for name, value in data.items():
        text = _printed(value)
        if text is not None:
            pairs.append((name, text))
        elif name in names:
            return Unreadable(f"{name} is neither text nor number")
    return _checked(Event(number, tuple(pairs), system))


def _number(value: object) -> int | None:
    """Return an event id: a number, its digits, or an element that has them as text."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in _TEXTS if name in value), None)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,20}", value):
        return int(value)
    return value if type(value) is int else None


def _checked(event: Event) -> Event | Unreadable:
    """Return the event; unreadable without a field of it, or with one field twice."""
    event_id, pairs = event.event_id, event.fields
    if event_id not in EVENT_BY_ID:
        return Unreadable(f"unknown EventID {event_id}")
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        twice = next(n for n in names if sum(n == name for name, _ in pairs) > 1)
        return Unreadable(f"{twice} is twice in it")
    if not any(field.name in names for field in EVENT_BY_ID[event_id].fields):
        return Unreadable(f"no field of event {event_id} in it")
    return event


def _printed(value: object) -> str | None:
    """Return a JSON value as the text that XML has; None for a list or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _restored(value)
    return "-" if value is None else None


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
