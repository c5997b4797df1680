# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from support.enrichment import SECOND, encode
from support.pipeline_bench import (
    ALL_FILES,
    HASHES_SHOWN,
    Bench,
    element,
    file_id,
)

from sysmonlx.capture.records import Layouts
from sysmonlx.host.file_identity import FileId
from sysmonlx.policy import Ruleset
from sysmonlx.rules.compiler import compile_rules


def test_event_waits_for_its_hash_and_the_process_with_it(bench: Bench) -> None:
    bench.exec(10, "/a")
    bench.exit(10)
    assert (bench.events, bench.pipeline.held) == ([], 2)
    bench.hasher.answer(0, "SHA256=1")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/a", "SHA256=1"), (5, "/a", "")]
    assert bench.pipeline.held == 0


def test_new_files_of_a_batch_are_held_before_anything_else(bench: Bench) -> None:
    records = [
        encode(
            *(bench.layouts, name),
            **{"tgid": tgid, "boot_ns": SECOND, "start_boot_ns": SECOND, "exec_id": 1},
            **more,
        )
        for tgid in (10, 11)
        for name, more in (
            ("process_create", {"image": b"/a", "args": b"a\0", "file_inode": tgid}),
            ("process_terminate", {}),
        )
    ]
    records[1:1] = [b"", records[0][:20]]
    bench.pipeline.take(records)
    assert bench.hasher.expected == [(file_id(10), 10), (file_id(11), 11)]
    assert [asked[1] for asked in bench.hasher.asked] == [file_id(10), file_id(11)]
    assert bench.hasher.let_go == 1
    assert bench.pipeline.bad == 2


def test_files_that_need_no_hash_are_not_held(bench: Bench) -> None:
    bench.use(element("ProcessCreate", 1, "include"))
    data = encode(
        *(bench.layouts, "process_create"), tgid=10, boot_ns=SECOND, file_inode=5
    )
    bench.pipeline.take([data, data])
    assert bench.hasher.expected == []


def test_other_processes_go_on_meanwhile(bench: Bench) -> None:
    bench.exec(10, "/a")
    bench.hasher.known[file_id(6)] = "SHA256=6"
    bench.exec(11, "/b", inode=6)
    bench.exit(11)
    assert bench.events == [(1, "/b", "SHA256=6"), (5, "/b", "")]


def test_mistake_of_a_hash_thread_is_told_once(bench: Bench) -> None:
    bench.hasher.error = KeyError("x")
    bench.pipeline.take_hashes()
    assert bench.pipeline.account.trouble.startswith("KeyError: 'x'")
    bench.pipeline.account.trouble = ""
    bench.pipeline.take_hashes()
    assert bench.pipeline.account.trouble == ""


def test_order_within_a_process_is_kept_over_its_images(bench: Bench) -> None:
    bench.exec(10, "/a")
    bench.exec(10, "/b", exec_id=2, inode=6)
    bench.exit(10, exec_id=2)
    bench.hasher.answer(1, "SHA256=2")
    bench.pipeline.take_hashes()
    assert bench.events == []
    bench.hasher.answer(0, "SHA256=1")
    bench.pipeline.take_hashes()
    assert bench.events == [
        (1, "/a", "SHA256=1"),
        (1, "/b", "SHA256=2"),
        (5, "/b", ""),
    ]


def test_refused_request_is_a_hyphen_at_once(bench: Bench) -> None:
    bench.hasher.accepts = False
    bench.exec(10, "/a")
    assert bench.events == [(1, "/a", "-")]


def test_what_waits_at_the_end_goes_out_without_hash(bench: Bench) -> None:
    bench.exec(10, "/a")
    bench.exit(10)
    bench.exec(11, "/b", inode=6)
    bench.pipeline.release_all()
    assert bench.events == [(1, "/a", "-"), (5, "/a", ""), (1, "/b", "-")]
    bench.hasher.answer(0, "SHA256=late")
    bench.pipeline.take_hashes()
    assert len(bench.events) == 3


def test_kernel_is_told_once_which_files_need_no_haste(bench: Bench) -> None:
    bench.use(element("ProcessCreate", 1, "include"))
    bench.exec(10, "/a")
    bench.exec(11, "/a")
    assert (bench.events, bench.marked) == ([], [5])
    assert bench.hasher.asked == []


def test_bad_records_are_counted_and_harm_nothing(bench: Bench) -> None:
    for data in (b"", b"x" * 7, b"\xff" * 100, bytes(200)):
        bench.pipeline.take([data])
    whole = bench.layouts.by_name["process_create"].encode(
        type=bench.layouts.number["process_create"]
    )
    bench.pipeline.take([whole[:60]])
    assert bench.pipeline.bad == 5
    bench.hasher.known[file_id(5)] = "SHA256=5"
    bench.exec(10, "/a")
    assert bench.events == [(1, "/a", "SHA256=5")]
    assert bench.pipeline.received["process_create"] == 2
    assert bench.pipeline.received["unknown"] == 4
    assert bench.pipeline.account.trouble == ""


def test_hash_of_a_launch_is_forgotten_with_the_rules(bench: Bench) -> None:
    bench.hasher.known[file_id(5)] = "SHA256=5"
    bench.exec(10, "/a")
    bench.hasher.known[file_id(5)] = "SHA1=5"
    bench.exec(11, "/a")
    bench.use()
    bench.exec(12, "/a")
    assert [each[HASHES_SHOWN] for each in bench.events] == [
        "SHA256=5",
        "SHA256=5",
        "SHA1=5",
    ]


@pytest.mark.parametrize("has_work", [False, True])
def test_without_algorithms_no_start_waits_and_no_file_is_looked_up_twice(
    has_work: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FileId] = []
    bench.hasher.has_work = has_work
    look_up = bench.hasher.cached

    def cached(file_id: FileId) -> str | None:
        asked.append(file_id)
        return "-" if has_work else look_up(file_id)  # too large, say

    monkeypatch.setattr(bench.hasher, "cached", cached)
    for tgid in (10, 11, 12):
        bench.exec(tgid, "/a")
    assert bench.events == [(1, "/a", "-")] * 3
    assert len(asked) == (3 if has_work else 1)


def test_files_of_a_process_wait_behind_its_start_as_texts(bench: Bench) -> None:
    bench.use(ALL_FILES)
    bench.exec(10, "/a")
    bench.file(10, b"/file", second=3, created_ns=SECOND)
    assert (bench.events, bench.pipeline.held) == ([], 2)
    bench.hasher.answer(0, "SHA256=1")
    bench.pipeline.take_hashes()
    assert [event_id for event_id, *_ in bench.events] == [1, 11]
    assert [time[-6:] for time in bench.times] == ["02.000", "03.000"]


def test_what_waits_has_the_fields_that_are_wanted_when_it_goes_on(
    layouts: Layouts,
) -> None:
    bench = Bench(layouts)
    sizes: list[tuple[int, int]] = []
    bench.output._watch = lambda event_id, values: sizes.append((event_id, len(values)))
    bench.exec(10, "/a")
    bench.exit(10)
    bench.pipeline.use_rules(compile_rules(Ruleset()), ("LoginUser", "UserId"))
    bench.hasher.answer(0, "SHA256=1")
    bench.pipeline.take_hashes()
    bench.exit(11)
    assert sizes == [(1, 25), (5, 7), (5, 7)]
