# SPDX-License-Identifier: MIT
"""Lineages: of logins, containers and services, whoever ends meanwhile."""

from __future__ import annotations

import gc

import pytest
from support.enrichment import SECOND, encode

from sysmonlx.capture.records import Layouts
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.lineage import MOST, Lineages
from sysmonlx.processes.process import Process, image_key
from sysmonlx.processes.register import ENDED_LIMIT, GRACE_NS
from sysmonlx.processes.table import ProcessTable

NONE = 0xFFFFFFFF


class World:
    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.table = ProcessTable(Identity(1, 0), layouts)
        self.lineages = Lineages(self.table, layouts)

    def run(
        self,
        tgid: int,
        parent: int = 0,
        session: int = NONE,
        exec_id: int = 1,
        group: int = 0,
        *,
        is_watched: bool = True,
    ) -> Process:
        of = self.table.alive(parent)
        more = {} if of is None else {"parent_uid": 0, "parent_exec_id": of.exec_id}
        data = encode(
            self.layouts,
            "process_create",
            tgid=tgid,
            start_boot_ns=tgid,
            exec_id=exec_id,
            parent_tgid=parent,
            parent_start_boot_ns=parent,
            session_id=session,
            cgroup_id=group,
            image=b"/bin/x",
            args=b"x\0",
            **more,
        )
        return (self.lineages if is_watched else self.table).create(data)

    def end(self, tgid: int) -> None:
        data = encode(
            self.layouts,
            "process_terminate",
            boot_ns=tgid,
            tgid=tgid,
            start_boot_ns=tgid,
            exec_id=1,
        )
        self.table.terminate(data)

    def of(self, process: Process) -> str:
        return self.lineages.of(process)


@pytest.fixture
def world(layouts: Layouts) -> World:
    made = World(layouts)
    made.run(1)
    return made


INIT = Process(image_key(1, 1, 1), "", "1", 0)


def test_a_login_is_its_audit_session(world: World) -> None:
    sshd = world.run(10, 1)
    first, second = world.run(11, 10, session=4), world.run(12, 10, session=5)
    assert world.of(first) == "session 4"
    assert world.of(world.run(13, 11, session=4)) == "session 4"
    assert len({*map(world.of, (sshd, first, second))}) == 3


def test_a_service_is_its_topmost_process_below_init(world: World) -> None:
    one, other = world.run(10, 1), world.run(20, 1)
    child = world.run(12, 11) if world.run(11, 10) else one
    assert world.of(child) == world.of(one) != world.of(other)
    again = world.run(10, 1, exec_id=2)  # it runs another program
    assert world.of(again) == world.of(one)


def test_a_session_that_somebody_gave_up_stays(world: World) -> None:
    world.run(10, 1, session=4)
    assert world.of(world.run(11, 10)) == "session 4"


def test_a_container_is_one_lineage_unless_a_login_made_it(world: World) -> None:
    world.lineages.container_of = {0: "-", 7: "id"}.__getitem__
    world.run(10, 1)
    assert world.of(world.run(11, 10, group=7)) == "container id"
    assert world.of(world.run(12, 11, group=7)) == "container id"
    assert world.of(world.run(13, 10, group=7, session=4)) == "session 4"


def test_ends_of_ancestors_change_nothing(world: World) -> None:
    first = world.run(10, 1)
    wanted = world.of(first)
    world.run(11, 10)
    orphan = world.run(12, 11)
    for tgid in (10, 11):
        world.end(tgid)
    world.table.expire(GRACE_NS + SECOND)
    assert orphan.parent is not None
    assert orphan.parent.parent is world.table.alive(1)
    assert world.of(orphan) == world.of(world.run(13, 12)) == wanted


def test_an_ancestor_is_known_as_long_as_it_lives(world: World) -> None:
    first = world.run(10, 1)
    for tgid in (11, 12, 13):
        world.run(tgid, tgid - 1)
    orphan = world.run(14, 13)
    for tgid in (11, 12, 13):
        world.end(tgid)
    world.table.expire(GRACE_NS + SECOND)
    found = [*world.lineages.identities(orphan)]
    assert found == [
        each.key[:12] for each in (orphan, orphan.parent, first, INIT) if each
    ]
    for exec_id in (2, 3, 4):  # it runs other programs
        world.run(10, 1, exec_id=exec_id)
    assert [*world.lineages.identities(orphan)] == found


def test_an_ancestor_that_ended_long_ago_is_not_known(world: World) -> None:
    world.run(10, 1)
    world.run(11, 10)
    orphan = world.run(12, 11)
    for tgid in (10, 11):
        world.end(tgid)
    world.table.expire(GRACE_NS + SECOND)
    found = [*world.lineages.identities(orphan)]
    assert found == [each.key[:12] for each in (orphan, orphan.parent, INIT) if each]


def test_who_has_no_session_and_takes_one_is_another_lineage(world: World) -> None:
    service = world.run(10, 1)
    world.run(11, 10)
    again = world.run(11, 10, session=9, exec_id=2)  # it wrote its loginuid
    assert world.of(again) == "session 9" != world.of(service)


def test_sessions_of_processes_from_before_are_learnt(world: World) -> None:
    world.run(10, 1)
    shell = world.run(11, 10, session=4, is_watched=False)
    assert not hasattr(shell, "session_id")
    data = encode(
        world.layouts,
        "process_scan",
        tgid=11,
        start_boot_ns=11,
        exec_id=1,
        session_id=4,
        image=b"/bin/x",
    )
    world.table.rescan = lambda: world.table.scan([data], 0)
    world.table.learn_sessions()
    assert world.of(shell) == "session 4"


def test_sessions_are_learnt_by_the_first_scan_where_it_is_still_to_come(
    layouts: Layouts,
) -> None:
    world, calls = World(layouts), list[int]()
    world.table.rescan = lambda: calls.append(1)
    world.table.learn_sessions()
    assert world.table.learns_sessions
    assert not calls


def test_identities_are_of_processes_whatever_they_run(world: World) -> None:
    first = world.run(10, 1)
    child = world.run(11, 10)
    again = world.run(11, 10, exec_id=2)
    identities = world.lineages.identities
    assert [*identities(child)] == [*identities(again)]
    assert [*identities(again)][1] == next(identities(first))
    for tgid in range(12, 12 + 2 * MOST):
        last = world.run(tgid, tgid - 1)
    assert len([*identities(last)]) == MOST + 1
    assert ENDED_LIMIT > MOST


def test_a_chain_of_processes_is_not_kept_by_its_last_one(world: World) -> None:
    def count() -> int:
        return sum(type(each) is Process for each in gc.get_objects())

    before = count()
    world.run(100, 1)
    for tgid in range(101, 101 + 3 * ENDED_LIMIT):
        world.run(tgid, tgid - 1)
        world.end(tgid - 1)
        world.table.trim()
    assert count() - before <= ENDED_LIMIT + 3
