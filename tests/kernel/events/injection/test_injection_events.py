# SPDX-License-Identifier: MIT
"""Processes that write into others, each way with all events of its process."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.done import run_actions
from support.running import Daemon, Event, tree
from support.watch import PYTHON, watching

pytestmark = pytest.mark.kernel

COPY, POKE, REGISTERS, FILE = (
    "ProcessVmWrite",
    "PtraceMemory",
    "PtraceRegisters",
    "MemoryFile",
)
SEEN = [
    ("poke_text", POKE),
    ("poke_data_of_stack", POKE),
    ("poke_another_program", POKE),
    ("poke_child_that_asked_for_it", POKE),
    ("poke_from_thread", POKE),
    ("poke_second_thread", POKE),
    ("poke_by_32_bit_call", POKE),
    ("poke_in_pid_namespace", POKE),
    ("poke_into_overlay", POKE),
    ("poke_into_memory_file", POKE),
    ("poke_among_many_mappings", POKE),
    ("set_registers", REGISTERS),
    ("set_register_set", REGISTERS),
    ("set_registers_in_part", REGISTERS),
    ("poke_register", REGISTERS),
    ("set_call", REGISTERS),
    ("copy_to", COPY),
    ("copy_with_empty_spans_first", COPY),
    ("copy_with_many_empty_spans", COPY),
    ("copy_while_tracing", COPY),
    ("copy_by_32_bit_call", COPY),
    ("open_for_writing", FILE),
    ("open_for_both", FILE),
    ("open_of_thread", FILE),
    ("open_again_for_writing", FILE),
    ("open_by_other_name", FILE),
    ("open_by_ring", FILE),
    ("by_quiet_ring", FILE),
    ("repeated", POKE),
]
NEAR_MISSES = [
    "read_by_ptrace",
    "set_no_general_register",
    "read_otherwise",
    "write_into_itself",
    "fail",
]
UNSEEN = [
    "unseen_by_own_descriptor",
    "unseen_by_shared_memory",
]


#: Whether the kernel keeps mappings in a tree that the programs can read (Linux 6.1).
BTF = Path("/sys/kernel/btf/vmlinux")
HAS_TREE = BTF.is_file() and b"\0mm_mt\0" in BTF.read_bytes()


class Written(NamedTuple):
    """What a way has written to, as its line says."""

    actor: str
    target: str = ""
    thread: str = ""
    address: int = 0
    module: str = ""


#: Programs that trace another one, by their names.
TRACERS = {
    "strace": ["strace", "-o", "/dev/null", "/bin/true"],
    "gdb": ["gdb", "-batch", "-ex", "run", "/bin/true"],
}


class Done(NamedTuple):
    """What was done, the processes of tracers, and all events."""

    written: dict[str, Written]
    tracers: dict[str, int]
    events: list[Event]
    daemon: Daemon

    def way(self, name: str) -> Written:
        if name not in self.written:
            pytest.skip("the machine does not let it")
        return self.written[name]

    def of(self, name: str, event_id: str = "8") -> list[Event]:
        """Return the events of one way, in order."""
        actor = self.way(name).actor
        return [
            each
            for each in self.events
            if each["EventID"] == event_id and each["SourceProcessId"] == actor
        ]


def written_of(line: str) -> tuple[str, Written]:
    name, actor, *rest = line.split(" ", 5)
    if not rest:
        return name, Written(actor)
    target, thread, address, module = rest
    return name, Written(actor, target, thread, int(address), ast.literal_eval(module))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    rules = "".join(
        f'<{tag} onmatch="exclude"/>' for tag in ("ProcessCreate", "ProcessAccess")
    )
    rules += (
        '<CreateRemoteThread onmatch="exclude"><SourceImage condition="end with">'
        "/excluded</SourceImage></CreateRemoteThread>"
    )
    folder = tmp_path_factory.mktemp("ways")
    folder.chmod(0o755)
    root = tmp_path_factory.mktemp("daemon") / "root"
    with watching(root, rules, "<Fields>Reason</Fields>") as daemon:
        tracers = {name: start(name) for name in TRACERS if shutil.which(name)}
        said = run_actions("actions_injection.py", folder)
        assert [each.wait() for each in tracers.values()] == [0] * len(tracers)
        lines = [each for each in said if not each.endswith(" unable")]
        pids = {name: each.pid for name, each in tracers.items()}
        yield Done(dict(map(written_of, lines)), pids, daemon.settle(), daemon)


def start(tracer: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(TRACERS[tracer], stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(("name", "reason"), SEEN)
def test_each_way_is_one_event_with_true_values(
    done: Done, name: str, reason: str
) -> None:
    way = done.way(name)
    (event,) = done.of(name)
    assert event["SourceImage"] == PYTHON
    assert (event["SourceUser"], event["TargetUser"]) == ("root", "root")
    assert event["TargetProcessId"] == way.target
    assert event["NewThreadId"] == way.thread
    assert event["StartAddress"] == (f"0x{way.address:016X}" if way.address else "-")
    assert event["StartModule"] == (way.module if HAS_TREE else "-")
    assert event["StartFunction"] == "-"
    assert event["Reason"] == reason


def test_source_and_target_are_named_as_in_their_own_events(done: Done) -> None:
    (event,) = done.of("poke_another_program")
    (created,) = (
        each
        for each in done.events
        if each["EventID"] == "1" and each["ProcessId"] == event["TargetProcessId"]
    )
    assert event["TargetProcessGuid"] == created["ProcessGuid"]
    assert event["TargetImage"] == created["Image"] == os.path.realpath("/bin/sleep")
    (access,) = done.of("poke_another_program", "10")
    assert event["SourceProcessGuid"] == access["SourceProcessGUID"]


@pytest.mark.parametrize(
    ("name", "accesses"),
    [
        ("poke_text", ["0x1fffff"]),
        ("poke_child_that_asked_for_it", []),
        ("copy_to", ["0x28"]),
        ("copy_while_tracing", ["0x1fffff"]),
        ("open_for_both", ["0x38"]),
    ],
)
def test_event_10_is_what_it_was(done: Done, name: str, accesses: list[str]) -> None:
    assert [each["GrantedAccess"] for each in done.of(name, "10")] == accesses


def test_each_kind_and_target_is_told_once_a_second(done: Done) -> None:
    kinds = Counter(each["Reason"] for each in done.of("each_kind"))
    assert kinds == dict.fromkeys((COPY, POKE, REGISTERS, FILE), 1)
    targets = {each["TargetProcessId"] for each in done.of("two_targets")}
    assert len(targets) == len(done.of("two_targets")) == 2
    assert len(done.of("again_after_a_second")) == 2


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_like_it_but_writes_nothing_there(done: Done, name: str) -> None:
    assert done.of(name) == []


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen(done: Done, name: str) -> None:
    assert len(done.of("open_for_writing")) == 1
    assert done.of(name) == [], "now it is seen: move the entry in docs/evasion.md"


@pytest.mark.parametrize(("name", "writes"), [("strace", False), ("gdb", True)])
def test_a_tracer_is_none_but_a_debugger_is(
    done: Done, name: str, writes: bool
) -> None:
    if name not in done.tracers:
        pytest.skip(f"{name} is not installed")
    events = tree(done.events, done.tracers[name])
    found = [each for each in events if each["EventID"] == "8"]
    assert bool(found) == writes
    program = os.path.realpath(shutil.which(name) or "")
    assert {each["SourceImage"] for each in found} <= {program}


def test_books_close(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    counts = stats["records"]["process_write"]
    assert counts["submitted"] > len(SEEN)
    assert counts["seen"] == counts["submitted"] + counts["filtered_in_kernel"]


def test_rules_exclude_in_the_kernel(done: Done) -> None:
    actor = int(done.way("by_excluded_program").actor)
    events = [each["EventID"] for each in tree(done.events, actor)]
    assert "1" in events
    assert "8" not in events
    counts = done.daemon.stats()["records"]["process_write"]
    assert counts["filtered_in_kernel"] == 1
