# SPDX-License-Identifier: MIT
"""Later starts take the programs as the kernel took them at the first.

Before v6.0 a kernel does not tell what a program belongs to: there libbpf serves each
start, and no more is asked than that all starts are alike.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.running import Daemon
from support.watch import ACTIONS as SCRIPTS
from support.watch import ENVIRONMENT, PYTHON

from sysmonlx.bpf.cached_object import PreparedObject
from sysmonlx.bpf.object_info import program_attachment
from sysmonlx.capture.hooks import FOLLOWERS, NAME_PROGRAMS, PLACES, program_of
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.registry import ALL_HOOKS

pytestmark = pytest.mark.kernel

TAGS = {
    "1": "ProcessCreate",
    "3": "NetworkConnect",
    "5": "ProcessTerminate",
    "9": "RawAccessRead",
    "10": "ProcessAccess",
    "11": "FileCreate",
    "23": "FileDelete",
    "26": "FileDeleteDetected",
    "100": "eBPFEvent",
}
ACTIONS = (
    ("actions_file.py", "create"),
    ("actions_file.py", "unlink"),
    ("actions_file.py", "open_device"),
    ("actions_access.py", "attach"),
    ("actions_bpf.py", "load"),
    ("actions_network.py", "tcp_accept4"),
    ("actions_udp.py", "udp_ipv4"),
)
#: Fields that are the same whoever does it again.
STEADY = (
    *("EventID", "Image", "CommandLine", "CurrentDirectory", "User", "ParentImage"),
    *("SourceImage", "TargetImage", "GrantedAccess", "TargetFilename", "Device"),
    *("Protocol", "Initiated", "SourceIp", "DestinationIp", "BpfProgramName"),
)

#: The file for the next start is written by a thread; a busy disk takes its time.
_KEPT_S = 60.0


@contextmanager
def started(keep_in: Path) -> Iterator[Capture]:
    """A capture of everything, as a daemon starts it."""
    capture = load_capture(ALL_HOOKS, 1 << 20, 1 << 16, keep_in=keep_in)
    try:
        capture.attach_processes()
        capture.want(ALL_HOOKS)
        capture.keep()
        capture._loader.settle(_KEPT_S)
        yield capture
    finally:
        capture.close()


def state(capture: Capture) -> tuple[object, ...]:
    """What must not depend on how programs were loaded."""
    maps = {
        name: (each.max_entries, each.value_bytes)
        for name, each in capture.maps.items()
        if name != "records" or each.max_entries
    }
    return capture.attached(), capture.missing, maps


def is_by_plan(capture: Capture) -> bool:
    return all(isinstance(each, PreparedObject) for each in capture._loaded.objects)


def can_plan(capture: Capture) -> bool:
    """Say whether this kernel tells enough of programs that libbpf loaded."""
    fd = capture._loaded.programs["process_fork"].program_fd("process_fork")
    return program_attachment(fd) is not None


def need_plans(capture: Capture) -> None:
    if not can_plan(capture):
        pytest.skip("this kernel does not tell what a program belongs to")


def test_second_start_is_as_the_first_but_by_plan(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    with started(kept) as first:
        assert not is_by_plan(first)
        planned = can_plan(first)
        expected = state(first)
    assert kept.stat().st_mode & 0o777 == 0o600
    with started(kept) as second:
        assert is_by_plan(second) == planned
        assert state(second) == expected
        decode = second.layouts.by_name["process_scan"].decode
        pids = {decode(data).tgid for data in second.scan()}
        assert {os.getpid(), os.getppid()} <= pids
        before = second.counts()["process_create"].seen
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        assert second.counts()["process_create"].seen > before
        assert second.ring.read()


def test_programs_wanted_later_join_those_by_plan(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    few = load_capture((), 1 << 20, 1 << 16, keep_in=kept)
    few.keep()
    few._loader.settle(_KEPT_S)
    few.close()
    with started(kept) as capture:
        need_plans(capture)
        assert not is_by_plan(capture)
        expected = state(capture)
    with started(kept) as again:
        assert is_by_plan(again)
        assert state(again) == expected


def test_plan_that_the_kernel_refuses_is_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "programs"
    with started(kept) as first:
        need_plans(first)
        expected = state(first)
        plans = first._loader.plans
        wrong = plans.programs["process_fork"]._replace(code=bytes(16))
        plans.programs["process_fork"] = wrong
        first._loader._kept.write()
        first._loader.settle(_KEPT_S)
    with started(kept) as second:
        assert not is_by_plan(second)
        assert state(second) == expected
    with started(kept) as third:
        assert is_by_plan(third)
        assert state(third) == expected


def all_events(root: Path, directory: Path) -> list[tuple[str, ...]]:
    """Start a daemon, do what each event is for, return what was reported of it."""
    rules = "".join(f'<{tag} onmatch="exclude"/>' for tag in TAGS.values())
    daemon = Daemon(root, rules, "", "")
    daemon.is_first_start = True
    daemon.log.unlink(missing_ok=True)
    directory.mkdir()
    (directory / "old").touch()
    daemon.start()
    try:
        script = "; ".join(
            f"{PYTHON} {SCRIPTS[file]} {name} {directory} >&2" for file, name in ACTIONS
        )
        _, events = daemon.run(["/bin/sh", "-ec", script], env=ENVIRONMENT)
    finally:
        daemon.stop()
        shutil.rmtree(directory)
    return sorted(tuple(each.get(name, "") for name in STEADY) for each in events)


def test_second_start_reports_the_same_events(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    first = all_events(root, tmp_path / "work")
    assert {number for number, *_ in first} == TAGS.keys()
    assert all_events(root, tmp_path / "work") == first


def test_places_of_a_program_share_it(tmp_path: Path) -> None:
    for _ in range(2):  # by libbpf, and by plan
        with started(tmp_path / "programs") as capture:
            places = PLACES.keys() & capture.attached()
            if not places >= {*NAME_PROGRAMS, *FOLLOWERS} - {"quiet_memory_used_sqe"}:
                pytest.skip("this kernel has no tracepoints of ctime, or better hooks")
            programs = {*map(program_of, places)}
            assert programs <= capture.program_times().keys()
            assert not PLACES.keys() & capture.program_times().keys()
            assert all(map(capture.is_at_hook, places))
            for place in places:
                capture._loaded.holder(place).detach(place)
                assert [p for p in places if not capture.is_at_hook(p)] == [place]
                capture.attach_again(place)
            assert all(map(capture.is_at_hook, capture.attached()))


@pytest.mark.parametrize("first", ["ctime_set", "quiet_memory_used"])
def test_program_that_has_gone_leaves_no_place_to_its_old_self(
    tmp_path: Path, first: str
) -> None:
    for _ in range(2):  # by libbpf, and by plan
        with started(tmp_path / "programs") as capture:
            if first not in capture.attached():
                pytest.skip("this kernel has no such tracepoint, or better hooks")
            name = program_of(first)
            before, attached = capture._loaded.holder(first), capture.attached()
            places = {each for each in PLACES if program_of(each) == name}
            with open("/dev/null", "rb") as other:
                os.dup2(other.fileno(), before.program_fd(name))  # as a debugger does
            capture.attach_again(first)
            assert capture.attached() == attached
            assert all(map(capture.is_at_hook, attached))
            after = capture._loaded.holder(first)
            assert after is before or not before.attached() & places
