# SPDX-License-Identifier: MIT
"""Records that come late, and those of processes that the table knew otherwise."""

from __future__ import annotations

import pytest
from support.recordtable import INIT, SECOND, Table, record

from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.register import GRACE_NS

CHILD = {
    "tgid": 11,
    "start_boot_ns": 41 * SECOND,
    "parent_tgid": 10,
    "parent_start_boot_ns": 40 * SECOND,
}


def test_fork_after_a_scan_saw_the_child_tells_who_its_parent_was(
    table: Table,
) -> None:
    middle = table.create(record())
    adopted = record(**CHILD | {"parent_tgid": 1, "parent_start_boot_ns": SECOND})
    table.scan([INIT, record(), adopted], 60 * SECOND)
    scanned = table.alive(11)
    assert scanned is not None
    assert scanned.parent is table.alive(1)
    table.fork(record(**CHILD))
    assert table.alive(11) is scanned
    assert scanned.parent is middle
    assert table.acting(record(**CHILD)) is scanned


def test_what_was_done_before_an_exec_that_a_scan_saw_is_of_the_image_before(
    table: Table,
) -> None:
    """A scan sees the next image of a child while its fork is still in the ring."""
    parent = table.create(record())
    ahead = record(**CHILD | {"exec_id": 2, "image": b"/usr/bin/true"})
    table.scan([INIT, record(), ahead], 60 * SECOND)
    table.fork(record(**CHILD))
    acted, scanned = table.acting(record(**CHILD)), table.alive(11)
    assert scanned is not None
    assert (scanned.image, acted.image) == ("/usr/bin/true", parent.image)
    assert (acted.args, acted.guid != scanned.guid) == (parent.args, True)
    assert (acted.parent, acted.hold is scanned.hold) == (parent, True)
    of_it = {"tgid": 12, "start_boot_ns": 42 * SECOND, "image": b"/usr/bin/id"}
    by = {"parent_tgid": 11, "parent_start_boot_ns": CHILD["start_boot_ns"]}
    grandchild = table.create(record(**of_it | by, parent_exec_id=1, parent_uid=0))
    assert grandchild.parent is acted
    created = table.create(record(**CHILD | {"exec_id": 2, "image": b"/usr/bin/true"}))
    assert table.acting(record(**CHILD)) is acted
    table.fork(record(**CHILD))  # two hooks at once may tell it twice
    assert table.acting(record(**CHILD)) is acted
    assert table.alive(11) is created


def test_fork_of_an_unknown_parent_leaves_the_scanned_one(table: Table) -> None:
    table.scan([INIT, record()], 60 * SECOND)
    scanned = table.alive(10)
    table.fork(record(parent_tgid=9, parent_start_boot_ns=39 * SECOND))
    assert table.alive(10) is scanned
    assert scanned is not None
    assert scanned.parent is table.alive(1)


def test_exec_after_a_scan_saw_the_forked_child_is_its_next_image(
    table: Table,
) -> None:
    table.fork(record())
    table.scan([INIT, record()], 60 * SECOND)
    forked = table.alive(10)
    created = table.create(record(exec_id=2))
    assert table.alive(10) is created
    assert created.parent is table.alive(1)
    assert table.find(10, 40 * SECOND, 1) is forked
    assert table.acting(record(exec_id=2)) is created


def test_exec_of_a_tgid_that_another_forked_process_had(table: Table) -> None:
    """The exit of the first and the fork of the second were lost."""
    table.fork(record())
    other = record(start_boot_ns=45 * SECOND, image=b"/bin/other")
    created = table.create(other)
    assert table.alive(10) is created
    assert created.image == "/bin/other"
    assert created.parent is table.alive(1)
    assert created.previous is None
    first = table.find(10, 40 * SECOND)
    assert first is not None
    assert (first.image, first.is_alive) == ("/sbin/init", False)
    assert table.terminate(record()) is first
    assert table.terminate(other) is created


def test_late_exec_of_a_tgid_that_is_forked_anew(table: Table) -> None:
    table.fork(record(start_boot_ns=45 * SECOND))
    created = table.create(record(exec_id=2))
    newer = table.alive(10)
    assert newer is not None
    assert (newer.start_boot_ns, newer.image) == (45 * SECOND, "/sbin/init")
    assert not created.is_alive
    assert table.find(10, 40 * SECOND) is created
    assert table.acting(record(start_boot_ns=45 * SECOND)) is newer


def test_tgid_forked_twice_is_the_later_process(table: Table) -> None:
    table.fork(record())
    table.fork(record(start_boot_ns=45 * SECOND))
    created = table.create(record(start_boot_ns=45 * SECOND, exec_id=2))
    assert table.alive(10) is created
    assert created.parent is table.alive(1)
    first = table.find(10, 40 * SECOND)
    assert first is not None
    assert not first.is_alive


