# SPDX-License-Identifier: MIT
"""What became of records adds up, and a sum that is wrong by one is noticed."""

from __future__ import annotations

import copy
import shlex
from typing import Any

import pytest
from support.enrichment import SECOND, Paths, encode, make_context
from support.pipeline_bench import Hasher

from sysmonlx.capture.records import Layouts
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.books import NOT_ASKED, TOLD_BEFORE, Unasked, gaps
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.pipeline.trace_line import trace_line
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules

SNAPSHOT: dict[str, Any] = {
    "records": {
        "file_delete": {
            "seen": 100,
            "filtered_in_kernel": 20,
            "left_out": 10,
            "submitted": 60,
            "lost": {"ring full": 6, "unreadable": 4},
            "received": 60,
        }
    },
    "events": {
        "4": {"emitted": 1, "filtered": 0},
        "23": {
            "received": 60,
            "emitted": 30,
            "filtered": 20,
            "waiting": 5,
            "no_event": {NOT_ASKED: 2, "not a regular file": 1},
            "lost": {"error: KeyError": 2},
        },
    },
    "lines": {"due": 31, "delivered": 20, "spooled": 10, "lost": {"spool full": 1}},
}


def test_sums_that_are_right_have_no_gap() -> None:
    assert gaps(**SNAPSHOT) == []


def test_what_is_on_its_way_is_no_gap() -> None:
    moment = copy.deepcopy(SNAPSHOT)
    moment["records"]["file_delete"] |= {"seen": 103, "submitted": 61}
    assert gaps(**moment) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("records file_delete seen -", "file_delete: seen 99, but 100 have a fate"),
        ("records file_delete lost unreadable", "seen 100, but 101 have a fate"),
        ("records file_delete left_out", "seen 100, but 101 have a fate"),
        ("records file_delete received", "submitted 60, but 61 received"),
        ("events 23 emitted", "event 23: 60 received, but 61 have a fate"),
        ("events 23 emitted -", "event 23: 60 received, but 59 have a fate"),
        ("events 23 waiting", "event 23: 60 received, but 61 have a fate"),
        (f"events 23 no_event {NOT_ASKED!r}", "event 23: 60 received, but 61"),
        ("events 23 lost 'error: KeyError' -", "event 23: 60 received, but 59"),
        ("lines due", "lines: 32 due, but 31 have a fate"),
        ("lines lost 'spool full' -", "lines: 31 due, but 30 have a fate"),
    ],
)
def test_every_sum_that_is_wrong_by_one_is_a_gap(path: str, text: str) -> None:
    *way, last = (word for word in shlex.split(path) if word != "-")
    wrong = copy.deepcopy(SNAPSHOT)
    place = wrong
    for word in way:
        place = place[word]
    place[last] += -1 if path.endswith("-") else 1
    (found,) = gaps(**wrong)
    assert text in found


def test_what_no_rule_asks_for_is_counted_between_changes_of_the_rules() -> None:
    unasked = Unasked()
    unasked.turn({}, [1, 23])
    unasked.turn({"file_delete": 10, "process_create": 5}, [26])
    received = {"file_delete": 13, "process_create": 7}
    counts = unasked.counts(received)
    assert counts[23] == 3
    assert counts[26] == 10
    assert counts[1] == 2
    unasked.turn(received, [1, 23, 26])
    assert unasked.counts({"file_delete": 99, "process_create": 99}) == counts


def element(tag: str, event_id: int, onmatch: str, *items: Filter) -> Element:
    return Element(tag, (event_id,), onmatch, "or", items, bound_id=event_id)


def include(tag: str, event_id: int, *items: Filter) -> Element:
    return element(tag, event_id, "include", *items)


EVERYTHING = (
    element("FileCreate", 11, "exclude"),
    element("FileDelete", 23, "exclude"),
    element("FileDeleteDetected", 26, "exclude"),
    element("ProcessAccess", 10, "exclude"),
)


