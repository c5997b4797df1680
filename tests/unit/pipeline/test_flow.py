# SPDX-License-Identifier: MIT
from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from support.enrichment import SECOND, Paths, encode, make_context, named

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

HASHES, HASHES_SHOWN = 17, 2


class Hasher:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.known: dict[FileId, str] = {}
        self.asked: list[tuple[Held, FileId]] = []
        self.done: list[tuple[Held, FileId, str]] = []
        self.error: Exception | None = None
        self.accepts = True
        self.expected: list[tuple[FileId, int]] = []
        self.let_go = 0

    has_work = True

    def expect(self, file: FileId, tgid: int, path: bytes, namespace: int) -> None:
        self.expected.append((file, tgid))

    def unexpect(self) -> None:
        self.let_go += 1

    def cached(self, file_id: FileId) -> str | None:
        return self.known.get(file_id) if self.has_work else "-"

    def request(
        self,
        file_id: FileId,
        tgid: int,
        path: bytes,
        mnt_ns: int,
        token: Held,
        uid: int,
    ) -> bool:
        self.asked.append((token, file_id))
        return self.accepts

    def answer(self, number: int, text: str) -> None:
        self.done.append((*self.asked[number], text))

    def results(self) -> list[tuple[Held, FileId, str]]:
        done, self.done = self.done, []
        return done

    def take_error(self) -> Exception | None:
        error, self.error = self.error, None
        return error


