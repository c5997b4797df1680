# SPDX-License-Identifier: MIT
"""Lines that are too long: whole in form, within the limit, with head and tail."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from support.strategies import examples

from sysmonlx.output.escape import json_text, printed_within, shortened, xml_text
from sysmonlx.output.render import Renderer
from sysmonlx.output.templates import template_of
from sysmonlx.policy import DEFAULT_LIMITS_BYTES, LEAST_LIMIT_BYTES, Settings
from sysmonlx.schema.event_types import EventType, FieldType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.viewer.read import EventLine, read_events

GUID = "{c30c9345-8ba5-695b-b805-bfc8d8550000}"
#: All algorithms: nothing of this may ever be cut.
HASHES = f"SHA1={'A' * 40},MD5={'B' * 32},SHA256={'C' * 64}"
OWN = {
    "UtcTime": "2026-01-05 10:00:05.201",
    "CreationUtcTime": "2026-01-05 10:00:05.201",
    "PreviousCreationUtcTime": "2026-01-05 10:00:05.201",
    "Hashes": HASHES,
    "ConfigurationFileHash": HASHES,
    "IntegrityLevel": "no level",
}
TYPED = {
    FieldType.GUID: GUID,
    FieldType.BOOLEAN: "false",
    FieldType.HEX_INT32: "0xffffffff",
    FieldType.HEX_INT64: "18446744073709551615",
    FieldType.UINT16: "65535",
}
FORMS = {"xml": xml_text, "json": json_text}
#: The largest that one character can be when printed, less one: what may be wasted.
WASTE = 15

#: What a kernel string may hold, in runs, since only repetition makes it long.
blocks = st.one_of(
    st.binary(min_size=1, max_size=20).map(
        lambda data: data.decode("utf-8", "surrogateescape")
    ),
    st.text("\\x05c1b&<>\"'\n\t\x01\x7f\x85\u2028é日😀 a", min_size=1, max_size=12),
)
runs = st.lists(st.tuples(blocks, st.sampled_from([1, 1, 5, 100, 900])), max_size=5)
#: As decoded from the kernel: no surrogates that together are a character.
long_texts = runs.map(
    lambda parts: (
        "".join(text * count for text, count in parts)
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "surrogateescape")
    )
)


def values_of(event: EventType, foreign: list[str]) -> list[str]:
    """Return values of an event whose foreign fields hold these texts in turn."""
    places = template_of(event, "xml", ("", 0, 0, 0)).foreign
    values = [
        OWN.get(field.name, TYPED.get(field.type, "4294967295"))
        for field in event.fields
    ]
    for number, at in enumerate(places):
        values[at] = foreign[number % len(foreign)]
    return values


def line_of(
    event: EventType, form: str, limit_bytes: int, values: list[str], host: str = "h"
) -> bytes:
    renderer = Renderer(form, host, 2**22, 2**22, 2**32 - 1, limit_bytes)
    return renderer.line(event.id, values, 2**64 - 1, 10**18)


def check_form(line: bytes, form: str, event: EventType) -> None:
    names = [field.name for field in event.fields]
    if form == "xml":
        assert [item.get("Name") for item in etree.fromstring(line)[1]] == names
    else:
        assert list(json.loads(line)["Event"]["EventData"]) == names
    assert len(line.decode().splitlines()) == 1


def read_back(line: bytes) -> list[str]:
    [item] = read_events([line])
    assert isinstance(item, EventLine)
    return item.values


def heads_and_tails(text: str, shown: str) -> list[tuple[str, str]]:
    """Return what may have been kept of the text on both sides of the dots.

    A text that has dots of its own can be read in several ways: each of them is what
    somebody who reads the line may take for the truth.
    """
    same = zip(text, shown, strict=False)
    common = next((at for at, (a, b) in enumerate(same) if a != b), len(shown))
    found = [
        (shown[:at], shown[at + 3 :])
        for at in range(common + 1)
        if shown[at : at + 3] == "..." and text.endswith(shown[at + 3 :])
    ]
    assert found, f"{shown!r} is no shortened {text!r}"
    return found


def printed_bytes(text: str, form: str) -> int:
    printed = printed_within(text, 1 << 24, FORMS[form])
    assert printed is not None
    return len(printed.encode())


@pytest.mark.parametrize("form", FORMS)
@given(
    event=st.sampled_from(EVENTS),
    foreign=st.lists(long_texts, min_size=1, max_size=6),
    limit_bytes=st.integers(LEAST_LIMIT_BYTES, 9000),
)
@example(EVENT_BY_ID[1], ["\udcff" * 9000], LEAST_LIMIT_BYTES)
@example(EVENT_BY_ID[1], ["\\x1b" * 9000, "\x85" * 5000], LEAST_LIMIT_BYTES)
@examples(150)
def test_any_line_is_whole_in_form_within_the_limit_and_can_be_read(
    form: str, event: EventType, foreign: list[str], limit_bytes: int
) -> None:
    values = values_of(event, foreign)
    line = line_of(event, form, limit_bytes, values)
    whole = line_of(event, form, 1 << 24, values)
    check_form(line, form, event)
    if len(whole) <= limit_bytes:
        assert line == whole
        return
    cut = [
        heads_and_tails(text, shown)
        for text, shown in zip(values, read_back(line), strict=True)
        if shown != text
    ]
    assert cut
    assert limit_bytes - (WASTE + 1) * len(cut) <= len(line) <= limit_bytes


@pytest.mark.parametrize("form", FORMS)
@given(text=long_texts, size_bytes=st.integers(0, 400))
@example("." * 100, 38)
@examples(300)
def test_head_and_tail_share_the_room(form: str, text: str, size_bytes: int) -> None:
    text += "x"
    whole = printed_within(text, 1 << 24, FORMS[form])
    assert whole is not None
    if len(whole.encode()) <= size_bytes:
        assert printed_within(text, size_bytes, FORMS[form]) == whole
        return
    assert printed_within(text, size_bytes, FORMS[form]) is None
    short = shortened(text, size_bytes, FORMS[form])
    assert len(short.encode()) <= max(size_bytes, 3)
    data = f'"Image":"{short}"' if form == "json" else f'<Data Name="Image">{short}'
    start, end = ('{"Event":{"System":{"EventID":5},"EventData":{', "}}}")
    if form == "xml":
        start = "<Event><System><EventID>5</EventID></System><EventData>"
        end = "</Data></EventData></Event>"
    shown = read_back(f"{start}{data}{end}".encode())[4]
    lesser = max(
        min(printed_bytes(part, form) for part in parts)
        for parts in heads_and_tails(text, shown)
    )
    assert lesser >= size_bytes // 2 - 2 - WASTE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_the_least_limit_has_room_for_every_event_on_every_host(
    event: EventType, form: str
) -> None:
    for host in ("&" * 64, "\udcff" * 64, "\x01" * 64, '"' * 64, "h" * 64):
        values = values_of(event, ["\udcff" * 5000])
        line = line_of(event, form, LEAST_LIMIT_BYTES, values, host)
        assert len(line) <= LEAST_LIMIT_BYTES
        check_form(line, form, event)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_short_or_ours_is_never_touched(form: str) -> None:
    event = EVENT_BY_ID[1]
    values = values_of(event, ["/usr/bin/short"])
    at = [field.name for field in event.fields].index("CommandLine")
    values[at] = "/bin/true " + "A" * 15_000 + " EVIL"
    shown = read_back(line_of(event, form, 7950, values))
    assert shown[:at] + shown[at + 1 :] == values[:at] + values[at + 1 :]
    assert shown[at].startswith("/bin/true AAA")
    assert shown[at].endswith("AAA EVIL")


@pytest.mark.parametrize("form", FORMS)
def test_the_payload_behind_a_filler_is_kept(form: str) -> None:
    for filler in ("A" * 7500, "&" * 15_000, "\udcff" * 15_000, "\\x1b" * 4000):
        values = values_of(EVENT_BY_ID[5], ["/bin/sh -c " + filler + "; rm -rf /srv"])
        [item] = read_events([line_of(EVENT_BY_ID[5], form, 7950, values)])
        assert isinstance(item, EventLine)
        assert item.values[4].startswith("/bin/sh -c ")
        assert item.values[4].endswith("; rm -rf /srv")


def test_long_lines_of_a_batch_leave_the_others_alone() -> None:
    event = EVENT_BY_ID[5]
    texts = ["a", "é" * 9000, "b", "<" * 3000, "é" * 100]
    events = [(5, values_of(event, [text]), False, None) for text in texts]
    one = Renderer("xml", "h", 1, 1, 0, 7950)
    lines = one.lines(events, 7, 10**18, "<14>now ").split()
    for number, (line, (_, values, _, _)) in enumerate(zip(lines, events, strict=True)):
        alone = Renderer("xml", "h", 1, 1, 0, 7950)
        assert line == b"<14>now " + alone.line(5, values, 7 + number, 10**18)
        assert len(line) <= 7950 + len("<14>now ")


def test_the_default_limit_is_that_of_the_sink_unless_one_is_given() -> None:
    limits = {kind: Settings().line_limit_of(kind) for kind in DEFAULT_LIMITS_BYTES}
    assert limits == {
        **{"syslog": 7950, "file": 65535, "stdout": 65535, "journald": 65535},
        "socket": 65535,
    }
    given = Settings(line_limit_bytes=20_000)
    assert {given.line_limit_of(kind) for kind in limits} == {20_000}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unit", ["A", "&", "\udcff", 'a\udcff\x01&"é\\x1b', "\\x1b"])
def test_a_long_line_costs_little(form: str, unit: str) -> None:
    event = EVENT_BY_ID[1]
    values = values_of(event, ["/usr/bin/x"])
    at = [field.name for field in event.fields].index("CommandLine")
    values[at] = (unit * 16_000)[:16_000]
    renderer = Renderer(form, "h", 1, 1, 0, 7950)
    spent_s = []
    for _ in range(20):
        start_s = time.process_time()
        renderer.line(event.id, values, 0, 10**18)
        spent_s.append(time.process_time() - start_s)
    assert min(spent_s) < 0.003
