# SPDX-License-Identifier: MIT
"""The hooks as data agree with the programs."""

from __future__ import annotations

import re
from pathlib import Path

from sysmonlx.capture.hooks import (
    CGROUP_PROGRAMS,
    FOLLOWERS,
    PLACES,
    program_of,
)
from sysmonlx.enrich.registry import ALL_HOOKS

SOURCES = [*(Path(__file__).parents[3] / "ebpf/hooks").glob("*.c")]
#: A program: its section, and its name, which BPF_PROG puts in brackets.
PROGRAM = re.compile(r'^SEC\("\??([^"]+)"\)\n\w+ (?:BPF_PROG\()?(\w+)', re.MULTILINE)


def programs() -> dict[str, str]:
    """Return the section of each program by name."""
    found = [each for path in SOURCES for each in PROGRAM.findall(path.read_text())]
    return {name: section for section, name in found}


def test_programs_of_control_groups_are_attached_to_one() -> None:
    at_groups = {n for n, kind in programs().items() if kind.startswith("cgroup")}
    assert at_groups == CGROUP_PROGRAMS


def test_each_program_of_a_hook_exists() -> None:
    named = {n for hook in ALL_HOOKS for group in hook.alternatives for n in group}
    unknown = {*map(program_of, named)} - programs().keys()
    assert not unknown, f"no program in ebpf/ has the name that a Hook has: {unknown}"


def test_places_are_those_of_raw_tracepoint_programs() -> None:
    sections = programs()
    of_programs = {f"raw_tp/{each.tracepoint}" for each in PLACES.values()}
    assert {sections[each.program] for each in PLACES.values()} <= of_programs
    assert PLACES.keys() & programs().keys() == set()
    assert len({each[:2] for each in PLACES.values()}) == len(PLACES)


def test_a_request_is_looked_at_before_the_next_one_in_its_memory_is_noted() -> None:
    for event_id in {each for hook in ALL_HOOKS for each in hook.events}:
        hooks = [each for each in ALL_HOOKS if event_id in each.events]
        names = [n for each in hooks for group in each.alternatives for n in group]
        for first, others in FOLLOWERS.items():
            for other in {*others} & {*names}:
                assert names.index(first) < names.index(other)
