# SPDX-License-Identifier: MIT
"""Entries of the journal, read back by its own rules and nothing more lenient."""

from __future__ import annotations

import pytest

from sysmonlx.output.forms import line_maker
from sysmonlx.output.journal import FIELDS, JournalMaker
from sysmonlx.output.render import Writer
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS

WALL_NS = 1767607205_204811000


def parsed(entry: bytes) -> list[tuple[str, bytes]]:
    """Return the fields of an entry in the form with sizes; anything else raises."""
    found = []
    while entry:
        name, newline, rest = entry.partition(b"\n")
        assert newline
        assert name.replace(b"_", b"").isalnum(), name
        assert name.upper() == name
        size = int.from_bytes(rest[:8], "little")
        assert rest[8 + size : 9 + size] == b"\n"
        found.append((name.decode(), rest[8 : 8 + size]))
        entry = rest[9 + size :]
    return found


def entry_of(event_id: int, **known: str) -> dict[str, bytes]:
    names = [field.name for field in EVENT_BY_ID[event_id].fields]
    values = [known.get(name, "-") for name in names]
    maker = JournalMaker(line_maker("json", Writer("h", 1, 1, 0), 65535, ()))
    events = [(event_id, values, False, None)] * 2
    first, second = maker.lines(events, 9, WALL_NS).split()
    assert len(dict(parsed(first))) == len(parsed(first))
    assert dict(parsed(second))["SYSMON_RECORD_ID"] == b"10"
    return dict(parsed(first))


def test_an_entry_has_the_line_and_fields_to_select_by() -> None:
    entry = entry_of(1, Image="/bin/a", User="root", RuleName="r", ProcessId="42")
    message = entry.pop("MESSAGE")
    assert message.startswith(b'{"Event":')
    assert entry == {
        **{"SYSLOG_IDENTIFIER": b"sysmon", "SYSLOG_FACILITY": b"1", "PRIORITY": b"6"},
        **{"SYSMON_EVENT_ID": b"1", "SYSMON_RECORD_ID": b"9", "SYSMON_RULE": b"r"},
        **{"SYSMON_IMAGE": b"/bin/a", "SYSMON_USER": b"root"},
        "SYSMON_PROCESS_ID": b"42",
    }


@pytest.mark.parametrize(
    "name",
    [
        "a\nPRIORITY=0\n",
        "\nMESSAGE\n\x05\0\0\0\0\0\0\0false\n",
        "=",
        "\0\udcff\x1b",
        "é",
    ],
)
def test_no_name_begins_another_field(name: str) -> None:
    entry = entry_of(11, TargetFilename=name, Image=name)
    assert entry["SYSMON_TARGET_FILENAME"] == name.encode("utf-8", "surrogateescape")
    assert entry["PRIORITY"] == b"6"
    assert entry["MESSAGE"].startswith(b"{")


def test_what_is_not_known_is_no_field_and_errors_are_errors() -> None:
    entry = entry_of(255)
    assert not any(name in entry for name in FIELDS.values())
    assert entry["PRIORITY"] == b"3"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event.id))
def test_no_field_comes_twice(event: EventType) -> None:
    names = [each.name for each in event.fields]
    taken = [FIELDS[name] for name in names if name in FIELDS]
    assert len(set(taken)) == len(taken)
