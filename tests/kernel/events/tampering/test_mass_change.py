# SPDX-License-Identifier: MIT
"""Processes that write many files and rename or remove them, and what is like them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.done import Done, all_done
from support.running import Event, tree
from support.watch import PYTHON

pytestmark = pytest.mark.kernel

SEEN = [
    "encryptor",
    "encryptor_of_just_enough",
    "encryptor_that_goes_on",
    "encryptor_of_two_passes",
    "encryptor_of_threads",
    "encryptor_that_empties",
    "encryptor_by_mapping",
    "shredder",
    "encryptor_by_ring",
    "encryptor_in_overlay",
    "encryptor_in_shared_memory",
]
NEAR_MISSES = [
    "encryptor_of_few",
    "own_files",
    "opened_but_not_written",
    "one_log_that_is_turned",
    "written_in_place",
    "moved_and_removed",
    "replaced_as_rsync_does",
    "edited_by_sed",
    "packed_by_git",
    "compiled",
    "database",
]
UNSEEN = [
    "unseen_a_process_a_file",
    "unseen_copy_and_remove",
    "unseen_with_the_old_time",
]


def of(done: Done, name: str) -> list[Event]:
    """Return the events of one way and of all its children."""
    events = tree(done.events, int(done.pid(name)))
    return [each for each in events if each["EventID"] not in ("1", "5")]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    rules = "".join(
        f'<{tag} onmatch="exclude"/>' for tag in ("ProcessCreate", "ProcessTampering")
    )
    settings = "<MassChange>true</MassChange>"
    with all_done(tmp_path_factory, "actions_mass_change.py", rules, settings) as done:
        yield done


@pytest.mark.parametrize("name", SEEN)
def test_an_encryptor_is_told_once_by_its_100th_file(done: Done, name: str) -> None:
    """None but the one that goes on has more than 100 files."""
    (event,) = of(done, name)
    assert event["EventID"] == "25"
    assert event["Type"] == "Mass file change"
    assert event["ProcessId"] == done.pids[name]
    assert event["Image"] == PYTHON
    assert event["User"] == "root"


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_usual_work_is_none(done: Done, name: str) -> None:
    assert of(done, name) == []


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen(done: Done, name: str) -> None:
    assert len(of(done, "encryptor")) == 1
    assert of(done, name) == [], "now it is seen: move the entry in docs/evasion.md"


def test_nothing_else_is_sent_and_books_close(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    records = stats["records"]
    assert records["process_tampering"]["seen"] == len(SEEN)
    assert records["file_create"]["seen"] == records["file_delete"]["seen"] == 0
