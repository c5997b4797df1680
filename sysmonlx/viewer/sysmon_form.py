# SPDX-License-Identifier: MIT
"""Sysmon for Linux's sysmonLogView: what it reads, what it prints.

One thing differs: characters that a terminal obeys, or does not show, are spelt out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.event_text import XML_END, Event, xml_parts
from sysmonlx.viewer.moments import line_moment
from sysmonlx.viewer.options import Options
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.select import in_times
from sysmonlx.viewer.terminal import safe

_IDENT = b" sysmon"
_START = b"<Event>"

NOT_PARSED = "XML parse failed"


def read_lines(lines: Iterable[bytes]) -> Iterator[Event | None]:
    """Yield the events of syslog lines, None for XML that cannot be parsed.

    A line counts if it has ` sysmon` and `<Event>` behind that; the XML goes on to the
    end of the line. Events of unknown ids count too, those without an id, a record id
    or data do not.
    """
    for line in lines:
        ident = line.find(_IDENT)
        start = line.find(_START, ident)
        if ident < 0 or start < 0:
            continue
        text = line[start:].strip().decode("utf-8", "surrogateescape")
        event = xml_parts(text)
        if isinstance(event, Event):
            if event.system.record_id > 0:
                yield event
        elif not text.endswith(XML_END):
            yield None


def takes(options: Options, event: Event) -> bool:
    """Return whether the options ask for an event."""
    last = options.last_record
    record_id = event.system.record_id
    if options.event_ids and event.event_id not in options.event_ids:
        return False
    if record_id < options.first_record or (last is not None and record_id > last):
        return False
    if not in_times(options, line_moment(event.system.time)):
        return False
    return all(
        name not in options.equal or value in options.equal[name]
        for name, value in event.fields
    )


def printed(options: Options, event_id: int, pairs: Iterable[tuple[str, str]]) -> str:
    """Return an event's lines: its name, then a line for each field."""
    known = EVENT_BY_ID.get(event_id)
    name = known.name if known and event_id != 255 else "UNKNOWN_EVENT"
    shown = options.shown.get(event_id)
    lines = [f"Event {name}"]
    for field, value in pairs:
        if shown is None or field in shown:
            lines.append(f"\t{safe(field)}: {safe(value) or '--NULL--'}")
    return "\n".join(lines) + ("\n\n" if options.has_blank_lines else "\n")


def pairs_of(event: EventLine) -> Iterator[tuple[str, str]]:
    """Yield names and values of an event that was read: the schema's, then ours."""
    fields = EVENT_BY_ID[event.event_id].fields
    yield from zip((each.name for each in fields), event.values, strict=True)
    yield from event.ours.items()


def settings(options: Options) -> str:
    """Return what -T prints."""
    rows: Sequence[tuple[str, object]] = (
        ("Event ids", ", ".join(map(str, sorted(options.event_ids))) or "all"),
        ("Record ids", f"{options.first_record} to {_or_end(options.last_record)}"),
        ("Times", f"{options.start or 'the start'} to {_or_end(options.end)}"),
        ("Values", _listed(options.equal.items())),
        ("Tests", f"{len(options.words)}"),
        ("Shown fields", _listed(options.shown.items())),
        ("Empty lines", "yes" if options.has_blank_lines else "no"),
    )
    return "".join(f"{name + ':':<14}{value}\n" for name, value in rows)


def _or_end(value: object) -> object:
    return "the end" if value in (None, "") else value


def _listed(items: Iterable[tuple[object, Iterable[str]]]) -> str:
    parts = (f"{safe(str(key))}={safe(','.join(sorted(v)))}" for key, v in items)
    return "; ".join(parts) or "all"
