# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import Any

import pytest
from support.enrichment import SECOND, encode

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.process import HASHES
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.image_hashes import ImageHashes
from sysmonlx.pipeline.waiting import Waiting
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.launches import Launch
from sysmonlx.processes.process import Process

VALUES = 23


class Hasher:
    """Knows no file; gives the answers that a test put into `done`."""

    has_work = True

    def __init__(self) -> None:
        self.asked: list[Held] = []
        self.done: list[tuple[Held, FileId, str]] = []
        self.opened: list[int] = []
        self.accepts = True

    def cached(self, file: FileId) -> str | None:
        return None

    def expect(self, file: FileId, tgid: int, path: bytes, namespace: int) -> None:
        self.opened.append(file.ino)

    def request(self, file: FileId, *rest: Any) -> bool:
        self.asked.append(rest[3])
        return self.accepts

    def results(self) -> list[tuple[Held, FileId, str]]:
        done, self.done = self.done, []
        return done

    def take_error(self) -> None:
        return None


class Bench:
    """Queues, and what left them: event id and text of Hashes."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.hasher = Hasher()
        hasher: Any = self.hasher
        self.gone: list[tuple[int, str]] = []
        self.told: list[bytes] = []
        self.account = Account(layouts)
        create = layouts.by_name["process_create"]
        self.images = ImageHashes(create, hasher, self.told.append)
        self.waiting = Waiting(self.images, hasher, self.account, self._let_go)

    def _let_go(self, held: Held) -> None:
        if held.event_id == 26:
            raise ValueError("a value that cannot be judged")
        self.gone.append((held.event_id, held.values[HASHES]))

    def record(self, inode: int = 5) -> bytes:
        return encode(
            self.layouts,
            "process_create",
            tgid=10,
            start_boot_ns=SECOND,
            exec_id=1,
            image=b"/a",
            file_inode=inode,
        )

    def start(self, process: Process) -> None:
        self.waiting.hold_start(
            self.record(), process, event(1), Launch("/a", True), is_decided=True
        )

    def answer(self, number: int, text: str) -> None:
        file = FileId(0, 5, 0, 0, 0)
        self.hasher.done.append((self.hasher.asked[number], file, text))
        self.waiting.take_hashes()


def event(event_id: int) -> tuple[int, list[str], bool]:
    return event_id, ["-"] * VALUES, True


def process() -> Process:
    return Process(b"", NO_GUID, "10", 0)


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def test_events_of_a_process_leave_in_their_order(bench: Bench) -> None:
    one, other = process(), process()
    bench.start(one)
    bench.waiting.hold(one, event(11))
    bench.start(one)
    bench.start(other)
    assert bench.waiting.by_event() == {1: 3, 11: 1}
    bench.answer(1, "second")
    assert bench.gone == []
    bench.answer(2, "other")
    bench.answer(0, "first")
    assert bench.gone == [(1, "other"), (1, "first"), (11, "-"), (1, "second")]
    assert bench.waiting.count == 0


def test_an_event_that_fails_lets_those_behind_it_go_on(bench: Bench) -> None:
    one = process()
    bench.start(one)
    bench.waiting.hold(one, event(26))
    bench.waiting.hold(one, event(5))
    bench.waiting.release_all()
    assert bench.gone == [(1, "-"), (5, "-")]
    assert bench.account.lost == {(26, "error: ValueError"): 1}


def test_a_hash_that_cannot_be_had_is_not_waited_for(bench: Bench) -> None:
    bench.hasher.accepts = False
    bench.start(process())
    assert (bench.gone, bench.waiting.count) == ([(1, "-")], 0)


def test_the_kernel_is_told_of_a_file_that_nobody_asks_for_once(bench: Bench) -> None:
    for inode in (5, 5, 6):
        bench.images.not_needed(bench.record(inode))
    assert len(bench.told) == 2


def test_only_new_files_are_opened_early(bench: Bench) -> None:
    bench.images.not_needed(bench.record(5))
    cut_short = bench.record(7)[:-100]
    bench.images.open_early([bench.record(5), bench.record(6), cut_short])
    assert bench.hasher.opened == [6]
