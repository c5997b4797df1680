# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.recordtable import SECOND, Table, record
from support.strategies import randoms, some_bytes

from sysmonlx.capture.records import Layouts
from sysmonlx.kernel_text import UNKNOWN, Texts, are_plain, args_text
from sysmonlx.processes.launches import LIMIT, LIMIT_BYTES, Launch, Launches
from sysmonlx.processes.process import Process


def started(table: Table, tgid: int, **more: Any) -> Process:
    """Return a process that was forked and then ran a program."""
    one = record(tgid=tgid, start_boot_ns=(30 + tgid) * SECOND, **more)
    table.fork(one)
    one.exec_id = 2
    return table.create(one)


def launch(table: Table, tgid: int, **more: Any) -> Launch:
    return started(table, tgid, **more).launch


def test_what_is_started_in_one_way_is_one_launch(table: Table) -> None:
    first = launch(table, 10)
    other = {"args": b"other\0arguments\0", "boot_ns": 51 * SECOND, "tid": 77}
    assert launch(table, 11, **other) is first
    assert launch(table, 12, args=b"") is first
    assert (first.image, first.is_plain) == ("/bin/program", True)


@pytest.mark.parametrize(
    "more",
    [
        {"cwd": b"/home"},
        {"cwd": b""},
        {"image": b"/bin/other"},
        {"image": b"/bin/program/", "cwd": b""},  # the same bytes in a row
        {"file_inode": 7},
        {"file_mtime_ns": 7},
        {"comm": b"other"},
        {"uid": 1000},
        {"tty_index": 1},
        {"session_id": 3},
        {"mount_namespace": 3},
        {"flags": "CWD_TRUNCATED"},
        {"flags": "TTY_IS_PTS"},
    ],
    ids=str,
)
def test_what_is_started_in_another_way_is_another_launch(
    more: dict[str, Any], table: Table
) -> None:
    first = launch(table, 10)
    if "flags" in more:
        more = {"flags": table.flags[more["flags"]]}
    other = launch(table, 11, **more)
    assert other is not first
    assert other.image == more.get("image", b"/bin/program").decode()
    assert launch(table, 12) is not other


def test_launch_is_the_same_whoever_the_parent_is(table: Table) -> None:
    first = launch(table, 10)
    parent = started(table, 20)
    of_parent = {
        "parent_tgid": 20,
        "parent_start_boot_ns": 50 * SECOND,
        "parent_exec_id": 2,
    }
    other = started(table, 11, **of_parent)
    assert other.parent is parent
    assert other.launch is first
    nobody = {"parent_tgid": 99, "parent_start_boot_ns": 3 * SECOND}
    orphan = started(table, 12, **nobody)
    assert orphan.parent is None
    assert orphan.launch is first


def test_cleared_launches_are_found_out_again(table: Table) -> None:
    first = launch(table, 10)
    table.launches.clear()
    other = launch(table, 11)
    assert other is not first
    assert launch(table, 12) is other


def test_launches_that_are_kept_are_few(table: Table) -> None:
    for number in range(3 * LIMIT):
        made = started(table, 10 + number, cwd=b"/%d" % number)
        assert made.launch.image == "/bin/program"
        assert len(table.launches) <= LIMIT


def test_launches_with_long_paths_are_fewer(table: Table) -> None:
    for number in range(2 * LIMIT):
        started(table, 10 + number, cwd=b"/%d" % number + 4000 * b"x")
        assert len(table.launches) * 4000 <= LIMIT_BYTES
    assert len(table.launches) > LIMIT_BYTES / 4000 / 2


def cycle(table: Table, images: int, first_tgid: int) -> int:
    """Start a thousand programs by turns; return how many launches were made."""
    made = table.launches.made
    for number in range(images):
        started(table, first_tgid + number, image=b"/bin/%d" % number)
    return table.launches.made - made


def test_a_thousand_programs_by_turns_stay_whatever_is_started_once(
    table: Table,
) -> None:
    assert cycle(table, 1000, 10) == 1000
    assert cycle(table, 1000, 2000) == 0
    for turn in range(1, 6):
        for number in range(500):
            once = b"/tmp/%d" % (500 * turn + number)
            started(table, 100_000 * turn + number, image=once)
        table.launches.turn()
        assert cycle(table, 1000, 10_000 * turn) == 0


def test_programs_of_one_second_that_recur_outlive_those_that_do_not(
    table: Table,
) -> None:
    for turn in range(2):
        cycle(table, 500, 10 + 1000 * turn)
    for number in range(5 * LIMIT):
        started(table, 10_000 + number, image=b"/tmp/%d" % number)
    assert cycle(table, 500, 5000) == 0


def test_launches_that_are_not_used_are_forgotten(table: Table) -> None:
    cycle(table, 1000, 10)
    for second in range(90):
        table.launches.turn()
        started(table, 2000 + second)
    assert len(table.launches) == 1
    started(table, 3000)
    assert table.launches.made == 1001


def test_doubted_launch_is_forgotten_alone(table: Table) -> None:
    first, other = launch(table, 10), launch(table, 11, image=b"/bin/other")
    table.launches.doubt(first)
    assert launch(table, 12) is first
    table.launches.turn()
    assert launch(table, 13) is not first
    assert launch(table, 14, image=b"/bin/other") is other


@pytest.mark.parametrize("is_cut", [False, True])
@example(b"")
@example(b"\0")
@example(b"a\0b\0")
@example(b"no end")
@given(
    data=st.builds(
        some_bytes, randoms(), st.sampled_from([b"", b"ab &\0\xff", b"ab \0"])
    )
)
def test_arguments_are_joined_whatever_they_are(
    layouts: Layouts, is_cut: bool, data: bytes
) -> None:
    launches = Launches(layouts, Texts())
    layout = layouts.by_name["process_create"]
    flags = layouts.flags["ARGS_TRUNCATED"] if is_cut else 0
    before = layout.encode(flags=flags, image=b"/bin/program")
    _, shown, plain = launches.of(0, flags, before + data, len(before))
    assert (shown, plain) == (args_text(data, is_cut), are_plain(data))
    if is_cut and len(data) >= 3:
        assert shown.endswith("...")


@pytest.mark.parametrize(
    ("image", "flags", "shown", "plain"),
    [
        (b"/bin/a", "", "/bin/a", True),
        (b"/bin/a&b", "", "/bin/a&b", False),
        (b"/a", "IMAGE_TRUNCATED", "+/a", True),
        (b"/\xff", "IMAGE_TRUNCATED", "+/\udcff", False),
        (b"", "", UNKNOWN, True),
    ],
)
def test_image_is_shown_as_far_as_it_is_known(
    image: bytes, flags: str, shown: str, plain: bool, table: Table
) -> None:
    made = launch(table, 10, image=image, flags=table.flags.get(flags, 0))
    assert (made.image, made.is_plain) == (shown, plain)
