# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from support.strategies import examples, randoms

from sysmonlx.event import Shape
from sysmonlx.kernel_text import is_plain, is_plain_text
from sysmonlx.output.render import Renderer
from sysmonlx.policy import LEAST_LIMIT_BYTES
from sysmonlx.processes.launches import pickers
from sysmonlx.schema.event_types import EventType, FieldType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS

own_of_process, own_of_sibling = pickers(())

WALL_NS = 1767607205_204811123
GUID = "{c30c9345-8ba5-695b-b805-bfc8d8550000}"
OURS = {
    "UtcTime": "2026-01-05 10:00:05.201",
    "CreationUtcTime": "2026-01-05 10:00:05.201",
    "PreviousCreationUtcTime": "2026-01-05 10:00:05.201",
    "Hashes": "SHA256=" + 64 * "0",
    "Hash": "SHA256=" + 64 * "0",
    "ConfigurationFileHash": "SHA256=" + 64 * "0",
    "IntegrityLevel": "no level",
}
TYPED = {
    FieldType.GUID: GUID,
    FieldType.BOOLEAN: "false",
    FieldType.HEX_INT32: "0xffffffff",
    FieldType.UINT16: "65535",
}

HOSTILE = (
    "a&<>\"'\\ \\x0a \\x41 \\x5c \t\n\r\x1b\x00\x7f\x85 \u2028 é 😀 ]]> <!-- {x} "
    "\udcff\udcc3 \ud800 \ufffe \uffff </Data></EventData></Event>"
)

PLAIN = "".join(chr(byte) for byte in range(256) if is_plain(bytes([byte])))

#: Any bytes that a file may be named, as decoded from the kernel.
names = st.binary(max_size=200).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
texts = st.one_of(names, st.text(alphabet="\\x05c7fa&<\n\udcff é", max_size=60))


def renderer(form: str = "xml", limit_bytes: int = 65535, **options: Any) -> Renderer:
    return Renderer(form, "host1", 811, 811, 0, limit_bytes, **options)


def values_with(event: EventType, text: str) -> list[str]:
    """Return values of an event whose foreign fields all hold `text`."""
    return [
        OURS.get(field.name, text)
        if field.type is FieldType.STRING
        else TYPED.get(field.type, "4294967295")
        for field in event.fields
    ]


def data(line: bytes) -> dict[str, str]:
    """Return the fields of an XML line, read by a strict parser."""
    items = etree.fromstring(line)[1]
    return {str(item.get("Name")): item.text or "" for item in items}


def restored(text: str) -> bytes:
    r"""Undo `\xNN`: the bytes that the value had."""
    escape = r"\\x([01][0-9a-f]|5c|7f|[89a-f][0-9a-f])"
    parts = re.split(escape, text)
    return b"".join(
        bytes.fromhex(part) if at % 2 else part.encode()
        for at, part in enumerate(parts)
    )


def json_line(line: bytes) -> dict[str, Any]:
    return dict(json.loads(line)["Event"]["EventData"])


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
@pytest.mark.parametrize(
    ("limit_bytes", "repeat"), [(65535, 1), (LEAST_LIMIT_BYTES, 20), (8096, 20)]
)
def test_hostile_values_leave_one_well_formed_line_within_the_limit(
    event: EventType, limit_bytes: int, repeat: int
) -> None:
    values = values_with(event, HOSTILE * repeat)
    line = renderer("xml", limit_bytes).line(event.id, values, 2**64 - 1, WALL_NS)
    assert len(line) <= limit_bytes
    assert len(line.decode().splitlines()) == 1
    assert list(data(line)) == [field.name for field in event.fields]
    line = renderer("json", limit_bytes).line(event.id, values, 2**64 - 1, WALL_NS)
    assert len(line) <= limit_bytes
    assert len(line.decode().splitlines()) == 1
    assert list(json_line(line)) == [field.name for field in event.fields]


@examples(200)
@given(texts)
def test_no_value_is_changed_beyond_recovery(text: str) -> None:
    values = ["-", OURS["UtcTime"], GUID, "1", text, "root"]
    image = data(renderer().line(5, values, 0, WALL_NS))["Image"]
    assert restored(image) == text.encode("utf-8", "surrogateescape")
    assert json_line(renderer("json").line(5, values, 0, WALL_NS))["Image"] == image


def test_longest_values_shrink_to_one_size_and_short_ones_stay() -> None:
    values = ["-", OURS["UtcTime"], GUID, "1", "/" * 60000, "u" * 50000]
    short = ["rule", OURS["UtcTime"], GUID, "1", "/" * 60000, "u" * 1000]
    both = data(renderer("xml").line(5, values, 0, WALL_NS))
    one = data(renderer("xml", 60000).line(5, short, 0, WALL_NS))
    assert len(both["Image"]) == len(both["User"]) > 32000
    assert one["RuleName"] == "rule"
    assert one["User"] == "u" * 1000
    assert len(one["Image"]) > 58000


