# SPDX-License-Identifier: MIT
"""Programs that perf told: who loaded them, and where they stand among records."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.recordtable import SECOND, Table, record

from sysmonlx.bpf.side_band import ToldProgram
from sysmonlx.capture.records import Layouts
from sysmonlx.capture.told_programs import LiveProgram, ToldPrograms
from sysmonlx.service import loaded_programs
from sysmonlx.service.loaded_programs import LoadedPrograms

OWN = 4242
T = 100 * SECOND
NO_TYPE = 0xFFFFFFFF


class World(ToldPrograms):
    """A side band that the test fills."""

    def __init__(self, layouts: Layouts) -> None:
        super().__init__({}, layouts, lambda name, value: None, bytes)
        self.told: list[ToldProgram] = []
        self.living: dict[int, LiveProgram] = {}
        self.by_hook: set[int] = set()
        self.forks: dict[int, Any] = {}
        self.looks = 0
        band: Any = SimpleNamespace(read=self._take, lost=0)
        self.side_band.end()
        self.side_band = band

    def _take(self) -> list[ToldProgram]:
        told, self.told = self.told, []
        return told

    def alive(self) -> dict[int, LiveProgram]:
        self.looks += 1
        return self.living

    def claim(self, program_id: int) -> bool:
        if program_id in self.by_hook:
            return False
        self.by_hook.add(program_id)
        return True

    def fork_untold(self, tgid: int) -> Any:
        return self.forks.pop(tgid, b"")


class Stage:
    """The parts together; `taken` are records by name, and programs decoded."""

    def __init__(self, table: Table, layouts: Layouts) -> None:
        self.table, self.layouts = table, layouts
        self.world = World(layouts)
        self.made = LoadedPrograms(self.world, table, OWN, knows_pids=True)
        self.taken: list[Any] = []

    def tell(self, number: int, tgid: int = 10, boot_ns: int = T) -> None:
        self.world.told.append(ToldProgram(boot_ns, tgid, tgid, number, b"by_perf"))

    def take(self, records: Sequence[bytes]) -> None:
        names = self.layouts.name
        for data in records:
            name = names[data[0]]
            if name == "process_create":
                self.table.create(SimpleNamespace(**self._decoded(data)))
            if name == "bpf_program_load":
                self.taken.append(self.layouts.by_name[name].decode(data))
            else:
                self.taken.append(name)

    def _decoded(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any]
        found = self.layouts.by_name["process_create"].decode(data)._asdict()
        return vars(record()) | found

    def create(self, boot_ns: int, tgid: int = 10, **more: Any) -> bytes:
        one = record(boot_ns=boot_ns, tgid=tgid, **more)
        one.type = self.layouts.number["process_create"]
        return self.table.encoded("process_create", one)

    def run(self, *records: bytes, is_last: bool = True) -> None:
        self.made.note()
        self.made.look()
        self.made.take_among(records, self.take, is_last=is_last)

    @property
    def programs(self) -> list[Any]:
        return [each for each in self.taken if not isinstance(each, str)]


@pytest.fixture
def stage(table: Table, layouts: Layouts) -> Stage:
    return Stage(table, layouts)


def test_a_program_has_the_process_that_loaded_it(stage: Stage) -> None:
    stage.take([stage.create(50 * SECOND)])
    stage.world.living[8] = LiveProgram(26, b"alive", 1000)
    stage.tell(8)
    stage.run()
    (found,) = stage.programs
    assert (found.tgid, found.start_boot_ns, found.exec_id) == (10, 40 * SECOND, 1)
    assert (found.boot_ns, found.program_id, found.uid) == (T, 8, 1000)
    assert (found.program_type, found.name) == (26, b"alive")
    assert stage.world.count == 1


def test_a_program_that_has_gone_has_the_name_that_perf_told(stage: Stage) -> None:
    stage.take([stage.create(50 * SECOND, uid=77)])
    stage.tell(8)
    stage.run()
    (found,) = stage.programs
    assert (found.program_type, found.name, found.uid) == (NO_TYPE, b"by_perf", 77)


def test_the_image_is_that_of_the_moment(stage: Stage) -> None:
    """It loads a program and runs another image before anybody looks."""
    stage.tell(8)
    stage.run(
        stage.create(T - 1, exec_id=1, parent_exec_id=1),
        stage.create(T + 1, exec_id=2),
    )
    assert [
        each if isinstance(each, str) else each.exec_id for each in stage.taken
    ] == [
        "process_create",
        1,
        "process_create",
    ]


def test_what_the_hook_told_is_not_told_again(stage: Stage) -> None:
    stage.world.by_hook.add(8)
    stage.tell(8)
    stage.run()
    assert stage.taken == []
    assert stage.world.looks == 0


def test_own_programs_are_left_out_and_not_claimed(stage: Stage) -> None:
    stage.tell(8, tgid=OWN)
    stage.run()
    assert stage.taken == []
    assert stage.world.by_hook == set()


def test_a_program_waits_for_the_records_from_before_it(stage: Stage) -> None:
    stage.tell(8)
    stage.run(stage.create(T - 2, exec_id=1), is_last=False)
    assert stage.programs == []
    assert stage.made.is_waiting
    stage.run(stage.create(T - 1, exec_id=2), stage.create(T + 1, exec_id=3))
    assert [each.exec_id for each in stage.programs] == [2]
    assert not stage.made.is_waiting


def test_a_process_that_was_only_forked_is_found(stage: Stage) -> None:
    fork = record(boot_ns=T - 5, start_boot_ns=T - 5, tgid=11, exec_id=0)
    stage.world.forks[11] = fork
    stage.tell(8, tgid=11)
    stage.run()
    (found,) = stage.programs
    assert (found.tgid, found.start_boot_ns) == (11, T - 5)


def test_a_process_whose_records_come_later_is_waited_for(stage: Stage) -> None:
    stage.tell(8)
    stage.run(stage.create(T + 1))
    assert stage.programs[0].start_boot_ns == 40 * SECOND


def test_nobody_is_found_and_the_program_is_told_all_the_same(stage: Stage) -> None:
    stage.tell(8, tgid=99)
    stage.run()
    (found,) = stage.programs
    assert (found.tgid, found.start_boot_ns, found.uid) == (99, 0, NO_TYPE)


def test_a_later_process_of_the_same_number_is_not_the_one(stage: Stage) -> None:
    stage.take([stage.create(T + 5, start_boot_ns=T + 5)])
    stage.tell(8)
    stage.run()
    assert stage.programs[0].start_boot_ns == 0


def test_a_flood_of_programs_is_read_in_turns(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [50.0]
    monkeypatch.setattr(
        "sysmonlx.service.loaded_programs.time.monotonic", lambda: clock[0]
    )
    for number in range(30):
        stage.tell(number)
        stage.made.note()
        stage.made.look()
    seen = [(stage.made.is_due, stage.world.looks)]
    clock[0] += 2 * loaded_programs.SOON_S
    stage.made.look()
    seen.append((stage.made.is_due, stage.world.looks))
    assert seen == [(True, 20), (False, 21)]


def test_numbers_of_another_pid_namespace_name_nobody(
    table: Table, layouts: Layouts
) -> None:
    stage = Stage(table, layouts)
    stage.made = LoadedPrograms(stage.world, table, OWN, knows_pids=False)
    stage.take([stage.create(50 * SECOND)])
    stage.tell(8)
    stage.run()
    (found,) = stage.programs
    assert (found.tgid, found.tid, found.start_boot_ns) == (0, 0, 0)
