# SPDX-License-Identifier: MIT
"""Templates: lines without their values, cut into pieces where values belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sysmonlx.output.escape import json_value, xml_value
from sysmonlx.schema.event_types import EventType, Field, FieldType

PROVIDER = "Linux-Sysmon"
PROVIDER_GUID = "{ff032593-a8d3-4f13-b0d6-01fc615a0f97}"
CHANNEL = "Linux-Sysmon/Operational"
KEYWORDS = "0x8000000000000000"

_LEVELS = {"Informational": 4, "Error": 2}

_NUMBERS = (FieldType.UINT16, FieldType.UINT32, FieldType.PID)


class Template(NamedTuple):
    """A line in pieces; joined, they are the line.

    `pieces[0]` is filled in once for a batch: `start`, TimeCreated, `after_time`.
    `pieces[1]` is for the record id, `pieces[3::2]` are for the values; those between
    are constant. `foreign` are the numbers of values that other programs may have
    chosen, `numbers` of values that JSON shows without quotes. The first value has
    number 0.
    """

    start: str
    after_time: str
    pieces: list[str]
    foreign: tuple[int, ...]
    numbers: tuple[int, ...]


def template_of(
    event: EventType, form: str, system: tuple[str, int, int, int]
) -> Template:
    """Return the template of an event type.

    `form` is one of those of `render.Renderer`; `system` has computer, pid, tid and uid
    of the daemon.
    """
    literals = _LITERALS[form](event, *system)
    start, after_time, *between = literals
    pieces = [""]
    for literal in between:
        pieces += ("", literal)

    def places(*types: FieldType) -> tuple[int, ...]:
        return tuple(at for at, each in enumerate(event.fields) if each.type in types)

    foreign = tuple(
        at for at in places(FieldType.STRING) if not event.fields[at].is_made_here
    )
    return Template(start, after_time, pieces, foreign, places(*_NUMBERS))


def template_with(
    template: Template, values: Sequence[str], own: Sequence[int]
) -> Template:
    """Return a template in which values stand already, all but those at `own`.

    `values` are escaped; `own` has positions in ascending order.
    """
    pieces = template.pieces[:2]
    text = ""
    for at, value in enumerate(values):
        text += template.pieces[2 + 2 * at]
        if at in own:
            pieces += (text, "")
            text = ""
        else:
            text += value
    foreign = tuple(n for n, at in enumerate(own) if at in template.foreign)
    pieces.append(text + template.pieces[-1])
    return template._replace(pieces=pieces, foreign=foreign)


def _xml_literals(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[str]:
    """Return the constant text before, between and after time, record id and values."""
    return [
        f'<Event><System><Provider Name="{PROVIDER}" Guid="{PROVIDER_GUID}"/>'
        f"<EventID>{event.id}</EventID><Version>{event.version}</Version>"
        f"<Level>{_LEVELS[event.level]}</Level><Task>{event.id}</Task><Opcode>0</Opcode>"
        f'<Keywords>{KEYWORDS}</Keywords><TimeCreated SystemTime="',
        '"/><EventRecordID>',
        "</EventRecordID><Correlation/>"
        f'<Execution ProcessID="{pid}" ThreadID="{tid}"/><Channel>{CHANNEL}</Channel>'
        f"<Computer>{xml_value(computer)}</Computer>"
        f'<Security UserId="{uid}"/></System><EventData>'
        f'<Data Name="{event.fields[0].name}">',
        *(f'</Data><Data Name="{field.name}">' for field in event.fields[1:]),
        "</Data></EventData></Event>",
    ]


def _velociraptor_literals(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[str]:
    """Return the texts of JSON as Velociraptor reads it from a socket.

    Its artifact is Linux.Sysinternals.SysmonEvent. The JSON is that of `json`, with
    attributes as plain members.
    """
    system = (
        f',"Correlation":null,"Execution":{{"ProcessID":{pid},"ThreadID":{tid}}},'
        f'"Channel":"{CHANNEL}","Computer":"{json_value(computer)}",'
        f'"Security":{{"UserId":"{uid}"}}}},"EventData":{{'
    )
    begin = (
        f'{{"Event":{{"System":{{"Provider":{{"Name":"{PROVIDER}","Guid":"{PROVIDER_GUID}"}},'
        f'"EventID":{event.id},"Version":{event.version},'
        f'"Level":{_LEVELS[event.level]},"Task":{event.id},"Opcode":0,'
        f'"Keywords":"{KEYWORDS}","TimeCreated":{{"SystemTime":"'
    )
    return [begin, '"},"EventRecordID":', *_json_members(event, system, "}}}")]


def _json_members(event: EventType, begin: str, end: str) -> list[str]:
    """Return the texts around the values: `begin` is before all, `end` behind them."""
    quotes = [_json_quote(field) for field in event.fields]
    names = [
        f'"{field.name}":{quote}'
        for field, quote in zip(event.fields, quotes, strict=True)
    ]
    return [
        begin + names[0],
        *(f"{quote},{name}" for quote, name in zip(quotes, names[1:], strict=False)),
        quotes[-1] + end,
    ]


def _json_literals(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[str]:
    """Return the constant text before, between and after time, record id and values."""
    system = (
        ',"Correlation":null,"Execution":{"#attributes":'
        f'{{"ProcessID":{pid},"ThreadID":{tid}}}}},'
        f'"Channel":"{CHANNEL}","Computer":"{json_value(computer)}",'
        f'"Security":{{"#attributes":{{"UserId":"{uid}"}}}}}},"EventData":{{'
    )
    return [
        '{"Event":{"System":{"Provider":{"#attributes":'
        f'{{"Name":"{PROVIDER}","Guid":"{PROVIDER_GUID}"}}}},'
        f'"EventID":{event.id},"Version":{event.version},"Level":{_LEVELS[event.level]},'
        f'"Task":{event.id},"Opcode":0,"Keywords":"{KEYWORDS}",'
        '"TimeCreated":{"#attributes":{"SystemTime":"',
        '"}},"EventRecordID":',
        *_json_members(event, system, "}}}"),
    ]


def _json_quote(field: Field) -> str:
    """Return what stands around a value in JSON.

    Booleans are texts, as in XML: what reads both compares "true" with "true".
    """
    return "" if field.type in _NUMBERS else '"'


#: By form.
_LITERALS = {
    "xml": _xml_literals,
    "json": _json_literals,
    "velociraptor": _velociraptor_literals,
}