def test_end_of_a_process_that_was_only_forked(table: Table) -> None:
    table.fork(record(uid=1000))
    ended = table.terminate(record(boot_ns=51 * SECOND, uid=1000))
    assert ended is not None
    assert (ended.image, ended.args) == ("/sbin/init", "init")
    assert (ended.tgid, ended.exec_id) == (10, 1)
    assert ended.start_boot_ns == 40 * SECOND
    assert (ended.parent, ended.uid) == (table.alive(1), 1000)
    assert (ended.ended_boot_ns, ended.is_alive) == (51 * SECOND, False)
    assert table.terminate(record()) is None
    assert table.alive(10) is None
    assert table.find(10, 40 * SECOND) is ended


def test_forked_process_acts_by_its_own_name(table: Table) -> None:
    table.fork(record())
    process = table.acting(record())
    assert process is table.acting(record()) is table.alive(10)
    assert (process.pid, process.tgid, process.exec_id) == ("10", 10, 1)
    assert process.guid == table.identity.process_guid(10, 40 * SECOND, 1)


def test_user_at_its_end_is_the_one_that_it_ends_as(table: Table) -> None:
    table.create(record())
    ended = table.terminate(record(uid=1000))
    assert ended is not None
    assert ended.ended_uid == 1000


def test_user_of_a_parent_stays_when_it_ends_as_another(table: Table) -> None:
    table.create(record())
    table.fork(record(**CHILD, uid=1000))
    table.terminate(record(uid=2000))
    parent = table.create(record(**CHILD, exec_id=2)).parent
    assert parent is not None
    assert parent.uid == 1000


def test_child_runs_a_program_before_it_does_anything_else(table: Table) -> None:
    """Its record alone says who forked it, as which user."""
    created = table.create(record(exec_id=2, uid=1000, parent_uid=33))
    parent = table.alive(1)
    assert parent is not None
    assert (created.parent, created.uid, parent.uid) == (parent, 1000, 33)
    assert table.alive(10) is table.acting(record(exec_id=2)) is created
    forked = table.find(10, 40 * SECOND, 1)
    assert forked is not None
    assert (forked.image, forked.args, forked.uid) == ("/sbin/init", "init", 33)
    assert (forked.pid, forked.exec_id, forked.parent) == ("10", 1, parent)
    assert table.find(10, 40 * SECOND, 1) is forked


def test_first_program_of_a_child_whose_parent_runs_another(table: Table) -> None:
    first = table.create(record())
    second = table.create(record(exec_id=2, image=b"/bin/second"))
    child = table.create(record(**CHILD, exec_id=2, parent_uid=33))
    assert (child.parent, first.uid, second.uid) == (first, 33, 0)
    forked = table.find(11, 41 * SECOND, 1)
    assert forked is not None
    assert forked.image == first.image


def test_first_program_of_a_child_whose_parent_has_ended(table: Table) -> None:
    middle = table.create(record())
    table.terminate(record())
    created = table.create(record(**CHILD, exec_id=2, parent_uid=0))
    assert created.parent is middle


def test_first_program_of_a_child_that_a_scan_saw(table: Table) -> None:
    middle = table.create(record())
    table.scan([INIT, record(), record(**CHILD)], 60 * SECOND)
    scanned = table.alive(11)
    created = table.create(record(**CHILD, exec_id=2, parent_uid=33))
    assert (created.parent, created.previous) == (middle, scanned)
    assert middle.uid == 33


def test_first_program_of_a_child_that_a_later_one_took_the_number_of(
    table: Table,
) -> None:
    newer = table.create(record(start_boot_ns=45 * SECOND, parent_uid=0))
    created = table.create(record(exec_id=2, parent_uid=0))
    assert table.alive(10) is newer
    assert (created.parent, created.is_alive) == (table.alive(1), False)


def test_image_before_is_not_made_of_a_parent_that_is_forgotten(
    table: Table,
) -> None:
    created = table.create(record(exec_id=2, parent_uid=0))
    created.parent = None
    found = table.find(10, 40 * SECOND, 1)
    assert found is not None
    assert (found.exec_id, found.image) == (1, UNKNOWN)


@pytest.mark.parametrize("is_forked", [False, True])
@pytest.mark.parametrize(
    ("args", "shown", "plain"), [(b"", UNKNOWN, True), (b"\0", "", True)]
)
def test_arguments_that_are_not_there(
    args: bytes, shown: str, plain: bool, is_forked: bool, table: Table
) -> None:
    if is_forked:
        table.fork(record())
    process = table.create(record(args=args, exec_id=2))
    assert (process.args, process.has_plain_args) == (shown, plain)
    assert process.image == "/bin/program"


