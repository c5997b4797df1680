# SPDX-License-Identifier: MIT
"""Event 7 in the pipeline: its hash is known or waited for; the rules judge it once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.enrichment import SECOND, encode, named
from support.late_hashes import LateHasher, make_pipeline

from sysmonlx.capture.records import Layouts
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

WHO = {"tgid": 7, "tid": 8, "start_boot_ns": SECOND, "boot_ns": SECOND}
HASH = "SHA256=00"


class Hasher(LateHasher):
    """Knows what a test says, and answers when it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, str] = {}
        self.looked = 0
        self.asked: list[tuple[Held, FileId]] = []

    def cached(self, file: FileId) -> str | None:
        self.looked += 1
        return self.known.get(file.ino)

    def request(
        self, file: FileId, tgid: int, path: bytes, namespace: int, held: Held, uid: int
    ) -> bool:
        assert tgid == 0  # what the process runs is another file
        self.asked.append((held, file))
        return self.accepts

    def answer(self, text: str = HASH) -> None:
        self.done.append((*self.asked.pop(0), text))


class Bench:
    """A pipeline that is asked for event 7, and what it made."""

    def __init__(self, layouts: Layouts, *items: Filter) -> None:
        self.layouts = layouts
        self.events: list[dict[str, str]] = []
        self.hasher = Hasher()
        self.pipeline = make_pipeline(layouts, self.hasher, self._watch)
        element = Element("ImageLoad", (7,), "exclude", "or", items, bound_id=7)
        self.rules = compile_rules(Ruleset("4.90", (element,)))
        self.pipeline.use_rules(self.rules)

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        self.events.append(named(event_id, list(values)))

    def load(self, inode: int = 5, path: bytes = b"/a.so") -> None:
        record = {**WHO, "file_inode": inode, "path": path}
        self.pipeline.take([encode(self.layouts, "library_load", **record)])

    def told(self) -> list[tuple[str, str]]:
        return [(each["ImageLoaded"], each["Hashes"]) for each in self.events]


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def test_known_hash_costs_one_look(bench: Bench) -> None:
    bench.hasher.known[5] = HASH
    bench.load()
    bench.load()
    assert bench.told() == [("/a.so", HASH)] * 2
    assert bench.hasher.looked == 1
    bench.pipeline.use_rules(bench.rules)
    bench.load()
    assert bench.hasher.looked == 2


def test_unknown_hash_is_waited_for_and_later_ones_stay_behind(bench: Bench) -> None:
    bench.hasher.known[6] = HASH
    bench.load()
    bench.load(6, b"/b.so")
    assert bench.told() == []
    bench.hasher.answer()
    bench.pipeline.take_hashes()
    assert bench.told() == [("/a.so", HASH), ("/b.so", HASH)]


def test_file_that_cannot_be_hashed_is_told_without(bench: Bench) -> None:
    bench.hasher.accepts = False
    bench.load()
    assert bench.told() == [("/a.so", "-")]


def test_what_the_rules_exclude_is_not_hashed(layouts: Layouts) -> None:
    bench = Bench(layouts, Filter("ImageLoaded", "begin with", "/usr/"))
    bench.load(path=b"/usr/lib/c.so")
    assert bench.told() == []
    assert bench.hasher.asked == []
    assert bench.pipeline.filtered == {7: 1}


def test_rules_that_ask_for_the_hash_are_asked_behind_it(layouts: Layouts) -> None:
    bench = Bench(layouts, Filter("Hashes", "is", HASH))
    bench.hasher.known[6] = HASH
    bench.load(6)  # known, and excluded
    bench.load(7)
    bench.load(8)
    bench.hasher.answer()
    bench.hasher.answer("SHA256=01")
    bench.pipeline.take_hashes()
    assert bench.told() == [("/a.so", "SHA256=01")]
    assert bench.pipeline.filtered == {7: 2}