@pytest.mark.parametrize("form", ["xml", "json"])
def test_work_for_a_hostile_line_is_bounded(form: str) -> None:
    values = values_with(EVENTS[1], "a\udcff" * 8192)
    hostile = renderer(form)
    hostile.line(EVENTS[1].id, values_with(EVENTS[1], "-"), 0, WALL_NS)
    start_s = time.process_time()
    hostile.line(EVENTS[1].id, values, 0, WALL_NS)
    assert time.process_time() - start_s < 0.5


@pytest.mark.parametrize(
    ("size", "text", "printed"),
    [
        (11, "/usr/bin/ls", "/usr/bin/ls"),
        (10, "/usr/bin/ls", "/usr/bi..."),
        (3, "/usr/bin/ls", "..."),
        (2, "/usr/bin/ls", "-"),
        (1, "/usr/bin/ls", "-"),
        (1, "x", "x"),
        (6, "éééé", "é..."),
        (8, "éééé", "éééé"),
        (6, "a&&&&&&&", "a&&..."),
        (5, "\udcff\udcfe\udcfd\udcfc\udcfb\udcfa", r"\xff\xfe..."),
        (4, "😀😀", "..."),
        (7, "😀😀", "😀..."),
    ],
)
def test_field_size_counts_bytes_of_the_value(
    size: int, text: str, printed: str
) -> None:
    sized = renderer(field_sizes=[("Image", 1), ("Image", size)])
    values = ["-", OURS["UtcTime"], GUID, "1", text, "/usr/bin/ls"]
    fields = data(sized.line(5, values, 0, WALL_NS))
    assert fields["Image"] == printed
    assert fields["User"] == "/usr/bin/ls"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("SourcePort", "443", 443),
        ("SourcePort", "0", 0),
        ("SourcePort", "007", "007"),
        ("SourcePort", "-", "-"),
        ("SourcePort", "", ""),
        ("SourcePort", "\u0661", "\u0661"),
        ("ProcessId", "4242", 4242),
        ("Initiated", "true", "true"),
        ("Initiated", "false", "false"),
        ("Initiated", "-", "-"),
        ("SourceIp", "10", "10"),
        ("User", "true", "true"),
    ],
)
def test_json_has_numbers_only_where_the_schema_has_them(
    field: str, text: str, value: object
) -> None:
    event = next(event for event in EVENTS if event.id == 3)
    values = values_with(event, "-")
    values[[item.name for item in event.fields].index(field)] = text
    assert json_line(renderer("json").line(3, values, 0, WALL_NS))[field] == value


def test_system_time_has_nine_digits_and_follows_the_clock() -> None:
    clock = renderer()
    values = values_with(EVENTS[0], "-")
    lines = [
        clock.line(EVENTS[0].id, values, 0, wall_ns).decode()
        for wall_ns in (WALL_NS, 1767607206_000000001, WALL_NS)
    ]
    times = [line.split('SystemTime="')[1].split('"')[0] for line in lines]
    assert times == [
        "2026-01-05T10:00:05.204811123Z",
        "2026-01-05T10:00:06.000000001Z",
        "2026-01-05T10:00:05.204811123Z",
    ]


def test_host_name_is_escaped_too() -> None:
    named = Renderer("xml", "h<{1}>'\\", 1, 1, 0)
    line = named.line(EVENTS[0].id, values_with(EVENTS[0], "-"), 0, WALL_NS)
    assert etree.fromstring(line).findtext("System/Computer") == "h<{1}>'\\"
    named = Renderer("json", "h\"{1}'\\", 1, 1, 0)
    line = named.line(EVENTS[0].id, values_with(EVENTS[0], "-"), 0, WALL_NS)
    assert json.loads(line)["Event"]["System"]["Computer"] == "h\"{1}'\\"


@pytest.mark.parametrize(
    ("form", "limit_bytes"), [("yaml", 65535), ("xml", LEAST_LIMIT_BYTES - 1)]
)
def test_impossible_settings_are_refused(form: str, limit_bytes: int) -> None:
    with pytest.raises(ValueError, match=r"form|bytes"):
        Renderer(form, "host1", 1, 1, 0, limit_bytes)


def plain_text(chance: Random) -> str:
    return "".join(chance.choices(PLAIN, k=chance.choice([1, 2, 20, *range(3, 20)])))


@pytest.mark.parametrize("form", ["xml", "json"])
@given(chance=randoms())
@examples(60)
def test_plain_events_are_the_same_unsearched(form: str, chance: Random) -> None:
    assert len(PLAIN) == 95 - len('&<>"\\')
    events = [
        (event.id, [plain_text(chance) for _ in event.fields])
        for event in chance.choices(EVENTS, k=chance.randint(0, 4))
    ]
    unsearched = (
        renderer(form)
        .lines([(*each, True, None) for each in events], 7, WALL_NS)
        .split()
    )
    searched = (
        renderer(form)
        .lines([(*each, False, None) for each in events], 7, WALL_NS)
        .split()
    )
    assert unsearched == searched


