# SPDX-License-Identifier: MIT
from __future__ import annotations

import stat
import sys
from typing import Any

import pytest
from support.enrichment import SECOND, encode
from support.pipeline_bench import ALL_FILES, AT_3_S, Bench, element, file_id, include

from sysmonlx.policy import Element, Filter


def test_filtered_event_asks_for_no_hash(bench: Bench) -> None:
    bench.use(element("ProcessCreate", 1, "exclude", Filter("Image", "is", "/a")))
    bench.exec(10, "/a")
    bench.exec(11, "/b", inode=6)
    assert [asked[1] for asked in bench.hasher.asked] == [file_id(6)]
    assert bench.pipeline.filtered[1] == 1


def test_rule_on_hashes_decides_when_the_hash_is_there(bench: Bench) -> None:
    bench.use(
        element(
            "ProcessCreate", 1, "include", Filter("Hashes", "contains", "=1", "mine")
        )
    )
    bench.exec(10, "/a")
    bench.exit(10)
    bench.exec(11, "/b", inode=6)
    bench.hasher.answer(0, "SHA256=1")
    bench.hasher.answer(1, "SHA256=2")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/a", "SHA256=1"), (5, "/a", "")]
    assert bench.pipeline.filtered[1] == 1


@pytest.mark.parametrize("rule", [ALL_FILES, include("FileCreate", 11, AT_3_S)])
def test_what_is_no_regular_file_is_no_event(rule: Element, bench: Bench) -> None:
    bench.use(rule)
    bench.file(10, b"/directory", second=3, mode=stat.S_IFDIR | 0o755)
    assert bench.paths.asked == []
    assert bench.events == []
    assert bench.pipeline.filtered[11] == 0


def test_look_at_a_name_afterwards_proves_nothing(bench: Bench) -> None:
    bench.use(ALL_FILES)
    bench.paths.answer = (stat.S_IFDIR, SECOND)
    bench.file(10, b"/renamed", second=3)
    ((event_id, *_),) = bench.events
    assert event_id == 11


def test_a_path_without_its_middle_is_never_excluded_here(bench: Bench) -> None:
    """The kernel side has judged the whole; what rules ask for may be in the middle."""
    middle = Filter("TargetFilename", "contains", "middle")
    bench.use(include("FileCreate", 11, middle))
    bench.file(10, b"/a...b")
    assert bench.events == []
    bench.file(10, b"/a...b", flags="PATH_SHORTENED")
    bench.file(10, b"/a/middle...b", flags="PATH_SHORTENED")
    assert [event_id for event_id, *_ in bench.events] == [11, 11]
    assert bench.pipeline.filtered[11] == 1


def test_a_filtered_event_reads_its_record_once(bench: Bench) -> None:
    bench.use(include("FileCreate", 11, Filter("TargetFilename", "is", "/wanted")))
    bench.file(10, b"/first")
    calls: list[str] = []

    def count(frame: object, event: str, argument: Any) -> None:
        if event == "c_call":
            calls.append(argument.__name__)

    encoded = encode(
        bench.layouts,
        "file_create",
        boot_ns=2 * SECOND,
        tgid=10,
        exec_id=1,
        start_boot_ns=SECOND,
        path=b"/other",
    )
    sys.setprofile(count)
    bench.pipeline.take([encoded])
    sys.setprofile(None)
    assert calls.count("unpack_from") == 1
    assert bench.pipeline.filtered[11] == 2


def test_birth_of_a_file_that_is_left_out_is_not_looked_for(bench: Bench) -> None:
    name = Filter("TargetFilename", "is", "/wanted")
    bench.use(include("FileCreate", 11, name))
    bench.file(10, b"/other")
    assert bench.paths.asked == []
    bench.file(10, b"/wanted")
    assert [asked[-1] for asked in bench.paths.asked] == [b"/wanted"]
    assert bench.pipeline.filtered[11] == 1


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (include("ProcessTerminate", 5, AT_3_S),),
        (include("ProcessTerminate", 5, Filter("RuleName", "is", "-")),),
    ],
    ids=["all", "by time", "by rule name"],
)
def test_end_of_a_kernel_thread_is_no_event(
    rules: tuple[Element, ...], bench: Bench
) -> None:
    bench.use(*rules)
    bench.put("process_fork", 10, 1, flags="KERNEL_THREAD")
    bench.exit(10, second=3)
    assert (bench.events, bench.pipeline.bad) == ([], 0)


def test_rule_on_a_known_hash_is_asked_at_once(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1, Filter("Hashes", "contains", "=6")))
    bench.hasher.known = {file_id(6): "SHA256=6", file_id(7): "SHA256=7"}
    bench.exec(10, "/six", inode=6)
    bench.exec(11, "/seven", inode=7)
    bench.exec(12, "/six", inode=6)
    assert bench.events == [(1, "/six", "SHA256=6"), (1, "/six", "SHA256=6")]
    assert (bench.pipeline.filtered[1], bench.pipeline.held) == (1, 0)


def test_launch_is_passed_on_once_its_hash_is_known_unless_it_is_long(
    bench: Bench,
) -> None:
    emitted: list[Any] = []
    bench.output.tap = emitted.extend
    bench.hasher.known[file_id(5)] = "SHA256=5"
    for tgid in (10, 11, 12):
        bench.exec(tgid, "/a")
    for tgid in (13, 14):
        bench.exec(tgid, "/" + "a" * 4000)
    bench.output.flush()
    assert [event[3] is not None for event in emitted] == [0, 1, 1, 0, 0]
    assert emitted[1][3] is emitted[2][3]
    assert bench.pipeline.held == 0
