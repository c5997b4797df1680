# SPDX-License-Identifier: MIT
"""Arguments of processes that a scan found: they are read afterwards."""

from __future__ import annotations

import pytest
from support.recordtable import INIT, SECOND, Table, record

from sysmonlx.processes.process import Process

SCANNED = 1 << 4  # ARGS_UNREADABLE
NO_ARGS = {"flags": SCANNED, "args": b""}


def alive(table: Table, tgid: int) -> Process:
    process = table.alive(tgid)
    assert process is not None
    return process


def test_arguments_of_a_scanned_process_come_later(table: Table) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    process = alive(table, 10)
    assert process.args == "-"
    assert table.without_args() == [process]
    table.take_args(process.key, b"program\0-x\0", 100)
    assert (process.args, process.has_plain_args) == ("program -x", True)
    assert not table.has_argless
    table.take_args(process.key, b"other\0", 100)
    assert process.args == "program -x"


def test_arguments_of_another_image_are_not_believed(table: Table) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    before = alive(table, 10)
    table.scan([INIT, record(exec_id=2, **NO_ARGS)], 60 * SECOND)
    table.take_args(before.key, b"later\0", 100)
    assert (before.args, alive(table, 10).args) == ("-", "-")
    assert table.without_args() == [alive(table, 10)]
    table.scan([INIT, record(start_boot_ns=45 * SECOND, **NO_ARGS)], 60 * SECOND)
    table.take_args(before.key, b"later\0", 100)
    assert alive(table, 10).args == "-"


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        (b"program\0-", "program -..."),
        (b"program\0" + b"x" * 93, "program " + "x" * 89 + "..."),
        (b"program\0" + b"x" * 91 + b"\0", "program " + "x" * 91),
        (b"a\xff\0", "a\udcff"),
    ],
)
def test_arguments_that_were_cut_say_so(table: Table, read: bytes, shown: str) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    table.take_args(alive(table, 10).key, read, 100)
    assert alive(table, 10).args == shown


def test_no_arguments_are_asked_for_once_more(table: Table) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    process = alive(table, 10)
    table.take_args(process.key, b"", 100)
    assert table.without_args() == [process]
    table.take_args(process.key, b"", 100)
    assert table.without_args() == []
    assert process.args == "-"


def test_a_child_has_the_arguments_too_when_they_come(table: Table) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    child = table.forked(
        record(
            tgid=11,
            start_boot_ns=49 * SECOND,
            parent_tgid=10,
            parent_start_boot_ns=40 * SECOND,
        )
    )
    assert table.without_args() == [alive(table, 10), child]


def test_the_end_of_a_process_ends_the_wait_for_its_arguments(table: Table) -> None:
    table.scan([INIT, record(**NO_ARGS)], 60 * SECOND)
    table.terminate(record())
    assert table.without_args() == []
    assert not table.has_argless
