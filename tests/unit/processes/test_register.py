# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import Process
from sysmonlx.processes.register import ENDED_LIMIT, GRACE_NS, Register

SECOND = 1_000_000_000


class Entered(Register):
    """A register into which a test enters processes itself."""

    def enter(self, tgid: int, start_boot_ns: int, exec_id: int = 0) -> Process:
        process = self._new(tgid, start_boot_ns, exec_id, uid=0)
        before = self.find(tgid, start_boot_ns)
        if before is not None:
            self._supersede(before, process)
        self._insert(process)
        return process

    def end(self, process: Process, boot_ns: int) -> None:
        self._end(process, boot_ns)


@pytest.fixture
def register() -> Entered:
    return Entered(Identity(1, 0))


def test_process_is_found_by_tgid_and_time_of_its_fork(register: Entered) -> None:
    process = register.enter(10, SECOND)
    assert register.find(10, SECOND) is process
    assert register.find(10, 2 * SECOND) is None
    assert register.alive(10) is process


def test_image_before_is_found_by_its_number(register: Entered) -> None:
    images = [register.enter(10, SECOND, number) for number in (1, 2, 3)]
    assert register.find(10, SECOND, 3) is images[2]
    assert register.find(10, SECOND, 2) is images[1]
    forgotten = register.find(10, SECOND, 1)
    assert forgotten is not None
    assert (forgotten.key, forgotten.guid) == (images[0].key, images[0].guid)
    assert (forgotten.image, forgotten.args) == (UNKNOWN, UNKNOWN)
    assert forgotten.hold is images[2].hold
    assert register.find(10, SECOND, 4) is images[2]  # its record is to come
    assert register.find(10, SECOND) is images[2]


def test_who_takes_a_tgid_ends_its_owner(register: Entered) -> None:
    first, second = register.enter(10, SECOND), register.enter(10, 2 * SECOND)
    assert (first.ended_boot_ns, register.alive(10)) == (2 * SECOND, second)
    assert register.find(10, SECOND) is first
    late = register.enter(10, SECOND // 2)
    assert (late.ended_boot_ns, register.alive(10)) == (2 * SECOND, second)


def test_ended_processes_are_forgotten_by_time_and_number(register: Entered) -> None:
    for number in range(ENDED_LIMIT + 3):
        process = register.enter(100 + number, SECOND + number)
        register.end(process, 3 * SECOND + number)
    register.trim()
    assert len(register) == len([*register]) == ENDED_LIMIT
    assert register.find(102, SECOND + 2) is None
    register.expire(3 * SECOND + GRACE_NS + 4)
    assert register.find(103, SECOND + 3) is None
    assert register.find(104, SECOND + 4) is not None
