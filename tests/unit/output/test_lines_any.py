# SPDX-License-Identifier: MIT
"""Records in any order become lines: what is kept for the next must never show in it.

Launches, shapes, templates, times and record ids are remembered from event to event.
Here each line of a batch must be the one that a renderer without a past makes of the
same event alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.enrichment import SECOND, encode, make_context
from support.strategies import examples

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Event
from sysmonlx.output.render import Renderer
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

WALL_NS = 1767607205_204811123

#: The first are the likely ones, or no launch would ever come twice.
IMAGES = [b"/bin/a", b"/bin/a", b"/bin/a", b"/bin/<b>", b"/bin/\xff"]
LINES = [b"a\0", b"a\0<&>\0", b"a\nb\0\xff\0", b"\0", b""]
FOLDERS = [b"/", b"/", b"/", b"/<c>"]
UIDS = st.sampled_from([0, 0, 0, 1001])

CREATES = st.fixed_dictionaries(
    {
        "tgid": st.integers(10, 17),
        "exec_id": st.integers(1, 2),
        "parent_tgid": st.integers(9, 11),
        "parent_uid": UIDS,
        "uid": UIDS,
        "image": st.sampled_from(IMAGES),
        "args": st.sampled_from(LINES),
        "cwd": st.sampled_from(FOLDERS),
    }
)
FILES = st.fixed_dictionaries(
    {
        "tgid": st.integers(9, 17),
        "exec_id": st.integers(1, 2),
        "uid": UIDS,
        "path": st.sampled_from([b"/x", b"/x & y", b"/\xff"]),
        "created_ns": st.sampled_from([1, 999_999, 1_000_000, 10**18]),
    }
)
ENDS = st.fixed_dictionaries(
    {"tgid": st.integers(9, 17), "exec_id": st.integers(1, 2), "uid": UIDS}
)
#: Name of a record, its values, and how often it comes in a row.
RECORDS = st.one_of(
    st.tuples(st.just("process_create"), CREATES, st.sampled_from([1, 1, 9, 12])),
    st.tuples(st.just("file_create"), FILES, st.just(1)),
    st.tuples(st.just("process_terminate"), ENDS, st.just(1)),
)
RULES: list[tuple[Element, ...]] = [
    (),
    tuple(
        Element(tag, (number,), "include", "or", (filter_,), bound_id=number)
        for tag, number in [
            ("ProcessCreate", 1),
            ("ProcessTerminate", 5),
            ("FileCreate", 11),
        ]
        for filter_ in [Filter("Image", "contains", "b", "a <name>")]
    ),
]


class _KnowsAll:
    """A hasher that has seen every file."""

    has_work = False

    def cached(self, file_id: Any) -> str:
        return "SHA256=" + "0" * 64

    def unexpect(self) -> None: ...


class _Taken:
    """An output that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.emit = self.events.append


def batches(events: list[Event], cuts: list[int]) -> list[list[Event]]:
    """Return the events in runs of these lengths; the rest is the last."""
    found, at = [], 0
    for size in cuts:
        found.append(events[at : at + size])
        at += size
    return [*found, events[at:]]


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("rules", RULES, ids=["none", "by image"])
@given(
    runs=st.lists(RECORDS, max_size=15),
    cuts=st.lists(st.integers(0, 20), max_size=6),
    first=st.sampled_from([1, 998, 1_000, 12_345_990]),
)
@examples(40)
def test_lines_are_those_of_events_alone(
    form: str,
    rules: tuple[Element, ...],
    runs: list[tuple[str, dict[str, Any], int]],
    cuts: list[int],
    first: int,
    layouts: Layouts,
) -> None:
    context, output, hasher = make_context(layouts), _Taken(), _KnowsAll()
    whole: Any = (layouts, context.processes, context, output, hasher, lambda _: None)
    pipeline = Pipeline(*whole)
    pipeline.use_rules(compile_rules(Ruleset("4.90", rules)))
    records = [(name, values) for name, values, count in runs for _ in range(count)]
    for number, (name, fields) in enumerate(records):
        when = {"boot_ns": 2 * SECOND + number * 300_000, "start_boot_ns": SECOND}
        if name == "process_create":
            fields = fields | {"parent_start_boot_ns": SECOND, "parent_exec_id": 1}
        pipeline.take([encode(layouts, name, **when, **fields)])
    assert pipeline.bad == 0
    used = Renderer(form, "host", 1, 1, 0)
    record_id = first
    for batch in batches(output.events, cuts):
        made = used.lines(batch, record_id, WALL_NS, "<14>now ").split()
        for line, (event_id, values, _, _) in zip(made, batch, strict=True):
            fresh = Renderer(form, "host", 1, 1, 0)
            alone = fresh.line(event_id, values, record_id, WALL_NS)
            assert line == b"<14>now " + alone
            record_id += 1
