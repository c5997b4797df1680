# SPDX-License-Identifier: MIT
"""Records as the built object lays them out, and a process table that takes them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from support.leftovers import Snapshot, left_on_the_machine, mark_temporary_names
from support.recordtable import INIT, SECOND, Table

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.libbpf import library
from sysmonlx.capture.loader import OBJECT
from sysmonlx.capture.records import Layouts
from sysmonlx.host import child_process
from sysmonlx.host.file_calls import Worker
from sysmonlx.host.lane import Lane
from sysmonlx.output import record_ids
from sysmonlx.output.sinks import streams
from sysmonlx.processes.identity import Identity


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass by what stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def layouts() -> Iterator[Layouts]:
    pointer = library().btf__parse(os.fsencode(OBJECT), None)
    yield Layouts(Btf(library(), pointer))
    library().btf__free(pointer)


@pytest.fixture
def table(layouts: Layouts) -> Iterator[Table]:
    made = Table(Identity(0x12345678, 0), layouts)
    made.scan([INIT], 2 * SECOND)
    yield made
    assert made._images == {each.key: each for each in made._alive.values()}


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_on_the_machine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Fail where files, mounts or daemons of this session outlive its tests."""
    mark = mark_temporary_names()
    yield
    left = left_on_the_machine(tmp_path_factory.getbasetemp(), mark)
    assert not left, f"the tests leave {left}"


@pytest.fixture(autouse=True)
def others_are_waited_for() -> Iterator[None]:
    """A busy machine lets threads and processes wait for long: so do the tests."""
    with pytest.MonkeyPatch.context() as patch:  # not what a test may undo
        for name in ("NEAR_WAIT_S", "_FIRST_WAIT_S", "_NEXT_WAIT_S"):
            patch.setattr(streams, name, 20.0)
        patch.setattr(child_process, "_END_S", 30.0)
        patch.setattr(record_ids, "_CLOSE_S", 20.0)
        yield


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail where a test leaves a thread, a child process or an open file.

    The next test of this process would find them, and whatever they do then. Lanes and
    workers end here: in reality they end with the process.
    """
    begun: list[Lane | Worker] = []
    begin, make = Lane.begin, Worker.__init__

    def noted(self: Lane, when_needed: bool = False) -> None:
        begun.append(self)
        begin(self, when_needed)

    def made(self: Worker, keeps: int = -1) -> None:
        make(self, keeps)
        begun.append(self)

    before = Snapshot.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "begin", noted)
        patch.setattr(Worker, "__init__", made)
        yield
    for each in begun:
        each.end()
    left = before.left()
    assert not left, f"the test leaves {left}"
