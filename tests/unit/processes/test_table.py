# SPDX-License-Identifier: MIT
from __future__ import annotations

import gc
import weakref

import pytest
from support.recordtable import INIT, SECOND, Table, record

from sysmonlx.capture.records import Layouts
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process
from sysmonlx.processes.register import ENDED_LIMIT, GRACE_NS


@pytest.mark.parametrize(
    ("image", "args", "plain"),
    [
        (b"/bin/a", b"a\0-b\0", (True, True)),
        (b"/bin/a&b", b"a\0", (False, True)),
        (b"/bin/a", b"a\0>b\0", (True, False)),
        (b"", b"", (True, True)),
    ],
)
@pytest.mark.parametrize("cut", [(), ("ARGS_TRUNCATED", "IMAGE_TRUNCATED")])
def test_process_knows_which_of_its_texts_are_plain(
    image: bytes,
    args: bytes,
    plain: tuple[bool, bool],
    cut: tuple[str, ...],
    table: Table,
) -> None:
    flags = sum(table.flags[name] for name in cut)
    made = table.create(record(image=image, args=args, flags=flags))
    assert (made.is_plain, made.has_plain_args) == plain
    child = table.forked(
        record(tgid=11, parent_tgid=10, parent_start_boot_ns=40 * SECOND)
    )
    assert (child.is_plain, child.has_plain_args) == plain


def test_forked_process_runs_its_parents_image(table: Table) -> None:
    process = table.forked(record())
    parent = table.alive(1)
    assert process.parent is parent
    assert (process.image, process.args) == ("/sbin/init", "init")
    assert parent is not None
    assert process.guid != parent.guid


def test_new_image_keeps_the_parent_and_has_a_new_guid(table: Table) -> None:
    table.fork(record())
    created = table.create(record(exec_id=2))
    assert created.parent is table.alive(1)
    assert created.image == "/bin/program"
    assert table.alive(10) is created
    forked = table.find(10, 40 * SECOND, 1)
    assert forked is not None
    assert (forked.image, forked.parent) == ("/sbin/init", table.alive(1))
    assert created.guid != forked.guid
    assert table.find(10, 40 * SECOND, 1) is forked


def test_parent_is_who_forked_though_another_adopted(table: Table) -> None:
    table.fork(record())
    middle = table.alive(10)
    child = {"tgid": 11, "start_boot_ns": 41 * SECOND}
    table.fork(record(**child, parent_tgid=10, parent_start_boot_ns=40 * SECOND))
    assert table.terminate(record()) is middle
    created = table.create(record(**child, exec_id=2))  # its real_parent is 1 by now
    assert created.parent is middle


def test_parent_is_the_image_that_forked(table: Table) -> None:
    first = table.create(record(exec_id=1))
    child = record(
        tgid=11,
        start_boot_ns=41 * SECOND,
        parent_tgid=10,
        parent_start_boot_ns=40 * SECOND,
    )
    table.fork(child)
    second = table.create(record(exec_id=2, image=b"/bin/second"))
    assert table.create(child).parent is first
    assert table.find(10, 40 * SECOND, 1) is first
    assert table.find(10, 40 * SECOND, 2) is second


def test_user_of_a_parent_is_the_one_it_forked_as(table: Table) -> None:
    table.create(record())
    child = record(
        tgid=11,
        start_boot_ns=41 * SECOND,
        parent_tgid=10,
        parent_start_boot_ns=40 * SECOND,
        uid=1000,
    )
    parent = table.forked(child).parent
    assert parent is not None
    assert parent.uid == 1000


def test_end_is_taken_once(table: Table) -> None:
    process = table.create(record())
    assert table.terminate(record()) is process
    assert table.terminate(record()) is None
    assert table.alive(10) is None
    assert table.find(10, 40 * SECOND) is process


def test_end_seen_by_a_scan_first_is_still_an_end(table: Table) -> None:
    process = table.create(record())
    table.scan([INIT], 60 * SECOND)
    assert table.alive(10) is None
    assert table.terminate(record()) is process
    assert table.terminate(record()) is None


def test_scan_does_not_revive_what_waits_to_be_reaped(table: Table) -> None:
    process = table.create(record())
    table.terminate(record())
    table.scan([INIT, record(image=b"", args=b"")], 60 * SECOND)
    assert table.alive(10) is None
    assert table.find(10, 40 * SECOND) is process


def test_scan_keeps_what_records_said(table: Table) -> None:
    process = table.create(record())
    table.scan([INIT, record(args=b"changed later\0")], 60 * SECOND)
    assert table.alive(10) is process
    assert process.args == "program"


def test_scan_finds_images_whose_record_was_lost(table: Table) -> None:
    first = table.create(record())
    table.scan([INIT, record(exec_id=2, image=b"/bin/other")], 60 * SECOND)
    found = table.alive(10)
    assert found is not None
    assert (found.image, found.parent) == ("/bin/other", first.parent)
    assert table.find(10, 40 * SECOND, 1) is first


