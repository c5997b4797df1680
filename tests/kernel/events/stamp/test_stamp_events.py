# SPDX-License-Identifier: MIT
"""Times of files that are put back, in each way, and what is like it: event 2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.done import Done, all_done
from support.running import Event, tree

pytestmark = pytest.mark.kernel

RULES = '<ProcessCreate onmatch="exclude"/><FileCreateTime onmatch="exclude"/>'
YEAR_2001 = "2001-09-09 01:46:40.000"

#: End of TargetFilename of each way.
SEEN = {
    "by_path": "/by_path/file",
    "by_relative_name": "/by_relative_name/file",
    "by_descriptor": "/by_descriptor/file",
    "in_a_folder": "/in_a_folder/file",
    "by_utime": "/by_utime/file",
    "by_utimes": "/by_utimes/file",
    "by_futimesat": "/by_futimesat/file",
    "by_32_bit_call": "/by_32_bit_call/file",
    "by_touch": "/by_touch/file",
    "in_shared_memory": "",
    "in_overlay": "/merged/file",
}
NEAR_MISSES = [
    "touched",
    "later_on_the_same_day",
    "time_of_reading_alone",
    "own_file",
    "own_file_by_ring",
    "own_file_without_a_name",
    "folder",
    "refused",
    "copied",
    "unpacked",
    "synchronized",
    "checked_out",
    "installed_by_dpkg",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    with all_done(tmp_path_factory, "actions_stamp.py", RULES) as done:
        yield done


def of(done: Done, name: str) -> list[Event]:
    """Return the events of one way and of all its children."""
    events = tree(done.events, int(done.pid(name)))
    return [each for each in events if each["EventID"] == "2"]


@pytest.mark.parametrize("way", SEEN)
def test_each_way_is_one_event_with_both_times(done: Done, way: str) -> None:
    (event,) = of(done, way)
    assert event["TargetFilename"].startswith("/")
    assert event["TargetFilename"].endswith(SEEN[way])
    assert event["CreationUtcTime"] == YEAR_2001
    assert event["PreviousCreationUtcTime"][:13] == event["UtcTime"][:13]
    assert event["PreviousCreationUtcTime"] <= event["UtcTime"]
    assert event["User"] == "root"


@pytest.mark.parametrize("way", ["as_another_file", "before_it_was_made"])
def test_time_before_the_birth_is_enough(done: Done, way: str) -> None:
    (event,) = of(done, way)
    assert event["TargetFilename"].endswith(f"/{way}/file")
    assert event["CreationUtcTime"] < event["PreviousCreationUtcTime"]


def test_each_time_is_told(done: Done) -> None:
    first, second = of(done, "twice")
    assert second["PreviousCreationUtcTime"] == first["CreationUtcTime"] == YEAR_2001


@pytest.mark.parametrize("way", NEAR_MISSES)
def test_usual_work_is_none(done: Done, way: str) -> None:
    assert of(done, way) == []


def test_copy_in_the_place_of_a_file_is_not_seen(done: Done) -> None:
    assert of(done, "by_path")
    seen = "now it is seen: move the entry in docs/evasion.md"
    assert of(done, "unseen_by_a_copy") == [], seen


def test_books_close_and_no_file_is_sent_for_it(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    assert stats["records"]["time_set"]["lost"] == {}
    assert stats["records"]["file_create"]["seen"] == 0
    assert not [each for each in stats["missing"] if "times" in each]
