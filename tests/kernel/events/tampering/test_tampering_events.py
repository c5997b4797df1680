# SPDX-License-Identifier: MIT
"""Images in memory, without a name, or replaced; and what is like them but is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.done import Done, all_done
from support.running import Event
from support.watch import PYTHON

pytestmark = pytest.mark.kernel

TRUE = os.path.realpath("/bin/true")
MEMFD, DELETED, SHARED, REPLACED = (
    "Fileless (memfd)",
    "Image is deleted",
    "Image in shared memory",
    "Image is replaced",
)
IN_MEMORY = "/memfd:payload (deleted)"

#: The type of each way, and the end of its image.
SEEN: list[tuple[str, str, str]] = [
    ("memfd", MEMFD, IN_MEMORY),
    ("memfd_closed_on_exec", MEMFD, IN_MEMORY),
    ("memfd_by_path", MEMFD, IN_MEMORY),
    ("memfd_of_parent", MEMFD, IN_MEMORY),
    ("memfd_by_link", MEMFD, IN_MEMORY),
    ("memfd_as_interpreter", MEMFD, IN_MEMORY),
    ("shared_anonymous_memory", SHARED, " (deleted)"),
    ("system_v_memory", SHARED, " (deleted)"),
    ("shm", SHARED, "/true"),
    ("shm_by_descriptor", SHARED, "/true"),
    ("shm_named_as_memfd", SHARED, "/memfd:true"),
    ("shm_bound_elsewhere", SHARED, "/mnt/true"),
    ("shm_of_container", SHARED, "/mnt/true"),
    ("shm_of_own_mount", SHARED, "/dev/shm/true"),
    ("deleted_image", DELETED, "/gone (deleted)"),
    ("deleted_image_with_another_name", DELETED, "/gone (deleted)"),
    ("unnamed_image", DELETED, " (deleted)"),
    ("deleted_by_itself", DELETED, "/again (deleted)"),
    ("script_in_memfd", MEMFD, TRUE),
    ("script_by_dev_fd", MEMFD, TRUE),
    ("script_by_proc", MEMFD, TRUE),
    ("script_by_odd_name", MEMFD, TRUE),
    ("script_by_number", MEMFD, TRUE),
    ("script_by_number_from_here", MEMFD, TRUE),
    ("script_by_folder", MEMFD, TRUE),
    ("script_in_folder_by_descriptor", MEMFD, TRUE),
    ("script_of_parent", MEMFD, TRUE),
    ("script_deleted", DELETED, TRUE),
    ("script_in_shm", SHARED, TRUE),
    ("replaced_by_file", REPLACED, PYTHON),
    ("replaced_by_map", REPLACED, PYTHON),
    ("replaced_by_thread", REPLACED, PYTHON),
    ("replaced_by_user_in_namespace", REPLACED, PYTHON),
    ("replaced_by_32_bit_call", REPLACED, PYTHON),
]
NEAR_MISSES = [
    "ordinary",
    "by_descriptor",
    "script",
    "script_by_descriptor",
    "script_with_number_for_name",
    "script_with_number_here",
    "other_tmpfs",
    "root_of_mount",
    "memfd_that_is_not_run",
    "upgraded_while_running",
    "renamed",
    "image_stays",
]
UNSEEN = [
    "unseen_script_by_link",
    "unseen_read_by_interpreter",
    "unseen_by_loader",
    "unseen_own_tmpfs_of_user",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    rules = "".join(
        f'<{tag} onmatch="exclude"/>' for tag in ("ProcessCreate", "ProcessTampering")
    )
    settings = "<Fields>ParentImage</Fields>"
    with all_done(tmp_path_factory, "actions_tampering.py", rules, settings) as done:
        yield done


def tampering(done: Done, name: str) -> list[Event]:
    return [each for each in done.of(name) if each["EventID"] == "25"]


@pytest.mark.parametrize(("name", "kind", "image"), SEEN, ids=lambda each: str(each))
def test_what_no_file_system_keeps(
    done: Done, name: str, kind: str, image: str
) -> None:
    (event,) = tampering(done, name)
    created = [each for each in done.of(name) if each["EventID"] == "1"]
    assert event["Type"] == kind
    assert event["Image"].endswith(image)
    assert event["ProcessGuid"] in {each["ProcessGuid"] for each in created} or (
        kind == REPLACED
    )
    assert event["User"] in ("root", "nobody")
    assert event["ParentImage"].startswith("/")


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_like_it_but_is_none(done: Done, name: str) -> None:
    assert tampering(done, name) == []


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen(done: Done, name: str) -> None:
    witness = tampering(done, "memfd")
    assert len(witness) == 1
    seen = "now it is seen: move the entry in docs/evasion.md"
    assert tampering(done, name) == [], seen


def test_it_follows_the_start_of_the_image(done: Done) -> None:
    created, tampered = (each for each in done.of("memfd") if each["EventID"] != "5")
    assert (created["EventID"], tampered["EventID"]) == ("1", "25")
    assert created["ProcessGuid"] == tampered["ProcessGuid"]
    assert tampered["ParentImage"] == created["ParentImage"] == PYTHON
    assert tampered["UtcTime"] >= created["UtcTime"]