def test_record_older_than_the_scan_is_not_the_present_image(
    table: Table,
) -> None:
    table.scan([INIT, record(exec_id=3, image=b"/bin/third")], 60 * SECOND)
    second = table.create(record(exec_id=2, image=b"/bin/second"))
    present = table.alive(10)
    assert present is not None
    assert (second.image, present.image) == ("/bin/second", "/bin/third")
    assert table.find(10, 40 * SECOND, 2) is second
    assert second.hold is present.hold is not None
    third = table.create(record(exec_id=3, image=b"/bin/third"))
    assert table.alive(10) is third
    assert third.hold is second.hold


def test_scan_and_exec_give_the_same_guid(table: Table, layouts: Layouts) -> None:
    other = Table(table.identity, layouts)
    other.scan([record(exec_id=5)], 60 * SECOND)
    scanned = other.alive(10)
    assert scanned is not None
    assert scanned.guid == table.create(record(exec_id=5)).guid


def test_tgid_used_again_is_another_process(table: Table) -> None:
    first = table.create(record())
    second = table.create(record(start_boot_ns=45 * SECOND))
    assert table.alive(10) is second
    assert not first.is_alive
    assert table.find(10, 40 * SECOND) is first
    assert table.terminate(record()) is first
    assert table.alive(10) is second


def test_late_record_of_an_older_process_does_not_end_the_newer(
    table: Table,
) -> None:
    newer = table.create(record(start_boot_ns=45 * SECOND))
    unknown = table.acting(record())
    assert unknown.image == UNKNOWN
    assert table.alive(10) is newer


def test_unknown_process_makes_the_table_scan_at_once(table: Table) -> None:
    server = record(tgid=20, start_boot_ns=39 * SECOND, image=b"/bin/server")
    scans = []

    def rescan() -> None:
        scans.append(1)
        table.scan([INIT, server], 60 * SECOND)

    table.rescan = rescan
    parent = {"parent_tgid": 20, "parent_start_boot_ns": 39 * SECOND}
    process = table.create(record(**parent))
    assert process.parent is table.alive(20)
    assert process.parent is not None
    assert process.parent.image == "/bin/server"
    assert (len(scans), table.unknown) == (1, 0)


def test_scans_for_unknown_processes_are_rare(table: Table) -> None:
    scans = []
    table.rescan = lambda: scans.append(1)
    for number in range(100):
        table.acting(record(tgid=100 + number, boot_ns=50 * SECOND + number))
    assert (len(scans), table.unknown) == (1, 100)
    table.acting(record(tgid=99, boot_ns=51 * SECOND))
    assert len(scans) == 2


def test_first_process_has_no_parent(table: Table) -> None:
    table.rescan = lambda: pytest.fail("nothing to look for")
    assert table.create(INIT).parent is None
    assert table.unknown == 0


def test_kernel_thread_shows_its_name(table: Table) -> None:
    flags = table.flags["KERNEL_THREAD"]
    kthreadd = record(flags=flags, image=b"", comm=b"kthreadd")
    table.scan([INIT, kthreadd], 60 * SECOND)
    thread = table.alive(10)
    assert thread is not None
    assert (thread.image, thread.args) == (UNKNOWN, "[kthreadd]")
    assert thread.is_kernel_thread


def test_ended_process_is_known_for_a_minute(table: Table) -> None:
    table.create(record())
    table.terminate(record(boot_ns=50 * SECOND))
    table.expire(50 * SECOND + GRACE_NS)
    assert table.find(10, 40 * SECOND) is not None
    table.expire(50 * SECOND + GRACE_NS + 1)
    assert table.find(10, 40 * SECOND) is None


def test_memory_is_bounded_by_processes_that_end(table: Table) -> None:
    for number in range(3 * ENDED_LIMIT):
        one = record(tgid=100 + number % 7, start_boot_ns=(3 + number) * SECOND)
        table.fork(one)
        table.terminate(one)
        if number % 50 == 0:
            table.trim()
            assert len(table) - 1 == min(number + 1, ENDED_LIMIT)


class _Watched(Process):
    __slots__ = ("__weakref__",)


def test_superseded_images_do_not_keep_their_ancestors(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each generation forks the next, then runs another program and ends."""
    for module in ("table", "register"):
        monkeypatch.setattr(f"sysmonlx.processes.{module}.Process", _Watched)
    kept = []
    before = {"parent_tgid": 1, "parent_start_boot_ns": SECOND}
    for number in range(50):
        start = (number + 3) * SECOND
        me = {"tgid": 100 + number, "start_boot_ns": start}
        kept.append(weakref.ref(table.forked(record(**me, **before))))
        if number:
            old = {"tgid": 99 + number, "start_boot_ns": start - SECOND}
            table.create(record(**old, exec_id=2))
            table.terminate(record(**old, exec_id=2, boot_ns=start))
        before = {"parent_tgid": 100 + number, "parent_start_boot_ns": start}
    table.expire(1000 * SECOND)
    table.launches.clear()  # as every second; a launch keeps who started it
    gc.collect()
    assert sum(each() is not None for each in kept) <= 2
