# SPDX-License-Identifier: MIT
"""eBPF programs that are loaded, with the ids the kernel gave them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon, Event
from support.watch import ACTIONS, FILE_RULES, PYTHON, act, watching

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root") as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("action", "name"), [("load", "fifteen_letters"), ("load_without_name", "-")]
)
def test_a_loaded_program(
    watcher: Daemon, tmp_path: Path, action: str, name: str
) -> None:
    output, (event,) = act(watcher, "actions_bpf.py", action, tmp_path)
    assert event["EventID"] == "100"
    assert event["Image"] == PYTHON
    assert event["User"] == "root"
    assert event["BpfCommand"] == "BPF_PROG_LOAD"
    assert event["BpfProgramType"] == "SOCKET_FILTER"
    assert output == f"id={event['BpfProgramId']}\n"
    assert event["BpfProgramName"] == name


def test_a_refused_program_is_no_event(watcher: Daemon, tmp_path: Path) -> None:
    _, events = act(watcher, "actions_bpf.py", "fail_to_load", tmp_path)
    assert events == []


def ids(output: str) -> list[str]:
    return [each.removeprefix("id=") for each in output.split() if "=" in each]


def test_each_of_many_programs_is_told_once(watcher: Daemon, tmp_path: Path) -> None:
    """The hook of bpf(2) and perf both see them."""
    output, events = act(watcher, "actions_bpf.py", "load_many", tmp_path)
    shown = [(each["BpfProgramId"], each["BpfProgramName"]) for each in events]
    names = (f"n{number}" for number in range(100))
    assert sorted(shown) == sorted(zip(ids(output), names, strict=True))


def test_a_program_whose_descriptor_was_replaced_is_told(
    watcher: Daemon, tmp_path: Path
) -> None:
    _, events = act(watcher, "actions_bpf.py", "load_and_lose_the_descriptor", tmp_path)
    names = [each["BpfProgramName"] for each in events]
    assert sorted(names) == sorted(f"T{number}" for number in range(300))
    assert watcher.stats()["records"]["bpf_program_load"]["lost"] == {}


# --- a program that loads another


def by_loader(events: list[Event], name: str = "T") -> list[Event]:
    """Return the events of what the loader has loaded; its own is there, too."""
    assert {each["EventID"] for each in events} == {"100"}
    assert [e["BpfProgramType"] for e in events if e["BpfProgramName"] == "loader"] == [
        "SYSCALL"
    ]
    found = [each for each in events if each["BpfProgramName"] == name]
    assert len(found) == len(events) - 1
    return found


def test_a_program_loaded_by_a_program(watcher: Daemon, tmp_path: Path) -> None:
    output, events = act(watcher, "actions_bpf.py", "load_by_program", tmp_path)
    (event,) = by_loader(events)
    assert event["Image"] == PYTHON
    assert event["User"] == "root"
    assert event["BpfCommand"] == "BPF_PROG_LOAD"
    assert event["BpfProgramType"] == "SOCKET_FILTER"
    assert ids(output) == [event["BpfProgramId"]]
    assert {each["ProcessGuid"] for each in events} == {event["ProcessGuid"]}


def test_each_of_many_programs_loaded_by_a_program(
    watcher: Daemon, tmp_path: Path
) -> None:
    output, events = act(watcher, "actions_bpf.py", "load_many_by_program", tmp_path)
    found = [each["BpfProgramId"] for each in by_loader(events)]
    assert sorted(found) == sorted(ids(output))


def test_a_program_that_has_gone_shows_who_loaded_it(
    watcher: Daemon, tmp_path: Path
) -> None:
    _, events = act(watcher, "actions_bpf.py", "load_by_program_and_go", tmp_path)
    (event,) = by_loader(events)
    assert event["Image"] == PYTHON
    assert event["User"] == "root"
    assert event["BpfProgramType"] in ("-", "SOCKET_FILTER")


def test_a_child_that_ends_at_once_is_known(watcher: Daemon, tmp_path: Path) -> None:
    output, events = act(
        watcher, "actions_bpf.py", "load_by_program_in_a_child", tmp_path
    )
    (event,) = by_loader(events)
    assert event["ProcessId"] == output.strip()
    assert event["Image"] == PYTHON


def test_books_close_with_what_perf_told(watcher: Daemon) -> None:
    stats = watcher.stats()
    assert stats["gaps"] == []
    assert stats["missing"] == []
    record = stats["records"]["bpf_program_load"]
    assert record["received"] == record["submitted"]


class Refused(Daemon):
    """A daemon that perf_event_open(2) refuses."""

    def command(self, *words: str) -> list[str]:
        script = str(ACTIONS["actions_bpf.py"])
        return [PYTHON, script, "refuse_perf", *super().command(*words)]


def test_where_perf_is_refused_it_is_told_and_the_rest_works(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    daemon = Refused(root, FILE_RULES, "", "")
    daemon.start()
    try:
        (missing,) = daemon.stats()["missing"]
        assert "perf_event_open: Permission denied" in missing
        _, events = act(daemon, "actions_bpf.py", "load_by_program", tmp_path)
        assert [each["BpfProgramName"] for each in events] == ["loader"]
    finally:
        daemon.stop()


def test_the_daemons_own_programs_are_no_events(watcher: Daemon) -> None:
    own = str(watcher.process.pid)
    assert not [each for each in watcher.settle() if each.get("ProcessId") == own]
