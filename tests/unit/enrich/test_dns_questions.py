# SPDX-License-Identifier: MIT
"""DNS questions that wait: one event each, and nobody crowds out another user's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.dns_server import answer, question
from support.enrichment import SECOND, encode, make_context

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich import dns_questions
from sysmonlx.enrich.dns_questions import WAIT_NS, Questions, Told

ALICE, BOB = 1001, 1002


class Asker:
    """Questions and answers as the kernel tells them; remembers what became of them."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.skipped: Counter[str] = Counter()
        self.table = make_context(layouts).processes
        self.questions = Questions(
            layouts.by_name["dns_message"], self.table.acting, self.skip
        )

    def skip(self, reason: str) -> None:
        self.skipped[reason] += 1

    def take(self, content: bytes, **more: Any) -> Told | None:
        values = {"tgid": 7, "boot_ns": SECOND, "cookie": 1, "uid": ALICE} | more
        return self.questions.take(
            encode(self.layouts, "dns_message", data=content, **values)
        )

    def answer(self, asked: bytes, **more: Any) -> Told | None:
        return self.take(answer(asked), is_answer=1, **more)

    def crowded(self) -> list[int]:
        """Return when the questions were asked that gave way, in seconds."""
        return [each.asked_ns // SECOND for each in self.questions.crowded()]


@pytest.fixture
def asker(layouts: Layouts) -> Asker:
    return Asker(layouts)


def test_a_question_is_told_with_its_answer_by_who_asked(asker: Asker) -> None:
    assert asker.take(question("a.test")) is None
    assert len(asker.questions) == 1
    told = asker.answer(question("a.test"), tgid=99)
    assert told is not None
    assert told.process.pid == "7"
    assert len(asker.questions) == 0
    assert asker.skipped == {"told with its answer": 1}


def test_case_of_the_name_does_not_matter_and_all_else_does(asker: Asker) -> None:
    asker.take(question("A.test"))
    for other in (question("b.test"), question("a.test", number=8)):
        told = asker.answer(other, tgid=99)
        assert told is not None
        assert told.process.pid == "99"
    told = asker.answer(question("a.test"), cookie=2, tgid=99)
    assert told is not None
    assert told.process.pid == "99"
    assert len(asker.questions) == 1
    asker.answer(question("a.tEST"))
    assert len(asker.questions) == 0


def test_equal_answers_to_a_question_asked_again_are_one_event(asker: Asker) -> None:
    for _ in range(3):
        assert asker.take(question("a.test")) is None
    assert asker.answer(question("a.test")) is not None
    assert asker.answer(question("a.test")) is None
    other = bytearray(answer(question("a.test")))
    other[-1] = 66
    assert asker.take(bytes(other), is_answer=1) is not None
    assert asker.skipped == {
        "asked before": 2,
        "told with its answer": 1,
        "answered before": 1,
    }


def test_a_question_is_overdue_once(asker: Asker) -> None:
    asker.take(question("a.test"), boot_ns=SECOND)
    asker.take(question("b.test"), boot_ns=2 * SECOND)
    assert [*asker.questions.overdue(SECOND + WAIT_NS - 1)] == []
    (one,) = asker.questions.overdue(SECOND + WAIT_NS)
    assert (one.asked_ns, one.process.pid) == (SECOND, "7")
    assert len(asker.questions) == 1
    assert asker.answer(question("a.test")) is not None


def test_what_is_no_dns_is_told_once_in_a_while_of_a_socket(asker: Asker) -> None:
    assert asker.take(b"x") is not None
    assert asker.take(b"y", boot_ns=2 * SECOND) is None
    assert asker.take(b"y", cookie=2) is not None
    assert asker.take(b"x", boot_ns=SECOND + WAIT_NS) is not None
    assert asker.questions.counts == {"question": 4}
    assert asker.skipped == {"malformed as before": 1}


def test_an_answer_cut_short_answers_its_question(asker: Asker) -> None:
    asker.take(question("a.test"))
    assert asker.take(answer(question("a.test"))[:-3], is_answer=1) is not None
    assert len(asker.questions) == 0
    assert asker.questions.counts == {"answer": 1}


def test_who_asks_too_much_crowds_out_questions_of_his_own(
    layouts: Layouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_questions, "OF_USER", 3)
    monkeypatch.setattr(dns_questions, "OF_ALL", 5)
    asker = Asker(layouts)
    asker.take(question("b.test"), uid=BOB)
    for second in range(1, 9):
        asker.take(question(f"{second}.test"), boot_ns=second * SECOND)
    assert asker.questions.has_crowded()
    assert len(asker.questions) == 9
    assert asker.crowded() == [5, 4, 3, 2, 1]
    assert len(asker.questions) == 4
    assert asker.answer(question("b.test"), uid=BOB) is not None
    assert asker.skipped == {"told with its answer": 1}


def test_none_waits_any_longer_at_the_end(asker: Asker) -> None:
    for second in (1, 2):
        asker.take(question(f"{second}.test"), boot_ns=second * SECOND)
    asker.questions.give_up()
    assert asker.crowded() == [1, 2]
    assert len(asker.questions) == 0
    assert asker.take(question("1.test")) is None


def test_memory_is_bounded_whatever_comes(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_questions, "_REMEMBERED", 2)
    for cookie in range(5):
        asker.take(b"x", cookie=cookie)
    assert asker.take(b"x", cookie=4) is None
    assert asker.take(b"x", cookie=0) is not None
