# SPDX-License-Identifier: MIT
"""Records in any order, some lost: whatever comes, the table stays in order."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from support.recordtable import INIT, NO_UID, SECOND, Table, record

from sysmonlx.capture.records import Layouts
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import Process


class Step(NamedTuple):
    """What happens, to which of few processes, whose child it may be."""

    what: str
    tgid: int
    second: int
    exec_id: int
    parent: tuple[int, int, int]
    parent_uid: int


WHAT = ("fork", "create", "terminate", "acting", "find", "scan", "expire", "trim")
TGIDS, SECONDS, EXEC_IDS = (st.integers(low, 3) for low in (2, 2, 0))
STEPS = st.builds(
    Step,
    st.sampled_from(WHAT),
    TGIDS,
    SECONDS,
    EXEC_IDS,
    st.tuples(st.integers(1, 3), st.integers(1, 3), EXEC_IDS),
    st.sampled_from([0, NO_UID]),
).filter(lambda step: step.parent[:2] != (step.tgid, step.second))


def take(table: Table, step: Step, boot_ns: int) -> Process | None:
    tgid, second, exec_id = step.parent
    one = record(
        boot_ns=boot_ns,
        tgid=step.tgid,
        start_boot_ns=step.second * SECOND,
        exec_id=step.exec_id,
        parent_tgid=tgid,
        parent_start_boot_ns=second * SECOND,
        parent_exec_id=exec_id,
        parent_uid=step.parent_uid,
    )
    if step.what == "find":
        return table.find(step.tgid, step.second * SECOND, step.exec_id)
    if step.what == "scan":
        table.scan([INIT, one], boot_ns)
    elif step.what == "expire":
        table.expire(boot_ns + 30 * SECOND)
    elif step.what == "trim":
        table.trim()
    else:
        made: Process | None = getattr(table, step.what)(one)
        return made
    return None


@given(steps=st.lists(STEPS, max_size=12))
def test_table_stays_in_order(layouts: Layouts, steps: list[Step]) -> None:
    table = Table(Identity(0x12345678, 0), layouts)
    table.scan([INIT], 2 * SECOND)
    for number, step in enumerate(steps):
        process = take(table, step, (50 + number) * SECOND)
        if process is not None:
            assert (process.tgid, process.start_boot_ns) == (
                step.tgid,
                step.second * SECOND,
            )
            assert process.parent is not process
        assert table._images == {each.key: each for each in table._alive.values()}
        for tgid, each in table._alive.items():
            assert each.is_alive
            assert each.tgid == tgid
        for key, each in table._ended.items():
            assert each.key.startswith(key)
            assert not each.is_alive
