# SPDX-License-Identifier: MIT
"""What completes a correlation is what completes it in pySigma's SQL.

The backend tells windows that end at any event of a group. Those that end at one of the
last rule are compared: an event of another rule completes nothing here. Lineage and
Program are columns, with what this program says of each event.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from random import Random

import pytest

pytest.importorskip("sigma.backends.sqlite", reason="pySigma's SQL is not installed")

from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from sysmonlx.config.sigma.reader import read_rules
from sysmonlx.rules.sigma.pack import Pack
from sysmonlx.rules.sigma.recorded import Recorded
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.sigma_tool.trying import Trial
from sysmonlx.viewer.read import EventLine

STREAMS = int(os.environ.get("SYSMONLX_SIGMA_STREAMS", "3"))
EVENTS = 80
RULE = """\
title: {name}
id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d0{number}
name: {name}
logsource: {{category: {category}}}
detection: {{s: {{EventID: {event_id}, {field}: {value}}}, condition: s}}
---
"""
RULES = (
    ("download", 11, "Image|endswith", "/wget"),
    ("as_root", 1, "User", "root"),
    ("odd", 1, "Image|startswith", "/tmp/"),
    ("out", 3, "DestinationPort", "'443'"),
)
CATEGORIES = {1: "process_creation", 3: "network_connection", 11: "file_event"}
JOINED = """\
title: joined
id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d09
correlation:
  type: {kind}
  rules: [{rules}]
  {more}
  timespan: {span}s
level: high
"""
FILE = "aliases: {File: {download: TargetFilename, as_root: Program}}"
CASES = (
    ("temporal_ordered", "download, as_root", f"{FILE}\n  group-by: [Lineage, File]"),
    ("temporal_ordered", "odd, out", "group-by: [ProcessGuid]"),
    ("temporal_ordered", "download, as_root, odd, out", "group-by: [Lineage]"),
    ("temporal_ordered", "download, odd, out", "group-by: [User]"),
    ("temporal", "download, out", "group-by: [Lineage, Image]"),
    ("temporal", "download, out", "group-by: [ProcessGuid]"),
)


def stream(random: Random) -> list[EventLine]:
    """Return events, each at another millisecond."""
    now_ms, found = 0, []
    for line in range(EVENTS):
        now_ms += random.choice((1, 500, 1000, 4000))
        minute, ms = divmod(now_ms, 60_000)
        guid = f"{{{random.randint(1, 4):032x}}}"
        texts = {
            "UtcTime": f"2026-01-01 00:{minute:02d}:{ms / 1000:06.3f}",
            "ProcessGuid": guid,
            "Image": random.choice(("/bin/wget", "/tmp/x", "/bin/SH", "/bin/sh")),
            "CommandLine": random.choice(("sh a", "sh /tmp/B", "sh")),
            "CurrentDirectory": "/tmp",
            "User": random.choice(("root", "ann")),
            "ParentProcessGuid": f"{{{random.randint(1, 4):032x}}}",
            "ParentProcessId": "7",
            "TerminalSessionId": random.choice(("1", "2", "4294967295")),
            "TargetFilename": random.choice(("/tmp/a", "/tmp/b", "-")),
            "DestinationPort": random.choice(("443", "80")),
        }
        event_id = random.choice((1, 1, 3, 11))
        names = [field.name for field in EVENT_BY_ID[event_id].fields]
        values = [texts.get(name, "-") for name in names]
        found.append(EventLine(line, event_id, values))
    return found


def rows(events: Sequence[EventLine]) -> list[dict[str, str | None]]:
    """Return events as rows, with the columns that are no fields of theirs."""
    recorded, found = Recorded(), []
    for each in events:
        names = [field.name for field in EVENT_BY_ID[each.event_id].fields]
        texts = dict(zip(names, each.values, strict=True))
        deed = recorded.deed(each.event_id, texts, each.values)
        assert deed is not None
        texts["Lineage"] = deed.doer.lineage()
        texts["Program"] = deed.doer.program(texts.get("CurrentDirectory", "-"))
        found.append({name: None if t == "-" else t for name, t in texts.items()})
    return found


COLUMNS = (
    *("UtcTime", "ProcessGuid", "Image", "User", "Lineage", "Program"),
    *("TargetFilename", "DestinationPort", "EventID"),
)


def in_sql(text: str, events: Sequence[EventLine]) -> set[str]:
    """Return the times at which windows end that are alerts."""
    database = sqlite3.connect(":memory:")
    columns = ", ".join(f"{each} TEXT COLLATE NOCASE" for each in COLUMNS)
    database.execute(f"CREATE TABLE logs ({columns})")
    for event, row in zip(events, rows(events), strict=True):
        row["EventID"] = str(event.event_id)
        marks = ", ".join("?" * len(COLUMNS))
        texts = [row.get(each) for each in COLUMNS]
        database.execute(f"INSERT INTO logs VALUES ({marks})", texts)
    backend = sqliteBackend(timestamp_field="UtcTime")  # type: ignore[no-untyped-call]  # not ours
    query = backend.convert(SigmaCollection.from_yaml(text))[-1]
    when = "strftime('%Y-%m-%d %H:%M:%f', window_end, 'unixepoch')"
    return {each for (each,) in database.execute(f"SELECT {when} FROM ({query})")}


def ours(
    text: str, events: Sequence[EventLine], last: str
) -> tuple[set[str], set[str]]:
    """Return the times of events that complete, and of all events of the last rule."""
    read = read_rules([("x.yml", text.encode())])
    assert not [each for each in read.notes if each.kind.value == "refused"]
    trial = Trial(Pack(read.pack.rules, read.pack.correlations))
    completing, of_last = set(), set()
    for each in events:
        hits, fired = trial.judge(each)
        names = {hit.rule.name for hit in hits}
        completing |= {each.values[1]} if fired else set()
        of_last |= {each.values[1]} if last in names or not last else set()
    return completing, of_last


@pytest.mark.parametrize(("kind", "rules", "more"), CASES)
def test_events_complete_what_completes_in_sql(
    kind: str, rules: str, more: str
) -> None:
    random = Random(14)
    names = rules.split(", ")
    written = "".join(
        RULE.format(
            name=name,
            number=number,
            category=CATEGORIES[event_id],
            event_id=event_id,
            field=field,
            value=value,
        )
        for number, (name, event_id, field, value) in enumerate(RULES)
    )
    fired = 0
    for _ in range(STREAMS):
        events = stream(random)
        span = random.choice((20, 60, 120))
        text = written + JOINED.format(kind=kind, rules=rules, more=more, span=span)
        last = names[-1] if kind == "temporal_ordered" else ""
        completing, of_last = ours(text, events, last)
        assert completing == in_sql(text, events) & of_last
        fired += len(completing)
    assert fired