@pytest.mark.parametrize("is_forked", [False, True])
def test_arguments_that_are_cut_end_in_dots(is_forked: bool, table: Table) -> None:
    if is_forked:
        table.fork(record())
    flags = table.flags["ARGS_TRUNCATED"]
    process = table.create(record(args=b"a\0bcdefg", exec_id=2, flags=flags))
    assert (process.args, process.has_plain_args) == ("a bcd...", True)


def test_who_ended_last_is_known_longest_though_it_was_thought_ended(
    table: Table,
) -> None:
    """A scan did not see process 10 any more, but it had run another program."""
    table.create(record())
    other = record(tgid=12, start_boot_ns=42 * SECOND)
    table.create(other)
    table.scan([INIT, other], 60 * SECOND)
    again = table.create(record(exec_id=2))
    other.boot_ns = 62 * SECOND
    table.terminate(other)
    table.terminate(record(exec_id=2, boot_ns=90 * SECOND))
    table.expire(62 * SECOND + GRACE_NS + 1)
    assert table.find(12, 42 * SECOND) is None
    assert table.find(10, 40 * SECOND) is again


# --- images whose own record was lost


def lost(table: Table, count: int = 1) -> list[int]:
    """Have records of images lost since the last scan; return when it scans again."""
    rescans: list[int] = []
    table.lost_execs = lambda: count
    table.rescan = lambda: rescans.append(len(rescans))
    return rescans


def test_what_an_image_did_whose_record_was_lost_is_not_told_of_the_one_before(
    table: Table,
) -> None:
    table.create(record(exec_id=1, image=b"/bin/first"))
    rescans = lost(table)
    acted = table.acting(record(exec_id=2))
    assert (acted.image, acted.args, acted.exec_id) == (UNKNOWN, UNKNOWN, 2)
    assert acted.parent is table.alive(1)
    assert table.acting(record(exec_id=2)) is acted
    assert (len(rescans), table.unknown) == (1, 1)
    before = table.find(10, 40 * SECOND, 1)
    assert before is not None
    assert before.image == "/bin/first"
    assert table.create(record(exec_id=2, image=b"/bin/late")).image == "/bin/late"


def test_scan_names_the_image_whose_record_was_lost(table: Table) -> None:
    table.create(record(exec_id=1, image=b"/bin/first"))
    lost(table)
    scanned = record(exec_id=2, image=b"/bin/second")
    table.rescan = lambda: table.scan([INIT, scanned], 60 * SECOND)
    assert table.acting(record(exec_id=2)).image == "/bin/second"
    assert table.unknown == 0


def test_image_between_two_others_has_no_name_where_its_record_was_lost(
    table: Table,
) -> None:
    """A scan knows of the third one when the second one's act is read."""
    table.create(record(exec_id=1, image=b"/bin/first"))
    lost(table)
    table.scan([INIT, record(exec_id=3, image=b"/bin/third")], 60 * SECOND)
    acted = table.acting(record(exec_id=2))
    assert (acted.image, acted.exec_id) == (UNKNOWN, 2)
    assert table.acting(record(exec_id=3)).image == "/bin/third"
    assert table.acting(record(exec_id=1)).image == "/bin/first"


def test_end_of_an_image_whose_record_was_lost_does_not_name_the_one_before(
    table: Table,
) -> None:
    table.create(record(exec_id=1, image=b"/bin/first"))
    rescans = lost(table)
    ended = table.terminate(record(exec_id=2))
    assert ended is not None
    assert (ended.image, ended.exec_id, rescans) == (UNKNOWN, 2, [])
    assert table.alive(10) is None
    assert table.terminate(record(exec_id=2)) is None


def test_exec_that_fails_when_the_old_image_is_gone_is_the_end_of_the_old_one(
    table: Table,
) -> None:
    """It counts as an exec, and has no record: nothing was lost."""
    created = table.create(record(exec_id=1, image=b"/bin/first"))
    table.lost_before_scan = 3
    rescans = lost(table, 3)
    assert table.acting(record(exec_id=2)) is created
    assert table.terminate(record(exec_id=2)) is created
    assert (rescans, table.unknown) == ([], 0)


def test_child_of_an_image_whose_record_was_lost_has_a_parent_without_a_name(
    table: Table,
) -> None:
    table.create(record(exec_id=1, image=b"/bin/first"))
    lost(table)
    child = table.create(record(**CHILD, parent_exec_id=2, parent_uid=0))
    assert child.parent is not None
    assert (child.parent.image, child.parent.exec_id) == (UNKNOWN, 2)
