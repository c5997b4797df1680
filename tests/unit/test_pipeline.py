# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sysmonlx.btf import Btf
from sysmonlx.capture import OBJECT
from sysmonlx.decode import Layouts
from sysmonlx.enrich import Context
from sysmonlx.hashes import FileId
from sysmonlx.libbpf import library
from sysmonlx.output import Output
from sysmonlx.pipeline import Held, Pipeline
from sysmonlx.process import Identity
from sysmonlx.processes import ProcessTable
from sysmonlx.rules import compile_rules
from sysmonlx.ruleset import Element, Filter, Ruleset, Settings
from sysmonlx.state import RecordIds

SECOND = 1_000_000_000
HASHES, RULE_NAME = 17, 0


class Users:
    names = {0: "root"}  # noqa: RUF012 never changed

    def renew(self) -> None: ...

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        return 0


class Ports:
    def port_name(self, port: int, protocol: str) -> str:
        return "-"

    def renew(self) -> None: ...


class Hasher:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.known: dict[FileId, str] = {}
        self.asked: list[tuple[Held, FileId]] = []
        self.done: list[tuple[Held, FileId, str]] = []
        self.accepts = True

    def cached(self, file_id: FileId) -> str | None:
        return self.known.get(file_id)

    def request(
        self, file_id: FileId, tgid: int, path: bytes, mnt_ns: int, token: Held
    ) -> bool:
        self.asked.append((token, file_id))
        return self.accepts

    def answer(self, number: int, text: str) -> None:
        self.done.append((*self.asked[number], text))

    def results(self) -> list[tuple[Held, FileId, str]]:
        done, self.done = self.done, []
        return done


class Bench:
    """A pipeline, what it emits, and what it told the kernel."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.events: list[tuple[int, str, str]] = []
        self.marked: list[int] = []
        self.hasher = Hasher()
        hasher: Any = self.hasher
        table = ProcessTable(Identity(1, 0), layouts.flags)
        context = Context(table, Users(), Ports(), Settings(), 0)
        self.output = Output(RecordIds(None), self._watch)
        self.pipeline = Pipeline(
            layouts, table, context, self.output, hasher, self._mark
        )
        self.use()

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        image = values[4]
        self.events.append((event_id, image, values[HASHES] if event_id == 1 else ""))

    def _mark(self, file: bytes) -> None:
        self.marked.append(int.from_bytes(file[:8], "little"))

    def use(self, *elements: Element) -> None:
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", elements)))

    def exec(self, tgid: int, image: str, exec_id: int = 1, inode: int = 5) -> None:
        self._put(
            "process_create", tgid, exec_id, image=image.encode(), file_inode=inode
        )

    def exit(self, tgid: int, exec_id: int = 1) -> None:
        self._put("process_terminate", tgid, exec_id)

    def _put(self, name: str, tgid: int, exec_id: int, **more: Any) -> None:
        header = {
            "type": self.layouts.number[name],
            "tgid": tgid,
            "exec_id": exec_id,
            "boot_ns": 2 * SECOND,
            "start_boot_ns": SECOND,
        }
        self.pipeline.take([self.layouts.by_name[name].encode(**header, **more)])


@pytest.fixture(scope="module")
def layouts() -> Iterator[Layouts]:
    pointer = library().btf__parse(os.fsencode(OBJECT), None)
    yield Layouts(Btf(library(), pointer))
    library().btf__free(pointer)


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


def test_other_processes_go_on_meanwhile(bench: Bench) -> None:
    bench.exec(10, "/a")
    bench.hasher.known[file_id(6)] = "SHA256=6"
    bench.exec(11, "/b", inode=6)
    bench.exit(11)
    assert bench.events == [(1, "/b", "SHA256=6"), (5, "/b", "")]


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
    assert bench.pipeline.received["process_create"] == 1
