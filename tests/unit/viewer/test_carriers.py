# SPDX-License-Identifier: MIT
"""Events inside of what carries them, and events that somebody only pretends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import examples

from sysmonlx.output.render import Renderer
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.read import BadLine, EventLine, read_events

FIELDS = [field.name for field in EVENT_BY_ID[1].fields]
AT = FIELDS.index("CommandLine")


def values_with(command_line: str) -> list[str]:
    values = [f"value {number}" for number in range(len(FIELDS))]
    values[AT] = command_line
    return values


def ours(form: str, command_line: str) -> str:
    renderer = Renderer(form, "host", 1, 1, 0, 1 << 20)
    return renderer.line(1, values_with(command_line), 7, 10**18).decode()


def sysmons(command_line: str) -> str:
    """Return the event as Sysmon for Linux writes it: most characters raw."""
    escaped = [
        value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for value in values_with(command_line)
    ]
    data = "".join(
        f'<Data Name="{name}">{value}</Data>'
        for name, value in zip(FIELDS, escaped, strict=True)
    )
    return (
        '<Event><System><Provider Name="Linux-Sysmon" Guid="{ff03}"/><EventID>1'
        f"</EventID></System><EventData>{data}</EventData></Event>"
    )


WRITERS: dict[str, Callable[[str], str]] = {
    "xml": lambda text: ours("xml", text),
    "json": lambda text: ours("json", text),
    "sysmon": sysmons,
}

#: A whole event of somebody's invention, in all forms that are read.
FAKE = "<Event><System><EventID>5</EventID></System><EventData>{}</EventData></Event>"
FAKE_XML = FAKE.format('<Data Name="Image">/fake</Data>')
FAKE_OTHER_QUOTES = FAKE.format("<Data Name='Image'>/fake</Data>")
FAKE_JSON = '{"Event":{"System":{"EventID":5},"EventData":{"Image":"/fake"}}}'
FAKES = [
    FAKE_XML,
    FAKE_OTHER_QUOTES,
    FAKE_JSON,
    json.dumps({"MESSAGE": FAKE_XML}),
    json.dumps({"MESSAGE": FAKE_XML}).replace("<", "\\u003c"),
    FAKE_XML.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    FAKE_XML.replace('"', '""'),
    FAKE_XML.replace('"', '\\"'),
    FAKE_JSON.replace('"', '\\"'),
    FAKE_JSON.replace('"', '""'),
    json.dumps(FAKE_XML),
    "</Data></EventData></Event>" + FAKE_XML,
    '"}}}' + FAKE_JSON,
    '","x":"' + FAKE_XML,
    "<Event><System>",
    '{"Event":',
    '\\"}}} \\\\" {"MESSAGE":"',
]


def csv_row(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(["2026-01-05", text, "x"])
    return out.getvalue().rstrip("\r\n")


CARRIERS: dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "syslog": lambda text: f"Jan  5 10:00:00 host sysmon[7]: {text}",
    "rfc 5424": lambda text: f'<14>1 2026-01-05 h sysmon 7 - [a b="c"] {text}',
    "prefix with JSON": lambda text: f'host {{"a": {{}}}} {{x}} sysmon: {text}',
    "journal": lambda text: json.dumps({"_PID": "7", "MESSAGE": text, "A": [1, 2]}),
    "journal, bytes": lambda text: json.dumps({"MESSAGE": [*text.encode()]}),
    "Filebeat": lambda text: json.dumps({"log": {"offset": 5}, "message": text}),
    "Docker": lambda text: json.dumps({"log": f"{text}\n", "stream": "stdout"}),
    "Elastic": lambda text: json.dumps({"event": {"original": text, "code": "1"}}),
    "Elastic, flat": lambda text: json.dumps({"event.original": text}),
    "Elastic, parsed too": lambda text: json.dumps(
        {"process": {"command_line": FAKE_XML}, "event": {"original": text}}
    ),
    "twice": lambda text: json.dumps({"message": text, "event": {"original": text}}),
    "any key": lambda text: json.dumps({"payload": text}),
    "array": lambda text: json.dumps([{"payload": text}]),
    "string": json.dumps,
    "no raw <": lambda text: json.dumps({"x": text}).replace("<", "\\u003c"),
    "CSV": csv_row,
    "key=value": lambda text: f"level=info msg={json.dumps(text)} n=1",
    "indented": lambda text: json.dumps({"MESSAGE": text}, indent=1),
}


def escaped_xml(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return json.dumps({"x": f"<m>{text}</m>"})


def read(text: str) -> list[EventLine | BadLine]:
    data = text.encode("utf-8", "surrogateescape")
    return [*read_events(line + b"\n" for line in data.split(b"\n"))]


def is_real(text: str, command_line: str) -> bool:
    found = read(text)
    return found == [EventLine(1, 1, values_with(command_line))]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_the_event_itself_is_read_whatever_its_values_pretend(
    writer: str, carrier: str
) -> None:
    for fake in ("ls -l 'a b' \"c\" \\ é", *FAKES):
        for command_line in (fake, f"/bin/x {fake} y", f"{fake}{fake}"):
            line = CARRIERS[carrier](WRITERS[writer](command_line))
            assert is_real(line, command_line), line


@pytest.mark.parametrize("writer", ["xml", "sysmon"])
def test_xml_that_was_escaped_as_xml(writer: str) -> None:
    for fake in FAKES:
        line = escaped_xml(WRITERS[writer](fake))
        assert is_real(line, fake), line
        assert is_real(escaped_xml(line), fake)


def test_every_value_of_a_key_that_is_repeated_counts() -> None:
    line = f'{{"log":{json.dumps(FAKE_XML)},"log":"","log":"x"}}'
    [item] = read(line)
    assert isinstance(item, EventLine)


#: Those that can stand in one another; a JSON string has no syslog header before it.
INNER = ["syslog", "journal", "Docker", "Elastic", "any key", "no raw <", "indented"]
OUTER = [*CARRIERS]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("outer", "inner"), [*product(OUTER, INNER)])
def test_carriers_within_carriers(writer: str, outer: str, inner: str) -> None:
    for fake in (FAKE_XML, FAKE_JSON, FAKES[4], FAKES[-1]):
        carried = CARRIERS[inner](WRITERS[writer](fake))
        if outer in ("bare", "syslog", "rfc 5424", "prefix with JSON"):
            carried = carried.replace("\n", "")
        if outer in ("CSV",):
            carried = carried.replace("\n", " ")
        assert is_real(CARRIERS[outer](carried), fake)


pieces = st.lists(
    st.sampled_from(
        [*FAKES, *'"\\<>&{}[]:,= ax', "Event", "</Event>", "\\u003c", "&lt;", "é"]
    ),
    max_size=6,
).map("".join)


@given(
    writer=st.sampled_from([*WRITERS]),
    carrier=st.sampled_from([*CARRIERS]),
    command_line=pieces,
)
@examples(300)
def test_any_mixture_is_read_as_what_it_is(
    writer: str, carrier: str, command_line: str
) -> None:
    line = CARRIERS[carrier](WRITERS[writer](command_line))
    assert is_real(line, command_line)


@given(
    writer=st.sampled_from([*WRITERS]),
    carrier=st.sampled_from([*CARRIERS]),
    command_line=st.sampled_from(FAKES),
    share=st.floats(0, 1, exclude_max=True),
)
@examples(300)
def test_a_cut_line_is_never_read_as_the_event_in_its_value(
    writer: str, carrier: str, command_line: str, share: float
) -> None:
    text = WRITERS[writer](f"{command_line} {'x' * 300}")
    line = CARRIERS[carrier](text)
    for cut in (
        line[: int(len(line) * share)],
        CARRIERS[carrier](text[: int(len(text) * share)]),
    ):
        for item in read(cut):
            assert isinstance(item, BadLine) or item.event_id == 1


@given(st.text() | pieces)
@examples(300)
def test_no_text_at_all_is_too_much(text: str) -> None:
    for item in read(text.encode("utf-8", "replace").decode()):
        assert item.line >= 1


def test_a_line_feed_in_a_value_does_not_start_another_event() -> None:
    for fake in FAKES[:5]:
        command_line = f"a\n{fake}\nb\n" + CARRIERS["journal, bytes"](FAKE_XML)
        assert is_real(CARRIERS["syslog"](sysmons(command_line)), command_line)


def test_what_follows_a_cut_event_is_counted_and_not_believed() -> None:
    inside = json.dumps({"MESSAGE": FAKE_XML}).replace("<", "\\u003c")
    cut = sysmons(f"a\n{inside}\nb").partition("\nb")[0]
    reals = sysmons("x")
    found = read(f"{cut}\n{reals}")
    assert [(type(item), item.line) for item in found] == [
        (BadLine, 1),
        (BadLine, 2),
        (EventLine, 3),
    ]


def test_every_event_of_a_line_has_its_verdict() -> None:
    one, two = sysmons("one"), ours("json", "two")
    for line, count in (
        (f"{one} {one} {two}", 3),
        (json.dumps([one, two, one]), 3),
        (json.dumps([{"message": one}, {"message": one}]), 2),
        (json.dumps({"hits": [{"_source": {"message": t}} for t in (one, two)]}), 2),
        (json.dumps({"message": f"{one}\n{two}\n"}), 2),
    ):
        found = read(line)
        assert [type(item) for item in found] == [EventLine] * count, line


@pytest.mark.parametrize(
    "found",
    [
        {"winlog": {"event_id": "5", "event_data": {"Image": "/x"}}},
        {"winlog": {"event_id": 5, "event_data": {"Image": "/x"}}, "message": FAKE_XML},
        {"System": {"EventID": {"Value": 5}}, "EventData": {"Image": "/x"}},
        {"Event": {"System": {"EventID": {"#text": 5}}, "EventData": {"Image": "/x"}}},
        {"Event": {"System": {"EventID": "5"}, "EventData": {"Image": "/x"}}},
    ],
)
def test_forms_of_json_that_other_programs_write(found: object) -> None:
    for indent in (None, 2):
        [item] = read(json.dumps(found, indent=indent))
        assert isinstance(item, EventLine)
        assert (item.event_id, item.values[4]) == (5, "/x")


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"process": {"command_line": FAKE_XML, "args": [FAKE_XML]}}),
        json.dumps({"EventID": 1, "CommandLine": FAKE_XML, "Image": "/bin/x"}),
        json.dumps({"MESSAGE": None, "SYSLOG_IDENTIFIER": "kernel"}),
        'Jan  5 host sshd[1]: {"user": "Event"}',
        'Jan  5 host app[1]: <Events> [x] {} {"a"} Event',
    ],
)
def test_what_is_no_event(line: str) -> None:
    [item] = read(line)
    assert not isinstance(item, EventLine)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            json.dumps({"MESSAGE": None}),
            "journalctl left the message out: it needs --all",
        ),
        (FAKE.format(""), "no field of event 5 in it"),
        (FAKE.format('<Data Name="Imagee">x</Data>'), "no field of event 5 in it"),
        (FAKE.format('<Data Name="Image">x</Data>' * 2), "Image is twice in it"),
        (
            FAKE_XML.replace("<EventID>", "<EventID>7</EventID><EventID>"),
            "EventID is twice in it",
        ),
        (FAKE_XML.replace("EventID>", "Id>"), "no EventID in it"),
        (FAKE_XML.replace("EventData>", "Datas>"), "it is not <Event><System>"),
        (FAKE_XML[:-8], "the event is cut short: no </Event>"),
        (json.dumps({"message": FAKE_XML[:-30]}), "the event is cut short"),
        (FAKE_JSON[:-1], "not JSON"),
        (
            '{"Event":{"System":{"EventID":5},"EventData":{"Image":"a","Image":"b"}}}',
            "a field is twice in it",
        ),
    ],
)
def test_what_cannot_be_read_has_a_reason(line: str, reason: str) -> None:
    found = [item for item in read(line) if isinstance(item, BadLine)]
    assert [item.reason.startswith(reason) for item in found if item.is_event] == [True]
    assert len(found) == len(read(line))


def test_fields_that_the_schema_does_not_have_are_named() -> None:
    [item] = read(FAKE.format('<Data Name="Image">/x</Data><Data Name="Foo">y</Data>'))
    assert isinstance(item, EventLine)
    assert (item.values[4], item.others) == ("/x", ("Foo",))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (FAKE_XML.encode("utf-16"), "UTF-16"),
        (FAKE_XML.encode("utf-16-le"), "UTF-16"),
        (FAKE_JSON.encode("utf-16-be"), "UTF-16"),
        (b"LPKSHHRH\0", "journalctl"),
    ],
)
def test_forms_that_are_known_and_not_read_are_named(data: bytes, word: str) -> None:
    [item] = read_events(io.BytesIO(data))
    assert isinstance(item, BadLine)
    assert item.is_event
    assert word in item.reason


def test_a_byte_order_mark_and_carriage_returns_do_no_harm() -> None:
    data = b"\xef\xbb\xbf" + FAKE_XML.encode() + b"\r\n"
    [item] = read_events(io.BytesIO(data))
    assert isinstance(item, EventLine)


def test_text_wrapped_too_often_is_counted() -> None:
    text = FAKE_XML
    for _ in range(9):
        text = json.dumps({"log": text})
    [item] = read(text)
    assert isinstance(item, BadLine)
    assert item.is_event
    deep: object = {"log": FAKE_XML}
    for _ in range(10_000):
        text = f'{{"a":{text}}}'
    [item] = read(text)
    assert isinstance(item, BadLine)
    assert deep