def test_lines_of_a_batch_have_their_own_values_and_numbers() -> None:
    values = ["-"] * len(EVENT_BY_ID[5].fields)
    events = [(5, [str(number), *values[1:]], True, None) for number in range(3)]
    for before in ("", "<14>now "):
        lines = renderer().lines(events, 10, WALL_NS, before).split()
        assert all(line.startswith(before.encode()) for line in lines)
        roots = [etree.fromstring(line[len(before) :]) for line in lines]
        numbers = [root[0].findtext("EventRecordID") for root in roots]
        assert numbers == ["10", "11", "12"]
        names = [root[1][0].text for root in roots]
        assert names == ["0", "1", "2"]


@pytest.mark.parametrize("form", ["xml", "json"])
def test_values_that_recur_are_printed_alike_however_many_there_are(form: str) -> None:
    texts = [f"<{number}>&\n\\x41" for number in range(700)] + ["<" * 3000]
    values = [values_with(EVENTS[0], text) for text in texts]
    one = renderer(form)
    first = [one.line(EVENTS[0].id, each, 7, WALL_NS) for each in values]
    again = [one.line(EVENTS[0].id, each, 7, WALL_NS) for each in reversed(values)]
    fresh = [renderer(form).line(EVENTS[0].id, each, 7, WALL_NS) for each in values]
    assert first == again[::-1] == fresh
    assert len(set(first)) == len(texts)


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("sizes", [(), [("ParentCommandLine", 9), ("CommandLine", 7)]])
@pytest.mark.parametrize("limit_bytes", [65535, LEAST_LIMIT_BYTES])
@given(
    pick=st.sampled_from([own_of_process, own_of_sibling]),
    alike=st.lists(texts, min_size=23, max_size=23),
    owned=st.lists(st.lists(texts, min_size=10, max_size=10), min_size=1, max_size=4),
)
@example(own_of_process, [""] * 23, [[*[""] * 9, "\0"]])
@examples(12)
def test_events_of_one_shape_are_printed_like_any(
    form: str,
    sizes: Sequence[tuple[str, int]],
    limit_bytes: int,
    pick: Callable[[Sequence[Any]], tuple[Any, ...]],
    alike: list[str],
    owned: list[list[str]],
) -> None:
    shape = Shape(pick, all(is_plain_text(each) for each in alike))
    places = pick(range(23))
    events: list[Any] = []
    for own in owned:
        values = values_with(EVENT_BY_ID[1], "")
        for at, text in (*zip(places, own, strict=False), *enumerate(alike)):
            values[at] = values[at] or text
        plain = all(is_plain_text(values[at]) for at in places)
        events.append((1, values, plain, shape))
    made = Renderer(form, "host1", 1, 1, 0, limit_bytes, sizes)
    with_shape = made.lines(events, 7, WALL_NS, "<14>now ").split()
    unknown = [(1, values, False, None) for _, values, _, _ in events]
    fresh = Renderer(form, "host1", 1, 1, 0, limit_bytes, sizes)
    assert with_shape == fresh.lines(unknown, 7, WALL_NS, "<14>now ").split()


def test_a_template_lives_as_long_as_its_shape_that_recurs() -> None:
    made = Renderer("xml", "host1", 1, 1, 0)
    shapes = [Shape(own_of_process, False) for _ in range(2000)]
    values = values_with(EVENT_BY_ID[1], "<a>")

    def lines(shapes: list[Shape]) -> list[bytes]:
        events = [(1, values, False, shape) for shape in shapes]
        found = made.lines(events, 7, WALL_NS).split()
        unknown = [(1, values, False, None) for _ in events]
        assert found == made.lines(unknown, 7, WALL_NS).split()
        return found

    lines(shapes)
    assert made.template_use() == (0, 0, 0)  # none of them has recurred
    lines(shapes)
    assert made.template_use() == (0, 2000, 2000)
    lines(shapes)
    assert made.template_use() == (2000, 2000, 2000)
    del shapes[10:]
    assert made.template_use().kept == 10


def test_velociraptor_has_what_its_artifact_for_sysmon_reads() -> None:
    """The artifact asks for these: parse_json(data=Data).Event, then by dots."""
    event = EVENT_BY_ID[5]
    line = renderer("velociraptor").line(5, values_with(event, "x"), 42, WALL_NS)
    row = json.loads(line)["Event"]
    assert list(row) == ["System", "EventData"]
    system = row["System"]
    as_json = json.loads(renderer("json").line(5, values_with(event, "x"), 42, WALL_NS))
    same = as_json["Event"]["System"]
    assert system["TimeCreated"] == same["TimeCreated"]["#attributes"]
    for name in ("EventID", "EventRecordID", "Channel", "Computer", "Level"):
        assert system[name] == same[name]
    assert system["Provider"]["Name"] == "Linux-Sysmon"
    assert row["EventData"] == as_json["Event"]["EventData"]
