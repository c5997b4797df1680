# SPDX-License-Identifier: MIT
"""Events to lines: Sysmon's XML, or JSON with the same values.

For each event type a function is generated once, on first use: a single f-string that
holds all of the line but the values. `Renderer.source` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from sysmonlx.catalogue import EVENT_BY_ID, EventType, Field, FieldType
from sysmonlx.escape import json_text, limited, shortened, visible, xml_text

PROVIDER = "Linux-Sysmon"
PROVIDER_GUID = "{ff032593-a8d3-4f13-b0d6-01fc615a0f97}"
CHANNEL = "Linux-Sysmon/Operational"
KEYWORDS = "0x8000000000000000"

#: The smallest limit: every event fits with its strings cut to `...`.
MIN_LIMIT_BYTES = 2048

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

#: values, record id, SystemTime, what comes before, whether no value needs an escape
Template = Callable[[Sequence[str], int, str, str, bool], str]

#: Event id, the fields' texts in catalogue order, whether all are `texts.is_plain`.
Event = tuple[int, Sequence[str], bool]

#: literal text, the expression between, literal text
Part = tuple[str, str, str]


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
        self._templates: dict[int, Template] = {}
        self._second = -1
        self._date = ""

    def line(
        self, event_id: int, values: Sequence[str], record_id: int, wall_ns: int
    ) -> bytes:
        """Return the event as one line of UTF-8, without the newline.

        `values` are the fields' texts in catalogue order; `wall_ns` is the time of
        formatting, in nanoseconds since the epoch.
        """
        return self.lines([(event_id, values, False)], record_id, wall_ns)[0]

    def lines(
        self,
        events: Iterable[Event],
        first_record_id: int,
        wall_ns: int,
        before: str = "",
    ) -> list[bytes]:
        """Return the lines of events that are numbered in sequence.

        Each begins with `before`, which does not count for the limit.
        """
        stamp = self._stamp(wall_ns)
        templates, sizes = self._templates, self._sizes
        limit = self._limit_bytes + len(before)
        lines = []
        record_id = first_record_id
        for event_id, values, is_plain in events:
            template = templates.get(event_id) or self._compiled(event_id)
            if event_id in sizes:
                values = _cut(values, sizes[event_id])
            line = template(values, record_id, stamp, before, is_plain).encode()
            if len(line) > limit:
                shorter = self._fitted(event_id, values, len(line) - len(before))
                line = template(shorter, record_id, stamp, before, True).encode()
            lines.append(line)
            record_id += 1
        return lines

    def _stamp(self, wall_ns: int) -> str:
        second, fraction_ns = divmod(wall_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{fraction_ns:09d}Z"

    def source(self, event_id: int) -> str:
        """Return the Python source of the function that renders this event."""
        event = EVENT_BY_ID[event_id]
        if self._form == "xml":
            parts = _xml_parts(event, *self._system)
            return _source(event, parts, ("&", "<", ">", "\\x"), "xml_value")
        parts = _json_parts(event, *self._system)
        return _source(event, parts, ('"', "\\"), "json_value")

    def _compiled(self, event_id: int) -> Template:
        names = {
            "xml_value": _xml_value,
            "json_value": _json_value,
            "number": _number,
            "boolean": _boolean,
        }
        label = f"<{self._form} of event {event_id}>"
        exec(compile(self.source(event_id), label, "exec"), names)
        template: Template = names["render"]  # type: ignore[assignment]  # exec made it
        self._templates[event_id] = template
        return template

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
        return escaped


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


def _cut(values: Sequence[str], limits: tuple[tuple[int, int], ...]) -> list[str]:
    cut = list(values)
    for at, size_bytes in limits:
        cut[at] = limited(cut[at], size_bytes)
    return cut


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


def _xml_parts(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[Part]:
    before = (
        f'<Event><System><Provider Name="{PROVIDER}" Guid="{PROVIDER_GUID}"/>'
        f"<EventID>{event.id}</EventID><Version>{event.version}</Version>"
        f"<Level>{_LEVELS[event.level]}</Level><Task>{event.id}</Task><Opcode>0</Opcode>"
        f'<Keywords>{KEYWORDS}</Keywords><TimeCreated SystemTime="'
    )
    after = (
        "</EventRecordID><Correlation/>"
        f'<Execution ProcessID="{pid}" ThreadID="{tid}"/><Channel>{CHANNEL}</Channel>'
        f"<Computer>{_xml_value(computer)}</Computer>"
        f'<Security UserId="{uid}"/></System><EventData>'
    )
    return [
        (before, "stamp", '"/>'),
        ("<EventRecordID>", "record_id", after),
        *((f'<Data Name="{f.name}">', f.name, "</Data>") for f in event.fields),
        ("</EventData></Event>", "", ""),
    ]


def _json_parts(
    event: EventType, computer: str, pid: int, tid: int, uid: int
) -> list[Part]:
    before = (
        '{"Event":{"System":{"Provider":{"#attributes":'
        f'{{"Name":"{PROVIDER}","Guid":"{PROVIDER_GUID}"}}}},'
        f'"EventID":{event.id},"Version":{event.version},"Level":{_LEVELS[event.level]},'
        f'"Task":{event.id},"Opcode":0,"Keywords":"{KEYWORDS}",'
        '"TimeCreated":{"#attributes":{"SystemTime":"'
    )
    after = (
        ',"Correlation":null,"Execution":{"#attributes":'
        f'{{"ProcessID":{pid},"ThreadID":{tid}}}}},'
        f'"Channel":"{CHANNEL}","Computer":"{_json_value(computer)}",'
        f'"Security":{{"#attributes":{{"UserId":"{uid}"}}}}}},"EventData":{{'
    )
    return [
        (before, "stamp", '"}},'),
        ('"EventRecordID":', "record_id", after),
        _json_field(event.fields[0], ""),
        *(_json_field(field, ",") for field in event.fields[1:]),
        ("}}}", "", ""),
    ]


def _json_field(field: Field, separator: str) -> Part:
    name = f'{separator}"{field.name}":'
    if field.type in _NUMBERS:
        return (name, f"number({field.name})", "")
    if field.type is FieldType.BOOLEAN:
        return (name, f"boolean({field.name})", "")
    return (name + '"', field.name, '"')


def _source(
    event: EventType, parts: list[Part], marks: tuple[str, ...], escape: str
) -> str:
    """Return a function in Python that puts values between the literals of `parts`.

    Most values need no escape. One look at all the foreign ones, joined, tells: no
    control characters, none of `marks`.
    """
    names = ", ".join(field.name for field in event.fields)
    foreign = [
        field.name
        for field in event.fields
        if field.type is FieldType.STRING and field.name not in _OURS
    ]
    strings = ", ".join(foreign)
    joined = "".join(f"{{{name}}}" for name in foreign)
    marked = " or ".join(f"{mark!r} in foreign" for mark in marks)
    lines = "\n".join(f"        f'{_f_string(*part)}'" for part in parts)
    return (
        "def render(values, record_id, stamp, before, is_ready):\n"
        f"    {names} = values\n"
        "    if not is_ready:\n"
        f"        foreign = f'{joined}'\n"
        f"        if not foreign.isprintable() or {marked}:\n"
        f"            {strings}, = map({escape}, ({strings},))\n"
        f"    return (\n        f'{{before}}'\n{lines}\n    )\n"
    )


def _f_string(before: str, expression: str, after: str) -> str:
    """Return the inside of a single-quoted f-string."""
    value = f"{{{expression}}}" if expression else ""
    return f"{_literal(before)}{value}{_literal(after)}"


def _literal(text: str) -> str:
    for old in "\\", "'":
        text = text.replace(old, "\\" + old)
    return text.replace("{", "{{").replace("}", "}}")
