# SPDX-License-Identifier: MIT
"""Pipes and sockets that are made, opened, connected to; and what is like it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.done import Done, all_done, do_all
from support.running import Event
from support.watch import PYTHON

pytestmark = pytest.mark.kernel

MADE, USED = "17", "18"
ODD = "a\n\\xff<&>"

#: Events of each way: number, and name below its directory or whole.
SEEN: dict[str, list[tuple[str, str]]] = {
    "fifo": [(MADE, "p"), (USED, "p")],
    "fifo_by_both_ends": [(MADE, "p"), (USED, "p")],
    "fifo_by_directory": [(MADE, "sub/p"), (USED, "sub/p")],
    "fifo_by_dots": [(MADE, "p"), (USED, "p")],
    "fifo_by_link": [(MADE, "sub/p"), (USED, "sub/p")],
    "fifo_renamed": [(MADE, "p"), (USED, "q")],
    "fifo_deleted": [(MADE, "p"), (USED, "p (deleted)")],
    "fifo_in_deleted_directory": [(MADE, "sub/p"), (USED, "sub/p (deleted)")],
    "fifo_with_two_names": [(MADE, "p"), (USED, "q")],
    "fifo_with_odd_name": [(MADE, ODD), (USED, ODD)],
    "fifo_in_chroot": [(MADE, "jail/p"), (USED, "jail/p")],
    "fifo_in_mount_namespace": [(MADE, "mnt/p"), (USED, "mnt/p")],
    "fifo_by_thread": [(MADE, "p"), (USED, "p")],
    "fifo_by_32_bit_calls": [(MADE, "p"), (USED, "p")],
    "fifo_by_ring": [(MADE, "p"), (USED, "p")],
    "stream": [(MADE, "s"), (USED, "s")],
    "seqpacket": [(MADE, "s"), (USED, "s")],
    "datagram": [(MADE, "s"), (USED, "s")],
    "datagram_to_two": [(MADE, "s"), (MADE, "t"), (USED, "s"), (USED, "t")],
    "stream_by_whole_path": [(MADE, "s"), (USED, "s")],
    "stream_by_other_process": [(MADE, "s")],
    "stream_from_two_threads": [(MADE, "s"), (USED, "s")],
    "stream_without_waiting": [(MADE, "s"), (USED, "s")],
    "stream_renamed": [(MADE, "s"), (USED, "t")],
    "stream_by_second_name": [(MADE, "s"), (USED, "s")],
    "stream_by_second_name_alone": [(MADE, "s"), (USED, "s (deleted)")],
    "stream_by_link": [(MADE, "s"), (USED, "s")],
    "stream_by_descriptor": [(MADE, "s"), (USED, "s")],
    "stream_in_chroot": [(MADE, "jail/s"), (USED, "jail/s"), (MADE, "jail/t")],
    "stream_bound_elsewhere": [(MADE, "s"), (USED, "s")],
    "stream_in_mount_namespace": [(MADE, "mnt/s"), (USED, "mnt/s")],
    "stream_with_odd_name": [(MADE, ODD), (USED, ODD)],
    "abstract": [(MADE, "@sx pipe"), (USED, "@sx pipe")],
    "abstract_datagram": [(MADE, "@sx datagram"), (USED, "@sx datagram")],
    "abstract_with_nul": [(MADE, "@sx@@nul@"), (USED, "@sx@@nul@")],
    "abstract_like_a_path": [(MADE, "@/run/docker.sock"), (USED, "@/run/docker.sock")],
    "abstract_with_odd_name": [(MADE, "@sx\n\\xff<&>"), (USED, "@sx\n\\xff<&>")],
    "abstract_of_greatest_length": [
        (MADE, f"@{'sx' * 53}\n"),
        (USED, f"@{'sx' * 53}\n"),
    ],
    "by_32_bit_calls": [(MADE, "s"), (USED, "s")],
    "by_socketcall": [(MADE, "s"), (USED, "s")],
    "by_ring": [(MADE, "s"), (USED, "s")],
    "abstract_by_ring": [(MADE, "@sx ring"), (USED, "@sx ring")],
    "bound_by_ring": [(MADE, "s")],
    "connected_by_quiet_ring": [(MADE, "s"), (USED, "s")],
    "connected_at_0_by_quiet_ring": [(MADE, "s"), (USED, "s")],
    "bound_by_quiet_ring": [(MADE, "s"), (MADE, "t")],
    "closed_at_once": [(MADE, "s"), (USED, "s")],
    "again_and_again": [(MADE, "s"), (USED, "s")],
    "again_later": [(MADE, "s"), (USED, "s"), (USED, "s")],
    "again_by_another_image": [(MADE, "s"), (USED, "s"), (USED, "s")],
    "other_end": [(USED, "p")],
    "other_process": [(USED, "s")],
}
#: Children, and the ways in whose directories they act.
OUTER = {"other_end": "fifo_by_both_ends", "other_process": "stream_by_other_process"}
#: What these do besides is no event.
NEAR_MISSES: dict[str, list[tuple[str, str]]] = {
    "refused": [(MADE, "s")],
    "refused_by_quiet_ring": [(MADE, "s")],
    "not_bound": [],
    "other_files": [],
    "fifo_not_opened": [(MADE, "p")],
    "without_names": [],
    "not_connected": [(MADE, "s")],
    "other_families": [],
}


RULES = '<ProcessCreate onmatch="exclude"/><PipeEvent onmatch="exclude"/>'
NO_FILE = """<FileCreate onmatch="include"><TargetFilename condition="is">/none
</TargetFilename></FileCreate>"""


def of(done: Done, name: str) -> list[Event]:
    """Return the events of pipes of one way, in order."""
    return [each for each in done.of(name) if "PipeName" in each]


def rows(done: Done, name: str) -> list[tuple[str, str]]:
    """Return number and name of the events of one way."""
    prefix = f"{done.folder / OUTER.get(name, name)}/"
    return [
        (each["EventID"], each["PipeName"].removeprefix(prefix))
        for each in of(done, name)
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    fields = "TargetProcessGuid,TargetProcessId,TargetImage"
    settings = f"<PipeInterval>1</PipeInterval><Fields>{fields}</Fields>"
    rules = RULES + NO_FILE
    with all_done(tmp_path_factory, "actions_pipe.py", rules, settings) as done:
        yield done


@pytest.mark.parametrize("name", SEEN)
def test_each_is_reported_once_by_its_true_name(done: Done, name: str) -> None:
    assert rows(done, name) == SEEN[name]


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_like_it_is_none(done: Done, name: str) -> None:
    assert rows(done, name) == NEAR_MISSES[name]


def test_name_that_the_kernel_chose(done: Done) -> None:
    ((number, name),) = rows(done, "named_by_the_kernel")
    assert number == MADE
    assert re.fullmatch("@[0-9a-f]{5}", name)


def test_fields_are_of_who_acted_and_who_listens(done: Done) -> None:
    (made,) = of(done, "stream_by_other_process")
    (used,) = of(done, "other_process")
    assert [made["EventType"], used["EventType"]] == ["CreatePipe", "ConnectPipe"]
    assert made["Image"] == used["Image"] == used["TargetImage"] == PYTHON
    assert made["User"] == used["User"] == "root"
    assert used["TargetProcessId"] == made["ProcessId"]
    assert used["TargetProcessGuid"] == made["ProcessGuid"] != used["ProcessGuid"]
    assert "TargetImage" not in made
    assert used["UtcTime"] >= made["UtcTime"]


@pytest.mark.parametrize("name", ["fifo", "datagram"])
def test_nobody_listens_at_a_pipe_or_for_datagrams(done: Done, name: str) -> None:
    (used,) = (each for each in done.of(name) if each["EventID"] == USED)
    known = [used[f"Target{each}"] for each in ("ProcessGuid", "ProcessId", "Image")]
    assert known == ["-", "-", "-"]


@pytest.mark.parametrize("what", ["socket", "other_family", "file"])
def test_descriptor_that_is_swapped_in_the_call_hides_nothing(
    done: Done, what: str
) -> None:
    missing = done.daemon.stats()["missing"]
    if any("sockets that are connected" in each for each in missing):
        pytest.skip("no program at connect_unix may keep notes of a thread here")
    decoy = [(MADE, "t"), (USED, "t")] if what == "socket" else []
    assert rows(done, f"swapped_by_{what}") == [*decoy, (MADE, "s"), (USED, "s")]


def test_books_close_and_nothing_is_lost(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    assert stats["unproven_requests"] == 0
    for record in ("pipe_create", "pipe_connect"):
        assert stats["records"][record]["lost"] == {}


def test_name_that_is_rewritten_is_true_where_names_of_files_are(done: Done) -> None:
    missing = done.daemon.stats()["missing"]
    if any("renamed and linked" in each for each in missing):
        pytest.skip("no hook of this kernel shows the directory entry")
    rewritten = "fifo_while_the_string_changes"
    made = {(MADE, each.name) for each in (done.folder / rewritten).iterdir()}
    assert {*rows(done, rewritten)} == made


def test_name_is_resolved_where_no_rule_asks_for_files(
    done: Done, tmp_path: Path
) -> None:
    done.daemon.write_config(RULES)
    command = done.daemon.command("-c", os.fspath(done.daemon.config))
    environment = done.daemon.environment
    subprocess.run(command, env=environment, check=True, capture_output=True)
    ways = ("fifo_by_dots", "fifo_by_link", "fifo_in_chroot", "fifo_with_odd_name")
    again = do_all(done.daemon, "actions_pipe.py", tmp_path, *ways)
    for each in ways:
        assert rows(again, each) == SEEN[each]
