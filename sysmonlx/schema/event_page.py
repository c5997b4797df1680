# SPDX-License-Identifier: MIT
"""The frame of docs/events.md, generated from `events`: titles and tables of fields.

A part replaces the lines between two comments, BEGIN and END with the part's name. The
last column of a table says where a field comes from. People write that column; it is
kept, by the name of the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.schema.manual import kind_of

#: Stands in the last column of a field that is new, until somebody explains it.
UNEXPLAINED = "?"

_PART = re.compile(r"(?ms)^(<!-- BEGIN ([\w-]+) -->\n)(.*?)(?=^<!-- END \2 -->$)")
_ROW = re.compile(r"(?m)^\| (\w+) \| [^|]* \| (.*) \|$")


def with_frame(page: str) -> str:
    """Return the page with every generated part made anew.

    Raises:
        KeyError: a comment names an event that does not exist.
        ValueError: a comment names something else.
    """

    def part(found: re.Match[str]) -> str:
        lines = _index() if found[2] == "index" else _event(_named(found[2]), found[3])
        return found[1] + "".join(f"{line}\n" for line in lines)

    return _PART.sub(part, page)


def title_of(event: EventType) -> str:
    """Return the heading of an event's section."""
    return f"{event.id}: {event.label}"


def _named(name: str) -> EventType:
    return EVENT_BY_ID[int(name.removeprefix("event-"))]


def _index() -> Iterator[str]:
    yield ""
    yield "| event | what it reports | version | without a rule |"
    yield "| --- | --- | ---: | --- |"
    for event in sorted(EVENTS, key=lambda each: each.id):
        if event.produced:
            yield (
                f"| [{title_of(event)}](#{_anchor(title_of(event))}) | {event.template}"
                f" | {event.version} | {_default_of(event)} |"
            )
    yield ""
    names = [title_of(event) for event in EVENTS if not event.produced]
    yield f"Rules for these are accepted, but they do not occur: {', '.join(names)}."
    yield ""


def _event(event: EventType, before: str) -> Iterator[str]:
    sources = dict(_ROW.findall(before))
    yield f"## {title_of(event)}"
    yield ""
    default = f"without a rule: {_default_of(event)}"
    yield f"{event.template}. Version {event.version}; {default}."
    yield ""
    yield "| field | type | where it comes from |"
    yield "| --- | --- | --- |"
    for field in (*event.fields, *event.appended):
        source = sources.get(field.name, UNEXPLAINED)
        yield f"| {field.name} | {kind_of(field)} | {source} |"
    yield ""


def _default_of(event: EventType) -> str:
    if not event.tag:
        return "never filtered"
    return "reported" if event.default == "include" else "not reported"


def _anchor(title: str) -> str:
    """Return the name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
