# SPDX-License-Identifier: MIT
"""What belongs to an event that is produced, and which part of it was forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sysmonlx.capture.hooks import PROCESS_HOOKS
from sysmonlx.enrich.registry import ALL_HOOKS, BUILDERS
from sysmonlx.output.templates import template_of
from sysmonlx.schema.event_types import EventType, Field
from sysmonlx.schema.events import CLIPBOARD_CHANGE, EVENTS, PROCESS_TERMINATE
from sysmonlx.schema.versions import event_lines

ROOT = Path(__file__).resolve().parents[3]
PRODUCED = [event for event in EVENTS if event.produced]
GOLDEN = {
    json.loads(path.read_text())["event_id"]
    for path in (ROOT / "tests/golden").glob("*.json")
    if not path.stem.startswith("recorded_")
}
EVERYTHING = (ROOT / "config_schema/everything.xml").read_text()
FILTER_EVENTS = re.search(
    r"enum filter_event \{(.*?)\tFILTER_EVENT_MAX",
    (ROOT / "ebpf/filter/rules.bpf.h").read_text(),
    re.DOTALL,
)


def forgotten(event: EventType) -> Iterator[str]:
    """Yield what an event lacks; events without a tag come from the service itself."""
    if event.tag:
        yield from _forgotten_of_kernel(event)
    if event.id not in GOLDEN:
        yield f"tests/golden: a case with event_id {event.id}"
    if not event.shown:
        yield "schema/events.py: shown, the fields in the live view"
    if f"<!-- BEGIN event-{event.id} -->" not in (ROOT / "docs/events.md").read_text():
        yield f"docs/events.md: a part with BEGIN event-{event.id}"
    if f".Ss {event.id}: {event.label}\n" not in (ROOT / "man/sysmonlx.8").read_text():
        yield f"man/sysmonlx.8: .Ss {event.id}: {event.label}"


def _forgotten_of_kernel(event: EventType) -> Iterator[str]:
    makers = [
        (record, builder.__module__)
        for record, pairs in BUILDERS.items()
        for event_id, builder in pairs
        if event_id == event.id
    ]
    if not makers:
        yield "enrich.registry: a builder"
    by_processes = {name for group in PROCESS_HOOKS[0].alternatives for name in group}
    if not any(event.id in hook.events for hook in ALL_HOOKS) and not any(
        record in by_processes for record, _ in makers
    ):
        yield "enrich.registry: a hook"
    if f'<{event.tag} onmatch="exclude"/>' not in EVERYTHING:
        yield f"config_schema/everything.xml: {event.tag}"
    families = [module.rpartition(".")[2] for _, module in makers] or ["*"]
    tests = ROOT.glob(f"tests/kernel/events/{families[0]}/test_*.py")
    if not any(f'"{event.id}"' in path.read_text() for path in tests):
        yield f"tests/kernel/events: a test of EventID {event.id} in its family"


@pytest.mark.parametrize("event", PRODUCED, ids=lambda each: each.title)
def test_nothing_of_an_event_was_forgotten(event: EventType) -> None:
    missing = list(forgotten(event))
    assert not missing, "\n".join(["forgotten:", *missing])


def test_every_part_that_is_missing_is_named() -> None:
    places = [
        each.partition(":")[0] for each in forgotten(replace(CLIPBOARD_CHANGE, id=4711))
    ]
    assert places == [
        "enrich.registry",
        "enrich.registry",
        "config_schema/everything.xml",
        "tests/kernel/events",
        "tests/golden",
        "schema/events.py",
        "docs/events.md",
        "man/sysmonlx.8",
    ]


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.title)
def test_live_view_shows_fields_of_the_event(event: EventType) -> None:
    names = {field.name for field in event.fields}
    assert {*event.shown, *filter(None, [event.subject])} <= names


def test_titles_are_unlike_each_other_and_fit() -> None:
    titles = [event.title for event in EVENTS]
    assert len(set(titles)) == len(titles)
    assert max(map(len, (event.title for event in PRODUCED))) <= 18


def test_kernel_filters_the_events_that_say_so() -> None:
    assert FILTER_EVENTS is not None
    names = re.findall(r"FILTER_\w+", FILTER_EVENTS[1])
    assert names == [event.kernel for event in EVENTS if event.kernel]


def test_field_answered_by_the_kernel_is_of_an_event_that_it_filters() -> None:
    """Of fields that stand in several events alike, one of them is enough."""
    filtered = {field for event in EVENTS if event.kernel for field in event.fields}
    others = {field for event in EVENTS for field in event.fields} - filtered
    assert [field.name for field in others if field.kernel] == []


def listed(events: Iterable[EventType]) -> str:
    """Return "3, 9 and 10" of the ids of some events."""
    *first, last = (str(event.id) for event in sorted(events, key=lambda e: e.id))
    return f"{', '.join(first)} and {last}" if first else last


@pytest.mark.parametrize(
    ("page", "sentence", "events"),
    [
        (
            "docs/rules.md",
            "The rules of events {} are also put into the kernel",
            [event for event in EVENTS if event.kernel],
        ),
        (
            "man/sysmonlx.8",
            "events {} are reported, events",
            [event for event in EVENTS if event.default == "include"],
        ),
        (
            "man/sysmonlx.8",
            "events {} always, and the others not",
            [event for event in PRODUCED if event.default is None],
        ),
        (
            "man/sysmonlx.8",
            "Events that rules can filter, all but {}, begin with",
            [event for event in PRODUCED if event.tag is None],
        ),
    ],
)
def test_pages_list_the_events_of_the_schema(
    page: str, sentence: str, events: list[EventType]
) -> None:
    text = " ".join((ROOT / page).read_text().split())
    assert sentence.format(listed(events)) in text


def test_field_of_ours_is_everywhere_but_in_the_published_schema() -> None:
    ours = Field("UserId", is_ours=True)
    event = replace(PROCESS_TERMINATE, fields=(*PROCESS_TERMINATE.fields, ours))
    published = list(event_lines(PROCESS_TERMINATE))
    assert list(event_lines(event)) == published
    assert '"UserId"' in "".join(template_of(event, "json", ("host", 1, 1, 0)).pieces)
