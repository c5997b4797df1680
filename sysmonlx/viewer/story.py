# SPDX-License-Identifier: MIT
"""One process as a report in Markdown: who started it, what it did, whom it started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.forms import code
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.tree import Forest, Process, ancestors, time_of
from sysmonlx.viewer.what import short_rule, what

#: Rows of the table, and characters of a cell, unless all is asked for.
_ROWS = 200
_WIDTH = 300


def matching(forest: Forest, wanted: str) -> list[Process]:
    """Return the processes with this GUID, braces or not, or this pid."""
    guid = "{" + wanted.strip("{}").lower() + "}"
    return [
        each
        for each in forest.processes.values()
        if (each.guid.lower() == guid or each.pid == wanted) and each.when
    ]


def lines(forest: Forest, process: Process, *, full: bool) -> Iterator[str]:
    """Yield the lines of the report of a process."""
    yield f"# Process {_code(process.pid)}, {_code(process.image)}"
    yield ""
    yield from _head(process)
    yield from _losses(forest, process)
    yield from ("", "## Ancestors, nearest first", "")
    above = [*ancestors(process)]
    yield from (f"{n}. {_named(each)}" for n, each in enumerate(above, 1))
    if not above:
        yield "The log names none."
    yield from ("", "## What it did, in order", "")
    yield from _table(_acts(process), full)
    yield from _indicators(process)
    yield ""


def _head(process: Process) -> Iterator[str]:
    yield f"* machine {_code(process.host)}, user {_code(process.user)}"
    yield f"* ProcessGuid {_code(process.guid)}"
    for start in process.starts:
        yield f"* began {_code(time_of(start))} UTC: {_code(what(start))}"
        yield f"* in directory {_code(text_of(start, 'CurrentDirectory'))}"
    if not process.starts:
        yield "* began before this log"
    lived_s = process.lived_s
    if process.end:
        after = f", after {lived_s:.2f} s" if lived_s is not None else ""
        yield f"* ended {_code(time_of(process.end))} UTC{after}"
    else:
        yield "* the log does not tell that it ended"
    for rule in process.rules():
        yield f"* rule {_code(short_rule(rule))}"


def _losses(forest: Forest, process: Process) -> Iterator[str]:
    """Yield what was lost while it lived: the report may lack it."""
    end = time_of(process.end) if process.end else "9"
    for event in forest.others:
        is_loss = event.event_id == 255 and text_of(event, "ID") == "LostEvents"
        if is_loss and process.when <= time_of(event) and text_of(event, "Description"):
            yield f"* **events were lost**, told {_code(time_of(event))}: " + _code(
                text_of(event, "Description")
            )
            if time_of(event) > end:
                return


def _named(process: Process) -> str:
    text = f"{_code(process.image)} ({_code(process.pid)}), user {_code(process.user)}"
    if process.starts:
        start = process.starts[0]
        return f"{text}, {_code(time_of(start))} UTC: {_code(what(start))}"
    return f"{text}, began before this log"


def _acts(process: Process) -> list[EventLine]:
    """Return what it did, the start of its children included, in order of time."""
    started = [start for child in process.children for start in child.starts[:1]]
    return sorted([*process.events, *started], key=time_of)


def _table(events: list[EventLine], full: bool) -> Iterator[str]:
    if not events:
        yield "Nothing that the log tells."
        return
    yield "| UTC | event | what | rule |"
    yield "| --- | --- | --- | --- |"
    for event in events if full else events[:_ROWS]:
        kind = "started a child" if event.event_id == 1 else _kind(event)
        child = f"({text_of(event, 'ProcessId')}) " if event.event_id == 1 else ""
        cells = (
            _code(time_of(event)[11:]),
            kind,
            _code(_cut(child + what(event), full)),
            _code(short_rule(text_of(event, "RuleName"))),
        )
        yield f"| {' | '.join(cells)} |"
    if not full and len(events) > _ROWS:
        yield ""
        yield f"{len(events) - _ROWS} more are left out; --full has them."


def _kind(event: EventLine) -> str:
    return EVENT_BY_ID[event.event_id].title


def _cut(text: str, full: bool) -> str:
    if full or len(text) <= _WIDTH:
        return text
    return f"{text[: _WIDTH // 2]}...{text[-_WIDTH // 2 :]}"


def _indicators(process: Process) -> Iterator[str]:
    """Yield a table of what can be looked for elsewhere."""
    rows: dict[tuple[str, str], None] = {}
    for event in [*process.starts, *process.events]:
        rows.update(dict.fromkeys(_of_event(event)))
    if rows:
        yield from ("", "## Indicators", "", "| kind | value |", "| --- | --- |")
        yield from (f"| {kind} | {_code(value)} |" for kind, value in rows)


def _of_event(event: EventLine) -> Iterable[tuple[str, str]]:
    kinds = {
        "hash": ("Hashes",),
        "address": ("DestinationIp",),
        "name": ("DestinationHostname", "QueryName"),
        "file": ("TargetFilename",),
    }
    for kind, names in kinds.items():
        for name in names:
            if value := text_of(event, name):
                yield kind, value


def _code(text: str) -> str:
    return code(safe(text))
