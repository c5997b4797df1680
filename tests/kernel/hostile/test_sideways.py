# SPDX-License-Identifier: MIT
"""Acts by calls that few programs make; what is not seen has a witness that is.

A test of an act that is not seen fails when a later version sees it; its entry in
docs/evasion.md has another result then.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from kernel.hostile.actions_sideways import FAR, TIMES
from support.control_groups import group, mounts
from support.running import Event
from support.watch import ACTIONS, FILE_RULES, PYTHON, rows, watching

pytestmark = pytest.mark.kernel

SCRIPT = "actions_sideways.py"
RULES = (
    f'{FILE_RULES}<ProcessTerminate onmatch="exclude"/>'
    '<NetworkConnect onmatch="exclude"/><DnsQuery onmatch="exclude"/>'
)
SETTINGS = (
    "<WriteAsCreate>true</WriteAsCreate><Fields>CgroupPath</Fields>"
    "<HashWait>300</HashWait>"
)
NOW_SEEN = "now it is seen: move the entry in docs/evasion.md"

WITNESS = ("11", "witness")
#: Each action on files with its events.
FILES: list[tuple[str, list[tuple[str, str]]]] = [
    ("symbolic_link", [WITNESS]),
    ("directory_of_files", [("11", "d/witness")]),
    ("mounted_over", [WITNESS]),
    (
        "unmounted",
        [*((each, "d/witness") for each in ("11", "23", "26")), ("11", "d/T")],
    ),
    ("set_user_id", [WITNESS]),
    ("stacked_mounts", [WITNESS, ("11", "+/T")]),
    ("message_queue", [WITNESS]),
    ("whiteout", [WITNESS, ("11", "T")]),
    ("emptied_in_place", [WITNESS, ("11", "old")]),
    ("opened_again", [WITNESS, ("11", "old")]),
    ("by_handle", [WITNESS, ("11", "old")]),
    ("through_proc", [WITNESS, ("11", "T1"), ("11", "T2"), ("11", "T3")]),
]


NAMES = (
    *(name for name, _ in FILES),
    *("only_checked", "chain_of_interpreters", "long_interpreter_line", "spawned"),
    *("one_number", "into_group", "own_binary_format", "answered_for_some"),
    *("connected_to_itself", "repaired", "connected_anew", "only_listens"),
    *("ping_without_rights", "asked_by_splice", "asked_by_sendfile"),
    *("asked_without_a_copy", "read_environment", "sampled_stack"),
)
GROUP = "/sysmonlx-test.slice/sideways"


class Act(NamedTuple):
    """The events of one action; those of the programs that it ran are `created`."""

    pid: str
    directory: Path
    events: list[Event]
    children: list[str]

    def of(self, event_id: str) -> list[Event]:
        return [each for each in self.events if each["EventID"] == event_id]

    def created(self) -> list[Event]:
        return [each for each in self.of("1") if each["ProcessId"] in self.children]

    def files(self) -> list[tuple[str, str]]:
        found = [each for each in self.events if each["EventID"] in ("11", "23", "26")]
        return rows(found, self.directory)


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Act]:
    """Have each action done, all of them at once, and return what came of each."""
    root = tmp_path_factory.mktemp("daemon") / "root"
    where = mounts().get("unified")
    with watching(root, RULES, SETTINGS) as daemon, contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        if where is not None:
            os.environ["GROUP"] = os.fspath(stack.enter_context(group(where, GROUP)))
            os.environ["LEFT"] = os.pathsep.join(map(os.fspath, mounts().values()))
        begun = {
            name: begin(name, top) for name in NAMES if where or "group" not in name
        }
        printed = {name: each.communicate()[0] for name, each in begun.items()}
        assert {
            name: each.returncode for name, each in begun.items() if each.returncode
        } == {}
        events = daemon.settle()
    return {
        name: of(process.pid, top / name, printed[name].split(), events)
        for name, process in begun.items()
    }


def begin(name: str, top: Path) -> subprocess.Popen[str]:
    directory = top / name
    directory.mkdir()
    (directory / "old").write_text("old")
    words = [PYTHON, os.fspath(ACTIONS[SCRIPT]), name, os.fspath(directory)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def of(pid: int, directory: Path, children: list[str], events: list[Event]) -> Act:
    pids = {str(pid), *children}
    mine = [
        each
        for each in events
        if each.get("ProcessId", each.get("SourceProcessId", "")) in pids
    ]
    return Act(str(pid), directory, mine, children)


@pytest.mark.parametrize(("name", "seen"), FILES)
def test_act_on_a_file(
    acts: dict[str, Act], name: str, seen: list[tuple[str, str]]
) -> None:
    assert acts[name].files() == seen, NOW_SEEN


# --- programs


def test_program_that_was_only_checked_is_no_event(acts: dict[str, Act]) -> None:
    (created,) = acts["only_checked"].of("1")
    assert "only_checked" in created["CommandLine"]


def test_chain_of_interpreters_shows_all_of_them(acts: dict[str, Act]) -> None:
    act = acts["chain_of_interpreters"]
    (created,) = act.created()
    assert created["Image"] == os.path.realpath("/bin/sh")
    steps = " ".join(f"{act.directory}/{each}" for each in "cb")
    assert created["CommandLine"] == f"/bin/sh {steps} a T"


def test_long_line_of_an_interpreter_shows_what_it_is_given(
    acts: dict[str, Act],
) -> None:
    (created,) = acts["long_interpreter_line"].created()
    start, *rest = created["CommandLine"].split()
    assert (start, rest[1:]) == ("/bin/sh", ["a", "T"])
    assert rest[0].startswith("-eeee")


def test_child_that_borrows_memory_acts_under_its_own_number(
    acts: dict[str, Act],
) -> None:
    act = acts["spawned"]
    assert act.files() == [WITNESS, ("11", "T")]
    witness, made = act.of("11")
    (created,) = act.created()
    assert made["ProcessId"] == created["ProcessId"] != witness["ProcessId"]
    assert made["Image"] == witness["Image"]
    assert created["ParentProcessGuid"] == witness["ProcessGuid"]
    assert made["ProcessGuid"] != witness["ProcessGuid"]


def test_processes_of_one_number_are_told_apart(acts: dict[str, Act]) -> None:
    act = acts["one_number"]
    created = [each["ProcessGuid"] for each in act.created()]
    assert len(set(created)) == len(created) == TIMES + 1
    ends = [each for each in act.of("5") if each["ProcessId"] in act.children]
    assert [each["ProcessGuid"] for each in ends] == created


def test_child_made_in_another_group_has_that_group(acts: dict[str, Act]) -> None:
    if "into_group" not in acts:
        pytest.skip("no unified hierarchy here")
    (created,) = acts["into_group"].created()
    assert created["CgroupPath"] == GROUP


def test_format_of_a_user_namespace_shows_what_runs(acts: dict[str, Act]) -> None:
    act = acts["own_binary_format"]
    (created,) = act.created()
    assert created["Image"] == os.path.realpath("/bin/echo")
    assert created["CommandLine"] == f"/bin/echo {act.directory}/harmless.zzz T"


def test_program_that_nobody_else_may_open_costs_its_own_hash(
    acts: dict[str, Act],
) -> None:
    created = {
        each["CommandLine"]: each for each in acts["answered_for_some"].created()
    }
    assert created["kept"]["Hashes"] == "-"
    assert created["free"]["Hashes"].startswith("SHA256=")


# --- network


@pytest.mark.parametrize(
    ("name", "initiated"),
    [
        ("connected_to_itself", 1),
        ("repaired", 1),
        ("connected_anew", 2),
        ("only_listens", 1),
        ("ping_without_rights", 1),
    ],
)
def test_connection(acts: dict[str, Act], name: str, initiated: int) -> None:
    shown = [each["Initiated"] for each in acts[name].of("3")]
    assert shown == ["true"] * initiated, NOW_SEEN


def test_connection_that_sends_nothing_has_the_ends_that_it_names(
    acts: dict[str, Act],
) -> None:
    (event,) = acts["repaired"].of("3")
    assert (event["DestinationIp"], int(event["DestinationPort"])) == FAR


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("asked_by_splice", "spliced.test"),
        ("asked_by_sendfile", "sent.test"),
        ("asked_without_a_copy", "zero.test"),
    ],
)
def test_name_that_is_asked_for(acts: dict[str, Act], name: str, asked: str) -> None:
    names = [each["QueryName"] for each in acts[name].of("22")]
    assert names == ["witness.test", asked]


# --- other processes


@pytest.mark.parametrize("name", ["read_environment", "sampled_stack"])
def test_access_that_is_not_seen(acts: dict[str, Act], name: str) -> None:
    shown = [each["GrantedAccess"] for each in acts[name].of("10")]
    assert shown == ["0x10"], NOW_SEEN
