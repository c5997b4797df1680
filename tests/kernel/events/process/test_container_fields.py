# SPDX-License-Identifier: MIT
"""Containers by their control groups: made by the test, and gone before one looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control_groups import group, mounts, run_in
from support.running import Daemon, Event

pytestmark = pytest.mark.kernel

FIELDS = "<Fields>ContainerId,ContainerRuntime,PodUid,CgroupPath</Fields>"
RULES = """
    <ProcessCreate onmatch="exclude"/><ProcessTerminate onmatch="exclude"/>
    <FileCreate onmatch="include">
    <ContainerRuntime condition="is">docker</ContainerRuntime></FileCreate>
"""
#: Containers that last for one program each; 1,000 with SYSMONLX_MANY_CONTAINERS.
SHORT = 1000 if os.environ.get("SYSMONLX_MANY_CONTAINERS") else 100
BEFORE = "/sysmonlx-test.slice/docker-" + "b" * 64 + ".scope"


def _scope(number: int) -> tuple[str, str]:
    name = f"{number:064x}"
    return name, f"/sysmonlx-test.slice/docker-{name}.scope"


@pytest.fixture(scope="module", params=["unified", "memory"])
def mount(request: pytest.FixtureRequest) -> Path:
    where = mounts().get(request.param)
    if where is None:
        pytest.skip(f"no hierarchy {request.param} here")
    return where


@pytest.fixture(scope="module")
def old(mount: Path) -> Iterator[Path]:
    """A container that is older than the daemon."""
    with group(mount, BEFORE) as made:
        yield made


@pytest.fixture(scope="module")
def watch(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("root"), RULES, FIELDS, "") as made:
        yield made


def _of(events: list[Event], pid: int, event_id: str = "1") -> Event:
    found = [
        e for e in events if e.get("ProcessId") == str(pid) and e["EventID"] == event_id
    ]
    return found[-1]


def test_short_lived_containers_are_all_told_apart(watch: Daemon, mount: Path) -> None:
    ran = {}
    for number in range(1, SHORT + 1):
        name, path = _scope(number)
        with group(mount, path) as made:
            ran[run_in(made, ["/bin/true"])] = name, path
    events = watch.settle()
    for pid, (name, path) in ran.items():
        for event_id in ("1", "5"):
            event = _of(events, pid, event_id)
            assert (event["ContainerId"], event["CgroupPath"]) == (name, path)
            assert (event["ContainerRuntime"], event["PodUid"]) == ("docker", "-")
    lost = watch.stats()["records"]["cgroup_create"]["lost"]
    assert not any(lost.values())


def test_container_from_before_the_start_is_found(watch: Daemon, old: Path) -> None:
    pid = run_in(old, ["/bin/true"])
    event = _of(watch.settle(), pid)
    assert (event["ContainerId"], event["CgroupPath"]) == ("b" * 64, BEFORE)


def test_rule_on_a_container_judges_its_files(
    watch: Daemon, old: Path, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    make = "import sys; open(sys.argv[1], 'w')"
    run_in(old, [sys.executable, "-c", make, os.fspath(inside)])
    outside.touch()
    names = {e["TargetFilename"] for e in watch.settle() if e["EventID"] == "11"}
    assert os.fspath(inside) in names
    assert os.fspath(outside) not in names


def test_process_that_moves_is_where_it_began_until_it_runs_a_program(
    watch: Daemon, mount: Path, old: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    with group(mount, "/sysmonlx-test.slice/elsewhere") as other:
        script = f"echo 0 >{other}/cgroup.procs; : >{made}; exec /bin/true"
        pid = run_in(old, ["/bin/sh", "-c", script])
    events = watch.settle()
    starts = [
        e for e in events if (e["EventID"], e.get("ProcessId")) == ("1", str(pid))
    ]
    paths = [e["CgroupPath"] for e in starts]
    assert paths == [BEFORE, "/sysmonlx-test.slice/elsewhere"]
    [file] = [e for e in events if e.get("TargetFilename") == os.fspath(made)]
    assert file["ContainerId"] == "b" * 64


def test_process_outside_has_its_control_group_and_no_container(
    watch: Daemon, mount: Path
) -> None:
    with group(mount, "/sysmonlx-test.slice/a b&c") as made:
        pid = run_in(made, ["/bin/true"])
    event = _of(watch.settle(), pid)
    assert event["CgroupPath"] == "/sysmonlx-test.slice/a b&c"
    assert (event["ContainerId"], event["ContainerRuntime"]) == ("-", "-")
