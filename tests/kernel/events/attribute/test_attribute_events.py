# SPDX-License-Identifier: MIT
"""Extended attributes that are set, in each way, and what is like it: event 15."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.done import Done, all_done
from support.running import tree

pytestmark = pytest.mark.kernel

VALUE = "where it came from"
HASH = f"SHA256={hashlib.sha256(VALUE.encode()).hexdigest()}"
RULES = '<ProcessCreate onmatch="exclude"/><FileCreateStreamHash onmatch="exclude"/>'
TIMES = 200

#: End of TargetFilename, and Contents.
SEEN = {
    "by_path": ("/file:user.note", VALUE),
    "by_relative_name": ("/by_relative_name/folder/file:user.note", VALUE),
    "by_descriptor": ("/file:user.note", VALUE),
    "of_a_link": ("/link:trusted.note", VALUE),
    "of_a_folder": ("/folder:user.note", VALUE),
    "at_a_folder": ("/at_a_folder/file:user.note", VALUE),
    "at_a_descriptor": ("/at_a_descriptor/file:user.note", VALUE),
    "by_32_bit_call": ("/file:user.note", VALUE),
    "capability": ("/file:security.capability", "cap_net_raw=ep"),
    "capability_of_namespace": (
        "/file:security.capability",
        "cap_setuid=i [rootid=1000]",
    ),
    "capability_by_setcap": ("/file:security.capability", "cap_net_raw=ep"),
    "trusted": ("/file:trusted.note", VALUE),
    "binary": ("/file:user.note", "-"),
    "longest_that_is_told": ("/file:user.note", "a" * 1024),
    "longer": ("/file:user.note", "-"),
    "empty": ("/file:user.note", "-"),
    "in_shared_memory": (":trusted.note", VALUE),
    "in_overlay": ("/merged/file:user.note", VALUE),
}
NEAR_MISSES = [
    "read_alone",
    "removed",
    "refused",
    "label",
    "access_list",
    "copied_up_in_overlay",
    "copied_without_any",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    with all_done(tmp_path_factory, "actions_attribute.py", RULES) as done:
        yield done


def of(done: Done, way: str) -> list[dict[str, str]]:
    return [each for each in done.of(way) if each["EventID"] == "15"]


@pytest.mark.parametrize("way", SEEN)
def test_each_way_is_one_event(done: Done, way: str) -> None:
    (event,) = of(done, way)
    end, contents = SEEN[way]
    assert event["TargetFilename"].startswith("/")
    assert event["TargetFilename"].endswith(end)
    assert event["Contents"] == contents
    assert event["User"] == "root"
    if contents == VALUE:
        assert event["Hash"] == HASH


def test_value_is_hashed_where_it_is_told_whole(done: Done) -> None:
    digest = hashlib.sha256(b"\0\xff\n").hexdigest()
    assert of(done, "binary")[0]["Hash"] == f"SHA256={digest}"
    digest = hashlib.sha256(b"a" * 1024).hexdigest()
    assert of(done, "longest_that_is_told")[0]["Hash"] == f"SHA256={digest}"
    assert of(done, "longer")[0]["Hash"] == "-"
    digest = hashlib.sha256(b"").hexdigest()
    assert of(done, "empty")[0]["Hash"] == f"SHA256={digest}"


def test_birth_is_that_of_the_file(done: Done) -> None:
    (event,) = of(done, "by_descriptor")
    assert event["CreationUtcTime"][:16] == event["UtcTime"][:16]
    assert event["CreationUtcTime"] <= event["UtcTime"]
    assert of(done, "of_a_folder")[0]["CreationUtcTime"] == "-"


def test_name_is_escaped(done: Done) -> None:
    (event,) = of(done, "hostile_name")
    assert event["TargetFilename"].endswith('/file:user.<a>&"\\\n\\x01')


@pytest.mark.parametrize("way", NEAR_MISSES)
def test_what_is_like_it_but_is_none(done: Done, way: str) -> None:
    assert of(done, way) == []


def test_none_is_lost_while_a_thread_changes_the_name(done: Done) -> None:
    names = {
        e["TargetFilename"].partition(":")[2] for e in of(done, "by_racing_threads")
    }
    assert len(of(done, "by_racing_threads")) == TIMES
    assert names <= {"user.note", "user.none"}


def test_io_uring_is_not_seen(done: Done) -> None:
    assert of(done, "by_path")
    seen = "now it is seen: move the entry in docs/evasion.md"
    assert of(done, "unseen_by_ring") == [], seen


def test_program_that_sets_capabilities_is_known(done: Done) -> None:
    (event,) = of(done, "capability_by_setcap")
    created = [
        each
        for each in tree(done.events, int(done.pid("capability_by_setcap")))
        if each["EventID"] == "1"
    ]
    assert event["ProcessGuid"] == created[-1]["ProcessGuid"]
    assert Path(event["Image"]).name == "setcap"


def test_books_close_and_no_file_is_sent_for_it(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    assert stats["records"]["attribute_set"]["lost"] == {}
    assert not [each for each in stats["missing"] if each == "no extended attributes"]
