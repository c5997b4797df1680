# SPDX-License-Identifier: MIT
"""Documents in the Elastic Common Schema: what Kibana and public rules rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.event import Shape
from sysmonlx.output import ecs_members
from sysmonlx.output.ecs import EcsRenderer
from sysmonlx.output.render import Writer
from sysmonlx.policy import LEAST_LIMIT_BYTES
from sysmonlx.schema.ecs import CONVERSIONS, kind_of, targets_of
from sysmonlx.schema.event_types import EventType, FieldType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS

WALL_NS = 1767607205_204811000
TIME = "2026-01-05 10:00:05.201"
GUID = "{c30c9345-8ba5-695b-b805-bfc8d8550000}"
NO_GUID = "{00000000-0000-0000-0000-000000000000}"
WRITER = Writer("h" * 64, 811, 811, 0)

#: What the schema allows in event.type, by event.category: its own tables.
ALLOWED = {
    "configuration": "access change creation deletion info",
    "driver": "change end info start",
    "file": "access change creation deletion denied info",
    "host": "access change end info start",
    "library": "start",
    "network": "access allowed connection denied end info protocol start",
    "process": "access change end info start",
}


def document(
    event_id: int, renderer: EcsRenderer | None = None, **known: str
) -> dict[str, Any]:
    """Return the document of an event of which these values are known."""
    fields = EVENT_BY_ID[event_id].fields
    values = [known.get(field.name, "-") for field in fields]
    values[[field.name for field in fields].index("UtcTime")] = TIME
    renderer = renderer or EcsRenderer(WRITER)
    line = renderer.lines([(event_id, values, False, None)], 7, WALL_NS).data
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_program_is_what_an_analyzer_of_processes_asks_for() -> None:
    found = document(
        1,
        ProcessGuid=GUID,
        ProcessId="42",
        Image="/usr/bin/curl",
        CommandLine='curl -H "a b" x',
        ParentProcessGuid=GUID,
        ParentImage="/bin/sh",
        User="alice",
        Hashes="MD5=AB,SHA256=cd",
    )
    assert found["@timestamp"] == "2026-01-05T10:00:05.201Z"
    assert (found["agent"]["type"], found["event"]["module"]) == (
        "winlogbeat",
        "sysmon",
    )
    assert found["event"]["category"] == ["process"]
    assert (found["event"]["type"], found["event"]["action"]) == (["start"], "exec")
    assert (found["event"]["code"], found["event"]["sequence"]) == ("1", 7)
    assert found["host"]["os"]["type"] == "linux"
    process = found["process"]
    assert (process["entity_id"], process["pid"]) == (GUID, 42)
    assert (process["executable"], process["name"]) == ("/usr/bin/curl", "curl")
    assert process["args"] == ["curl", "-H", '"a', 'b"', "x"]
    assert process["args_count"] == 5
    assert process["hash"] == {"md5": "ab", "sha256": "cd"}
    assert process["parent"]["entity_id"] == GUID
    assert process["parent"]["name"] == "sh"
    assert found["user"] == {"name": "alice"}


@pytest.mark.parametrize(
    ("initiated", "action", "direction"),
    [
        ("true", "connection_attempted", "egress"),
        ("false", "connection_accepted", "ingress"),
    ],
)
def test_connection_has_both_ends_and_its_direction(
    initiated: str, action: str, direction: str
) -> None:
    found = document(
        3,
        Initiated=initiated,
        Protocol="tcp",
        SourceIsIpv6="false",
        SourceIp="10.0.0.1",
        SourcePort="0",
        DestinationIp="10.0.0.2",
        DestinationPort="443",
    )
    assert found["event"]["action"] == action
    assert found["event"]["type"] == ["start", "connection"]
    assert found["network"] == {
        **{"transport": "tcp", "direction": direction, "type": "ipv4"}
    }
    assert found["source"] == {"ip": "10.0.0.1", "address": "10.0.0.1", "port": 0}
    assert found["destination"]["port"] == 443


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/a/b.tar.gz", {"name": "b.tar.gz", "directory": "/a", "extension": "gz"}),
        ("/.hidden", {"name": ".hidden", "directory": "/"}),
        ("/a.d/b", {"name": "b", "directory": "/a.d"}),
        ("memfd:x", {"name": "memfd:x", "directory": ""}),
    ],
)
def test_file_has_path_name_directory_and_extension(
    path: str, file: dict[str, str]
) -> None:
    found = document(11, TargetFilename=path)
    assert found["file"] == {"path": path, **file}
    assert found["event"]["type"] == ["creation"]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.id))
def test_what_is_not_known_has_no_member(event: EventType) -> None:
    assert "sysmon" not in document(event.id)
    known = {field.name: NO_GUID for field in event.fields if "Guid" in field.name}
    assert document(event.id, None, **known) == document(event.id)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.id))
def test_every_value_is_somewhere(event: EventType) -> None:
    placed = {at for at, _ in targets_of(event)}
    names = {event.fields[at].name for at in placed} | {"UtcTime"}
    assert names == {field.name for field in event.fields}
    assert {each.conversion for _, each in targets_of(event)} <= {
        *(*CONVERSIONS, "choice")
    }


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.id))
def test_no_member_comes_twice(event: EventType) -> None:
    paths = [(*each.objects, each.name) for _, each in targets_of(event)]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.id))
def test_category_and_type_are_the_schemas(event: EventType) -> None:
    kind = kind_of(event)
    assert set(kind.types) <= set(ALLOWED[kind.category].split())


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    else:
        yield value


def of_process(rule: str, image: str, number: int) -> list[str]:
    known = {
        **{"RuleName": rule, "UtcTime": TIME, "ProcessGuid": GUID, "Image": image},
        **{"ProcessId": str(number), "CommandLine": f"x {number}", "User": "root"},
        **{"ParentProcessGuid": GUID, "ParentProcessId": "1", "ParentImage": "/init"},
        **{"ParentCommandLine": "init", "ParentUser": "root", "Hashes": "MD5=1"},
    }
    return [known.get(field.name, "-") for field in EVENT_BY_ID[1].fields]


def test_values_that_recur_never_stand_in_for_others() -> None:
    renderer, rng = EcsRenderer(WRITER), range(600)
    rows = [of_process(f"r{n % 3 or '-'}", f"/bin/{n % 290}", n) for n in rng]
    for shape in (None, Shape(itemgetter(0, 1, 2, 3, 10), True)):
        alike = rows if shape is None else [of_process("-", "/bin/a", n) for n in rng]
        events = [(1, row, False, shape) for row in alike]
        lines = renderer.lines(events, 1, WALL_NS, "<14>").split()
        for number, (row, line) in enumerate(zip(alike, lines, strict=True), 1):
            event = (1, row, False, None)
            alone = EcsRenderer(WRITER).lines([event], number, WALL_NS)
            assert json.loads(line.removeprefix(b"<14>")) == json.loads(alone.data)


def test_own_values_that_are_not_known_are_left_out_of_a_known_shape() -> None:
    renderer, shape = EcsRenderer(WRITER), Shape(tuple, True)
    rows = [of_process("-", "/bin/a", 5), of_process("-", "/bin/a", 6)]
    rows[1][2], rows[1][10] = NO_GUID, "-"
    events = [(1, row, False, shape) for row in rows]
    _, line = renderer.lines(events, 1, WALL_NS).split()
    process = json.loads(line)["process"]
    assert "entity_id" not in process
    assert "args" not in process
    assert process["pid"] == 6


def test_plain_values_need_no_escape_and_others_never_go_without() -> None:
    hostile, plain = '/tmp/a"b\\c', "/tmp/some-file.txt"
    renderer = EcsRenderer(WRITER)
    for path, is_plain in ((plain, True), (hostile, False), (plain, True)):
        known = {"TargetFilename": path, "Image": "/bin/x", "UtcTime": TIME}
        known["ProcessId"] = "4242"
        values = [known.get(field.name, GUID) for field in EVENT_BY_ID[11].fields]
        line = renderer.lines([(11, values, is_plain, None)], 1, WALL_NS).data
        assert json.loads(line)["file"]["path"] == path
    # Of a shape without own values the flag says nothing about the others.
    shape, row = Shape(itemgetter(0, 1), True), of_process("-", "/bin/a", 5)
    row[10] = 'x "y"'
    for _ in range(2):
        line = renderer.lines([(1, row, True, shape)], 1, WALL_NS).data
        assert json.loads(line)["process"]["command_line"] == 'x "y"'


def foreign_of(event: EventType) -> list[int]:
    """Return the positions of values that others choose."""
    return [
        at
        for at, field in enumerate(event.fields)
        if field.type is FieldType.STRING and not field.is_made_here
    ]


TEXTS = st.text(max_size=200) | st.text(alphabet='\\x"/. -,=\udcff\n&', max_size=60)


@given(st.lists(TEXTS, min_size=23, max_size=23))
def test_any_text_makes_a_document(values: Sequence[str]) -> None:
    for event in (EVENT_BY_ID[1], EVENT_BY_ID[3], EVENT_BY_ID[26]):
        texts = [
            text if at in foreign_of(event) else GUID for at, text in enumerate(values)
        ][: len(event.fields)]
        for shape in (None, Shape(tuple, False)) if event.id == 1 else (None,):
            renderer = EcsRenderer(WRITER)
            data = renderer.lines([(event.id, texts, False, shape)], 1, WALL_NS).data
            assert b"\n" not in data
            json.loads(data)


@given(TEXTS)
def test_members_made_together_are_those_made_one_by_one(text: str) -> None:
    for event in (EVENT_BY_ID[1], EVENT_BY_ID[3], EVENT_BY_ID[11]):
        values = [text if at in foreign_of(event) else GUID for at in range(23)]
        given_ = [(event.id, values[: len(event.fields)], False, None)]
        together = EcsRenderer(WRITER).lines(given_, 1, WALL_NS).data
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ecs_members, "_BUNDLES", {})
            alone = EcsRenderer(WRITER).lines(given_, 1, WALL_NS).data
        assert together == alone


@pytest.mark.parametrize("limit_bytes", [LEAST_LIMIT_BYTES, 7950])
@pytest.mark.parametrize("unit", ["a", '" ', "\udcff", "é/", "\\x41", "😀."])
@pytest.mark.parametrize("event_id", [1, 3, 11, 255])
def test_a_long_document_keeps_head_and_tail(
    event_id: int, unit: str, limit_bytes: int
) -> None:
    event, renderer = EVENT_BY_ID[event_id], EcsRenderer(WRITER, limit_bytes)
    values = [GUID for _ in event.fields]
    for at in foreign_of(event):
        values[at] = f"HEAD{unit * 9000}TAIL"
    data = renderer.lines([(event.id, values, False, None)], 1, WALL_NS).data
    assert len(data) <= limit_bytes
    texts = [each for each in leaves(json.loads(data)) if isinstance(each, str)]
    if limit_bytes > LEAST_LIMIT_BYTES:
        whole = [each for each in texts if each.startswith("HEAD")]
        assert any(each.endswith("TAIL") for each in whole)


def test_field_sizes_hold_for_all_members_of_a_value() -> None:
    renderer = EcsRenderer(WRITER, field_sizes=[("CommandLine", 8)])
    process = document(1, renderer, CommandLine="a b c d e f g h")["process"]
    assert process == {
        **{"command_line": "a b c...", "args": ["a", "b", "c..."]},
        "args_count": 3,
    }
