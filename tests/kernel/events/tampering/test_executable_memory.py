# SPDX-License-Identifier: MIT
"""Memory that is made executable, in each way, and what is like it: event 25."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.done import Done, all_done
from support.running import Event

pytestmark = pytest.mark.kernel

TYPE = "Anonymous memory made executable"
RULES = (
    '<ProcessTampering onmatch="exclude">'
    '<Image condition="end with">/compiler</Image></ProcessTampering>'
)
SETTINGS = "<ExecutableMemory>true</ExecutableMemory><Fields>Reason</Fields>"

#: Reason that each way shows.
SEEN = {
    "anonymous": "Mmap",
    "anonymous_shared": "Mmap",
    "anonymous_by_device": "Mmap",
    "memory_file": "Mmap",
    "made_executable": "Mprotect",
    "made_executable_by_key": "Mprotect",
    "made_executable_behind_a_file": "Mprotect",
    "stack": "Mprotect",
    "shared_memory": "Shmat",
    "pages_of_a_file_written": "Mprotect",
    "pages_of_a_file_to_be_written": "Mmap",
    "own_memory_file": "MemoryFile",
    "own_memory_file_of_thread": "MemoryFile",
    "own_memory_file_by_ring": "MemoryFile",
    "stack_of_program": "Stack",
    "by_racing_threads": "Mprotect",
    "made_executable_by_32_bit_call": "Mprotect",
    "anonymous_by_oldest_call": "Mmap",
    "again_and_again": "Mprotect",
}
#: The same where Python's own memory is executable from then on, too.
IMPLIED = {"heap": "Personality", "implied": "Mmap"}
NEAR_MISSES = [
    "left_out_by_image",
    "library",
    "library_made_executable",
    "program_with_libraries",
    "file_that_is_shared",
    "not_executable",
    "refused",
    "personality_asked_for",
    "memory_file_to_read",
    "memory_file_of_another",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    with all_done(tmp_path_factory, "actions_memory.py", RULES, SETTINGS) as done:
        events = [each for each in done.events if each["EventID"] == "25"]
        yield done._replace(events=events)


def reasons(events: list[Event]) -> list[str]:
    assert {each["Type"] for each in events} <= {TYPE}
    return [each["Reason"] for each in events]


@pytest.mark.parametrize("way", SEEN)
def test_each_way_is_told_once(done: Done, way: str) -> None:
    assert reasons(done.of(way)) == [SEEN[way]]
    assert done.of(way)[0]["User"] == "root"


@pytest.mark.parametrize("way", IMPLIED)
def test_what_can_be_read_is_told_where_it_can_be_run(done: Done, way: str) -> None:
    assert reasons(done.of(way)).count(IMPLIED[way]) == 1


@pytest.mark.parametrize("way", NEAR_MISSES)
def test_what_is_like_it_but_is_none(done: Done, way: str) -> None:
    assert done.of(way) == []


def test_each_user_of_a_process_is_told(done: Done) -> None:
    events = done.of("as_another_user")
    assert [each["User"] for each in events] == ["root", "nobody"]
    assert reasons(events) == ["Mmap", "Mmap"]


def test_second_time_of_an_image_is_not_seen(done: Done) -> None:
    seen = "now it is seen: move the entry in docs/evasion.md"
    assert len(done.of("unseen_second_time")) == 1, seen


def test_segment_that_the_kernel_maps_is_not_seen(done: Done) -> None:
    assert len(done.of("stack_of_program")) == 1
    seen = "now it is seen: move the entry in docs/evasion.md"
    assert done.of("unseen_segment_of_program") == [], seen


def test_what_was_not_looked_at_is_counted_and_books_close(done: Done) -> None:
    assert done.of("counted_behind_many_files") == []
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    assert stats["records"]["process_tampering"]["lost"] == {"unreadable": 1}
    assert not [each for each in stats["missing"] if "memory" in each]