class Books:
    """A pipeline whose account is compared with what was put into it."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.hasher, self.paths = Hasher(), Paths()
        self.context = make_context(layouts, paths=self.paths)
        self.output = Output(RecordIds(None))
        hasher: Any = self.hasher
        table = self.context.processes
        self.pipeline = Pipeline(
            layouts, table, self.context, self.output, hasher, lambda file: None
        )
        self.use(*EVERYTHING)

    def use(self, *elements: Element) -> None:
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", elements)))

    def exec(self, tgid: int, image: str, exec_id: int = 1, inode: int = 5) -> None:
        more = {"image": image.encode(), "args": b"program\0", "file_inode": inode}
        self.put("process_create", tgid, exec_id, **more)

    def exit(self, tgid: int, exec_id: int = 1) -> None:
        self.put("process_terminate", tgid, exec_id)

    def file(self, tgid: int, path: bytes, **more: Any) -> None:
        self.put("file_create", tgid, 1, path=path, **more)

    def put(self, name: str, tgid: int, exec_id: int, **more: Any) -> None:
        who = {"tgid": tgid, "exec_id": exec_id, "start_boot_ns": SECOND}
        data = encode(self.layouts, name, boot_ns=2 * SECOND, **who, **more)
        self.pipeline.take([data])

    def fates(self, event_id: int) -> dict[str, int]:
        account = self.pipeline.account
        none = {
            why: n for (e, why), n in account.without_event().items() if e == event_id
        }
        lost = {why: n for (e, why), n in account.lost.items() if e == event_id}
        counted = {
            "emitted": self.output.emitted()[event_id],
            "filtered": account.filtered[event_id],
            "waiting": self.pipeline.waiting()[event_id],
        }
        return {why: n for why, n in {**counted, **none, **lost}.items() if n}


@pytest.fixture
def books(layouts: Layouts) -> Books:
    return Books(layouts)


def test_each_record_has_one_fate(books: Books) -> None:
    name = Filter("TargetFilename", "is", "/wanted")
    books.use(include("FileCreate", 11, name))
    for path in (b"/wanted", b"/other"):
        books.file(10, path, created_ns=1)
    books.file(10, b"/wanted", mode=0o40755)
    assert books.fates(11) == {"emitted": 1, "filtered": 1, "not a regular file": 1}
    assert books.pipeline.received["file_create"] == 3


def test_deletion_has_a_fate_for_each_of_its_events(books: Books) -> None:
    books.use(include("FileDelete", 23, Filter("TargetFilename", "is", "/a")))
    for path in (b"/a", b"/b"):
        books.put("file_delete", 10, 1, path=path)
    assert books.fates(23) == {"emitted": 1, "filtered": 1}
    assert books.fates(26) == {NOT_ASKED: 2}


def test_an_end_that_is_told_twice_is_counted_as_such(books: Books) -> None:
    for _ in range(3):
        books.exit(10)
    assert books.fates(5) == {"emitted": 1, TOLD_BEFORE: 2}


def test_end_of_a_kernel_thread_is_counted_as_such(books: Books) -> None:
    books.put("process_fork", 10, 1, flags="KERNEL_THREAD")
    books.exit(10)
    assert books.fates(5) == {"kernel thread": 1}


def test_what_waits_is_counted_until_it_is_let_go(books: Books) -> None:
    books.exec(10, "/a")
    books.exec(10, "/b", exec_id=2, inode=6)
    books.exit(10, exec_id=2)
    assert (books.fates(1), books.fates(5)) == ({"waiting": 2}, {"waiting": 1})
    books.hasher.answer(0, "SHA256=1")
    books.pipeline.take_hashes()
    assert (books.fates(1), books.fates(5)) == (
        {"emitted": 1, "waiting": 1},
        {"waiting": 1},
    )
    books.pipeline.release_all()
    assert (books.fates(1), books.fates(5)) == ({"emitted": 2}, {"emitted": 1})


def test_rules_that_change_while_something_waits_change_no_sum(books: Books) -> None:
    by_hash = element("ProcessCreate", 1, "include", Filter("Hashes", "contains", "=1"))
    books.use(by_hash)
    books.exec(10, "/a")
    books.exec(11, "/b", inode=6)
    books.use(include("ProcessCreate", 1))
    books.exec(12, "/c", inode=7)
    for number, text in enumerate(("SHA256=1", "SHA256=2")):
        books.hasher.answer(number, text)
    books.pipeline.take_hashes()
    fates = books.fates(1)
    assert fates.pop(NOT_ASKED) == 1
    assert sum(fates.values()) == 2
    assert set(fates) <= {"emitted", "filtered"}


class Faulty:
    """Fails each time that it is asked, with an error that nobody expects."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [KeyError("x"), MemoryError(), RecursionError(), ValueError(), OSError()]
)
def test_any_error_within_a_record_costs_that_record_alone(
    error: Exception, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.file(10, b"/before", created_ns=1)
    with monkeypatch.context() as patch:
        patch.setattr(books.context, "find", Faulty(error))
        books.put("process_access", 10, 1, target_tgid=1)
    books.put("process_access", 10, 1, target_tgid=1)
    reason = f"error: {type(error).__name__}"
    assert books.fates(10) == {"emitted": 1, reason: 1}
    assert books.pipeline.account.trouble.startswith(f"{type(error).__name__}: ")
    assert "enrich/access.py:" in books.pipeline.account.trouble
    assert "/sysmonlx/" not in books.pipeline.account.trouble


def test_an_error_in_one_event_of_a_record_spares_the_other(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([KeyError("first"), None])

    def text(value: bytes) -> str:
        if error := next(calls):
            raise error
        return value.decode()

    monkeypatch.setattr("sysmonlx.enrich.file.text", text)
    books.put("file_delete", 10, 1, path=b"/a")
    assert books.fates(23) == {"error: KeyError": 1}
    assert books.fates(26) == {"emitted": 1}


def test_an_error_of_the_hasher_costs_the_hash_alone(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cached", "request"):
        with monkeypatch.context() as patch:
            patch.setattr(books.hasher, name, Faulty(MemoryError()))
            books.exec(10, "/a", inode=5)
        books.exit(10)
    assert books.fates(1) == {"emitted": 2}
    assert books.pipeline.held == 0


def test_an_error_in_a_fork_is_counted_by_its_record(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = books.context.processes
    monkeypatch.setattr(table, "_inherited", Faulty(KeyError("x")))
    monkeypatch.setattr(table, "_new", Faulty(KeyError("x")))
    books.put("process_fork", 10, 1)
    assert books.pipeline.account.lost_records == {
        ("process_fork", "error: KeyError"): 1
    }


def test_only_the_first_of_many_errors_is_kept_until_it_is_told(books: Books) -> None:
    account = books.pipeline.account
    for name in ("one", "two"):
        account.note(KeyError(name))
    assert account.trouble.startswith("KeyError: 'one'")
    account.trouble = ""
    account.note(KeyError("three" * 1000))
    assert account.trouble.startswith("KeyError: 'three")
    assert len(account.trouble) < 1000


def test_one_error_is_told_as_one_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        line = trace_line(error)
    assert line.startswith("ValueError: two lines (test_books.py:")
    assert "\n" not in line
