# SPDX-License-Identifier: MIT
"""Event 6 in the pipeline: it waits for its file, the rules judge it then, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.enrichment import SECOND, encode, named
from support.late_hashes import LateHasher, make_pipeline
from support.modules import appended, message, name

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.hashing.module_content import ModuleContent
from sysmonlx.host.file_identity import FileId
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

WHO = {"tgid": 7, "tid": 8, "start_boot_ns": SECOND, "boot_ns": SECOND}
FILE = {"file_inode": 5, "file_size": 9, "path": b"/a.ko", "descriptor": 3}
HASH = "SHA256=00"


class Hasher(LateHasher):
    """Answers when the test says so."""

    size_limit = 1 << 20

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Held, FileId, ModuleContent]] = []
        self.places: list[tuple[int, int, bytes]] = []
        self.fails = False

    def request(
        self,
        file: FileId,
        tid: int,
        path: bytes,
        namespace: int,
        held: Held,
        uid: int,
        *,
        descriptor: int,
        also: ModuleContent,
    ) -> bool:
        if self.fails:
            raise OSError("no thread")
        self.asked.append((held, file, also))
        self.places.append((tid, descriptor, path))
        return self.accepts

    def answer(self, text: str = HASH, data: bytes = b"") -> None:
        held, file, content = self.asked.pop(0)
        content.take(memoryview(data))
        self.done.append((held, file, text))


class Bench:
    """A pipeline that is asked for events 6 and 11, and what it made."""

    def __init__(self, layouts: Layouts, *items: Filter) -> None:
        self.layouts = layouts
        self.events: list[tuple[int, list[str]]] = []
        self.hasher = Hasher()
        self.pipeline = make_pipeline(layouts, self.hasher, self._watch)
        elements = (
            Element("DriverLoad", (6,), "exclude", "or", items, bound_id=6),
            Element("ProcessTerminate", (5,), "exclude", "or", (), bound_id=5),
        )
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", elements)))

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        self.events.append((event_id, list(values)))

    def load(self, **more: Any) -> None:
        record = {**WHO, "name": b"a", "signature": 1, **more}
        self.pipeline.take([encode(self.layouts, "module_load", **record)])

    def told(self) -> list[dict[str, str]]:
        return [named(6, values) for number, values in self.events if number == 6]


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def test_event_waits_until_its_file_was_read(bench: Bench) -> None:
    bench.load(**FILE)
    assert bench.told() == []
    assert bench.pipeline.held == 1
    bench.hasher.answer(data=appended(message(name(b"Key"))))
    bench.pipeline.take_hashes()
    (event,) = bench.told()
    assert (event["ImageLoaded"], event["Hashes"]) == ("/a.ko", HASH)
    assert (event["Signature"], event["SignatureStatus"]) == ("Key", "Invalid")
    assert bench.hasher.places == [(8, 3, b"/a.ko")]


def test_later_events_of_the_process_wait_behind_it(bench: Bench) -> None:
    bench.load(**FILE)
    bench.pipeline.take([encode(bench.layouts, "process_terminate", **WHO)])
    assert bench.events == []
    bench.hasher.answer()
    bench.pipeline.take_hashes()
    assert [number for number, _ in bench.events] == [6, 5]


@pytest.mark.parametrize("more", [{}, {**FILE, "file_size": 2 << 20}])
def test_without_a_file_to_read_it_does_not_wait(
    bench: Bench, more: dict[str, Any]
) -> None:
    bench.load(**more)
    assert len(bench.told()) == 1
    assert bench.hasher.asked == []


def test_refused_file_costs_the_hashes_alone(bench: Bench) -> None:
    bench.hasher.accepts = False
    bench.load(**FILE)
    (event,) = bench.told()
    assert (event["ImageLoaded"], event["Hashes"]) == ("/a.ko", "-")


def test_error_on_the_way_costs_the_hashes_alone(bench: Bench) -> None:
    bench.hasher.fails = True
    bench.load(**FILE)
    assert len(bench.told()) == 1
    assert bench.pipeline.bad == 0


def test_file_that_takes_too_long_costs_the_hashes_alone(bench: Bench) -> None:
    bench.load(**FILE)
    bench.hasher.answer("-", b"half of it")
    bench.pipeline.take_hashes()
    (event,) = bench.told()
    assert (event["Hashes"], event["SignatureStatus"]) == ("-", "-")


def test_rules_ask_what_the_file_has_told(layouts: Layouts) -> None:
    bench = Bench(layouts, Filter("Signature", "is", "Key", name=""))
    for who in (b"Key", b"Other"):
        bench.load(**FILE)
        bench.hasher.answer(data=appended(message(name(who))))
    bench.pipeline.take_hashes()
    assert [each["Signature"] for each in bench.told()] == ["Other"]
    assert bench.pipeline.filtered == {6: 1}


def test_end_of_the_service_lets_it_go(bench: Bench) -> None:
    bench.load(**FILE)
    bench.pipeline.release_all()
    assert len(bench.told()) == 1
    assert bench.pipeline.held == 0
