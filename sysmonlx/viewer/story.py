# SPDX-License-Identifier: MIT
"""One process as a report in Markdown: who started it, what it did, whom it started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.forms import code
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.tree import Forest, Process, ancestors, time_of
from sysmonlx.viewer.what import base_name, short_rule, what

#: Rows of the table, and characters of a cell, unless all is asked for.
_ROWS = 200
#: Files of one directory that have rows of their own, unless all is asked for.
_SINGLE_FILES = 3
#: Most processes of one name that are listed, for the user to choose from.
_NAMED = 5
_FILE = "TargetFilename"
_WIDTH = 300


class ManyProcessesError(Exception):
    """A name that several processes have; the text names them."""


def matching(forest: Forest, wanted: str) -> list[Process]:
    """Return the processes with this GUID, braces or not, this pid, or this name.

    A name is the path of a program or its last part.

    Raises:
        ManyProcessesError: several processes have this name.
    """
    guid = "{" + wanted.strip("{}").lower() + "}"
    told = [each for each in forest.processes.values() if each.when]
    found = [e for e in told if e.guid.lower() == guid or e.pid == wanted]
    if found:
        return found
    found = [e for e in told if wanted in (e.image, base_name(e.image))]
    if len(found) > 1:
        raise ManyProcessesError(_choice_of(found))
    return found


def _choice_of(found: Sequence[Process]) -> str:
    pids = [f"{each.pid} ({each.when[:19]})" for each in found[:_NAMED]]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{len(found)} processes have this name, take a pid: {', '.join(pids)}{more}"


def lines(forest: Forest, process: Process, *, full: bool) -> Iterator[str]:
    """Yield the lines of the report of a process."""
    yield f"# Process {_code(process.pid)}, {_code(process.image)}"
    yield ""
    yield from _head(process)
    yield from _in_short(process)
    yield from _losses(forest, process)
    yield from ("", "## Ancestors, nearest first", "")
    above = [*ancestors(process)]
    yield from (f"{n}. {_named(each)}" for n, each in enumerate(above, 1))
    if not above:
        yield "The log names none."
    yield from ("", "## What it did, in order", "")
    yield from _table(_acts(process), full)
    yield from _indicators(process, full)
    yield ""


def _head(process: Process) -> Iterator[str]:
    yield f"* machine {_code(process.host)}, user {_code(process.user)}"
    yield f"* ProcessGuid {_code(process.guid)}"
    for start in process.starts:
        yield f"* began {_code(time_of(start))} UTC: {_code(what(start))}"
        yield f"* in directory {_code(text_of(start, 'CurrentDirectory'))}"
        told = ((name, text) for name, text in start.ours.items() if text != "-")
        yield from (f"* {name} {_code(text)}" for name, text in told)
    if not process.starts:
        yield f"* {process.beginning}"
    yield _end(process)
    for rule in process.rules():
        yield f"* rule {_code(short_rule(rule))}"
    for event in process.events:
        if rule := text_of(event, "RuleName"):
            when = _code(time_of(event)[11:])
            yield f"* rule {_code(short_rule(rule))}, {_kind(event)} at {when}"


def _end(process: Process) -> str:
    """Return how the image ended: with the process, or by another program."""
    lived_s, later = process.lived_s, process.later
    if later is not None:
        return f"* ran {_code(later.image)} then, at {_code(later.when)} UTC"
    if process.end is None:
        return "* the log does not tell that it ended"
    after = f", after {lived_s:.2f} s" if lived_s is not None else ""
    return f"* ended {_code(time_of(process.end))} UTC{after}"


def _in_short(process: Process) -> Iterator[str]:
    """Yield one item of a list: how many events of each kind a process has."""
    counts = Counter(map(_kind, process.events))
    parts = [f"{count:,} {kind}" for kind, count in counts.most_common()]
    if process.children:
        count = len(process.children)
        parts.append(f"{count:,} {'children' if count > 1 else 'child'}")
    if parts:
        yield f"* in all {', '.join(parts)}"


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
    return f"{text}, {process.beginning}"


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
    rows = [[event] for event in events] if full else [*_folded(events)]
    for row in rows if full else rows[:_ROWS]:
        yield _row(row, full)
    if not full and len(rows) > _ROWS:
        yield ""
        yield f"{len(rows) - _ROWS} more are left out; --full has them."


def _row(alike: list[EventLine], full: bool) -> str:
    """Return the row of an event, or of several about files of one directory."""
    event = alike[0]
    kind = "started a child" if event.event_id == 1 else _kind(event)
    child = f"({text_of(event, 'ProcessId')}) " if event.event_id == 1 else ""
    text = child + what(event)
    if len(alike) > 1:
        text = _files([text_of(each, _FILE) for each in alike])
    cells = (
        _code(time_of(event)[11:]),
        kind,
        _code(_cut(text, full)),
        _code(short_rule(text_of(event, "RuleName"))),
    )
    return f"| {' | '.join(cells)} |"


def _folded(events: list[EventLine]) -> Iterator[list[EventLine]]:
    """Yield the events that make one row each of the report.

    More than `_SINGLE_FILES` events of one type about files of one directory make one
    row. An event under a rule has a row of its own.
    """
    groups: dict[tuple[object, ...], list[EventLine]] = {}
    for number, event in enumerate(events):
        path = text_of(event, _FILE)
        is_alone = not path or text_of(event, "RuleName")
        key = (number,) if is_alone else (event.event_id, path.rpartition("/")[0])
        groups.setdefault(key, []).append(event)
    rows = [
        row
        for alike in groups.values()
        for row in ([alike] if len(alike) > _SINGLE_FILES else [[e] for e in alike])
    ]
    return iter(sorted(rows, key=lambda row: time_of(row[0])))


def _files(paths: Sequence[str]) -> str:
    """Return a text for files of one directory: their number and three names."""
    folder = paths[0].rpartition("/")[0]
    names = [*dict.fromkeys(map(base_name, paths))]
    return f"{len(paths):,} files below {folder or '/'}: {', '.join(names[:3])} ..."


def _kind(event: EventLine) -> str:
    return EVENT_BY_ID[event.event_id].title


def _cut(text: str, full: bool) -> str:
    if full or len(text) <= _WIDTH:
        return text
    return f"{text[: _WIDTH // 2]}...{text[-_WIDTH // 2 :]}"


def _indicators(process: Process, full: bool) -> Iterator[str]:
    """Yield a table of what can be looked for elsewhere."""
    rows: dict[tuple[str, str], None] = {}
    events = [*process.starts, *process.events]
    for alike in [[e] for e in events] if full else _folded(events):
        if len(alike) > 1:
            rows["files", _files([text_of(each, _FILE) for each in alike])] = None
        else:
            rows.update(dict.fromkeys(_of_event(alike[0])))
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