class Bench:
    """A pipeline, what it emits, and what it told the kernel."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.events: list[tuple[int, str, str]] = []
        self.times: list[str] = []
        self.rules: list[str] = []
        self.marked: list[int] = []
        self.hasher = Hasher()
        hasher: Any = self.hasher
        self.paths = Paths()
        self.context = make_context(layouts, paths=self.paths)
        self.output = Output(RecordIds(None), self._watch)
        table = self.context.processes
        self.pipeline = Pipeline(
            layouts, table, self.context, self.output, hasher, self._mark
        )
        self.use()

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        assert all(isinstance(value, str) for value in values)
        image = named(event_id, list(values))["Image"]
        self.rules.append(values[0])
        self.times.append(values[1])
        self.events.append((event_id, image, values[HASHES] if event_id == 1 else ""))

    def _mark(self, file: bytes) -> None:
        self.marked.append(int.from_bytes(file[:8], "little"))

    def use(self, *elements: Element) -> None:
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", elements)))

    def exec(self, tgid: int, image: str, exec_id: int = 1, inode: int = 5) -> None:
        self.put(
            "process_create",
            tgid,
            exec_id,
            image=image.encode(),
            args=b"program\0",
            file_inode=inode,
        )

    def exit(self, tgid: int, exec_id: int = 1, second: int = 2) -> None:
        self.put("process_terminate", tgid, exec_id, second)

    def file(self, tgid: int, path: bytes, second: int = 2, **more: Any) -> None:
        self.put("file_create", tgid, 1, second, path=path, **more)

    def put(
        self, name: str, tgid: int, exec_id: int, second: int = 2, **more: Any
    ) -> None:
        who = {"tgid": tgid, "exec_id": exec_id, "start_boot_ns": SECOND}
        data = encode(self.layouts, name, boot_ns=second * SECOND, **who, **more)
        self.pipeline.take([data])


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def element(tag: str, event_id: int, onmatch: str, *items: Filter) -> Element:
    return Element(tag, (event_id,), onmatch, "or", items, bound_id=event_id)


def file_id(inode: int) -> FileId:
    return FileId(0, inode, 0, 0, 0)


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


def include(tag: str, event_id: int, *filters: Filter) -> Element:
    return element(tag, event_id, "include", *filters)


ALL_FILES = element("FileCreate", 11, "exclude")
AT_3_S = Filter("UtcTime", "begin with", "1970-01-01 00:00:03", "then")


def test_rule_on_the_time_of_a_file_is_asked_of_its_text(bench: Bench) -> None:
    bench.use(include("FileCreate", 11, AT_3_S))
    bench.file(10, b"/early", second=2, created_ns=SECOND)
    bench.file(10, b"/then", second=3, created_ns=SECOND)
    assert bench.times == ["1970-01-01 00:00:03.000"]
    assert bench.rules == ["then"]
    assert bench.pipeline.filtered[11] == 1


def test_rule_on_the_birth_of_a_file_is_asked_of_its_text(bench: Bench) -> None:
    birth = Filter("CreationUtcTime", "is", "1970-01-01 00:00:07.000")
    bench.use(include("FileCreate", 11, birth))
    bench.file(10, b"/known", created_ns=7 * SECOND)
    bench.file(10, b"/other", created_ns=6 * SECOND)
    bench.paths.answer = (stat.S_IFREG, 7 * SECOND)
    bench.file(10, b"/looked up")
    bench.paths.answer = (stat.S_IFDIR, 7 * SECOND)
    bench.file(10, b"/no file")
    assert [event_id for event_id, *_ in bench.events] == [11, 11]
    assert [asked[-1] for asked in bench.paths.asked] == [b"/looked up", b"/no file"]


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


def test_rule_on_the_time_of_an_end_is_asked_of_its_text(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1), include("ProcessTerminate", 5, AT_3_S))
    for tgid, second in ((10, 2), (11, 3)):
        bench.exec(tgid, f"/{tgid}")
        bench.exit(tgid, second=second)
    assert bench.events == [(5, "/11", "")]
    assert bench.times == ["1970-01-01 00:00:03.000"]


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


def test_rule_on_the_time_of_a_start_needs_no_hash(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1, AT_3_S))
    bench.exec(10, "/a")
    assert (bench.events, bench.hasher.asked) == ([], [])
    bench.put("process_create", 11, 1, 3, image=b"/b", file_inode=6)
    assert [asked[1] for asked in bench.hasher.asked] == [file_id(6)]
    bench.hasher.answer(0, "SHA256=6")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/b", "SHA256=6")]
    assert bench.times == ["1970-01-01 00:00:03.000"]


def test_rules_on_time_and_hashes_wait_for_the_hash(bench: Bench) -> None:
    both = (AT_3_S, Filter("Hashes", "contains", "=6"))
    bench.use(Element("ProcessCreate", (1,), "include", "and", both, bound_id=1))
    for tgid, second in ((10, 2), (11, 3)):
        image = {"image": b"/%d" % tgid, "file_inode": 6}
        bench.put("process_create", tgid, 1, second, **image)
    assert (bench.events, len(bench.hasher.asked)) == ([], 2)
    for number in range(2):
        bench.hasher.answer(number, "SHA256=6")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/11", "SHA256=6")]
    assert bench.pipeline.filtered[1] == 1


def test_rule_on_a_known_hash_is_asked_at_once(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1, Filter("Hashes", "contains", "=6")))
    bench.hasher.known = {file_id(6): "SHA256=6", file_id(7): "SHA256=7"}
    bench.exec(10, "/six", inode=6)
    bench.exec(11, "/seven", inode=7)
    bench.exec(12, "/six", inode=6)
    assert bench.events == [(1, "/six", "SHA256=6"), (1, "/six", "SHA256=6")]
    assert (bench.pipeline.filtered[1], bench.pipeline.held) == (1, 0)


def test_rule_that_asks_the_name_of_a_rule_sees_texts_alone(bench: Bench) -> None:
    bench.use(include("FileCreate", 11, Filter("RuleName", "is", "-"), AT_3_S))
    bench.file(10, b"/then", second=3, created_ns=SECOND)
    assert len(bench.events) == 1


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


def test_launch_is_passed_on_once_its_hash_is_known_unless_it_is_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[Any] = []
    monkeypatch.setattr(bench.pipeline, "_emit", emitted.append)
    bench.use()
    bench.hasher.known[file_id(5)] = "SHA256=5"
    for tgid in (10, 11, 12):
        bench.exec(tgid, "/a")
    for tgid in (13, 14):
        bench.exec(tgid, "/" + "a" * 4000)
    assert [event[3] is not None for event in emitted] == [0, 1, 1, 0, 0]
    assert emitted[1][3] is emitted[2][3]
    assert bench.pipeline.held == 0


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
