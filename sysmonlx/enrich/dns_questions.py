# SPDX-License-Identifier: MIT
"""DNS questions that wait for their answers.

A question is one event, made when its answer comes or when none has come in time. A
user who asks too much crowds out questions of his own, not those of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.dns_carriers import read_carried
from sysmonlx.enrich.dns_message import Message
from sysmonlx.enrich.fair_share import FairShare
from sysmonlx.processes.process import Process

#: How long an answer is waited for, in nanoseconds.
WAIT_NS = 10_000_000_000
#: Most questions of one user that wait, and of all users.
OF_USER, OF_ALL = 8192, 16_384
#: Most answered questions that are remembered because they were asked again, and most
#: sockets of which it is remembered that they carry what is no DNS.
_REMEMBERED = 4096

#: Reasons why a record makes no event of its own.
ANSWERED = "told with its answer"
ASKED_BEFORE = "asked before"
ANSWERED_BEFORE = "answered before"
MALFORMED_BEFORE = "malformed as before"
PART = "part of a message"

#: Socket, DNS id, name in lower case, type.
_Key = tuple[int, tuple[int, str, int]]

Who = Callable[[bytes], Process]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Question(NamedTuple):
    """A question that waits: its record and who asked it."""

    asked_ns: int
    data: bytes
    process: Process


class Told(NamedTuple):
    """What a record makes: an event of a process; `answer` is one that was asked for.

    `uid` and `boot_ns` are those of the record.
    """

    process: Process
    uid: int
    boot_ns: int
    answer: Message | None = None


class Questions:
    """The questions by socket, id, name and type, in the order in which they came.

    `who` finds the process of a record that came without a question. `skip` is called
    with the reason of a record that makes no event of its own.
    """

    def __init__(self, layout: Layout, who: Who, skip: Callable[[str], None]) -> None:
        self._read: Callable[[bytes], tuple[int, int, int, int, int, bytes]]
        self._read = layout.reader(
            "boot_ns", "uid", "cookie", "is_answer", "carrier", "data"
        )
        self._who, self._skip = who, skip
        self._questions: FairShare[_Key, Question] = FairShare(OF_USER, OF_ALL)
        self._waiting = self._questions.entries
        self._asked_again: set[_Key] = set()
        self._crowded: list[Question] = []
        self._answers: dict[_Key, tuple[str, str]] = {}
        self._malformed: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        """Messages that were not whole, by "question" or "answer"."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._crowded)

    def take(self, data: bytes) -> Told | None:
        """Take a record; return what event it makes now, None if it makes none."""
        boot_ns, uid, cookie, is_answer, carrier, content = self._read(data)
        message = read_carried(carrier, content)
        key = cookie, message.key
        if not message.is_whole:
            self.counts["answer" if is_answer else "question"] += 1
        if is_answer and key in self._waiting:
            return Told(self._answer(key, message), uid, boot_ns, message)
        if not message.is_whole:
            is_told = self._is_news(cookie, boot_ns)
        elif is_answer:
            is_told = self._answers.get(key) != (message.status, message.results)
            if not is_told:
                self._skip(ANSWERED_BEFORE)
        else:
            is_told = False
            self._ask(key, boot_ns, uid, data)
        return Told(self._who(data), uid, boot_ns) if is_told else None

    def _answer(self, key: _Key, message: Message) -> Process:
        process = self._questions.pop(key).process
        self._skip(ANSWERED)
        if key in self._asked_again:
            self._asked_again.remove(key)
            _remember(self._answers, key, (message.status, message.results))
        return process

    def _is_news(self, cookie: int, boot_ns: int) -> bool:
        """Tell whether to say again of a socket that it carries what is no DNS."""
        told_ns = self._malformed.get(cookie)
        if told_ns is not None and boot_ns - told_ns < WAIT_NS:
            self._skip(MALFORMED_BEFORE)
            return False
        self._malformed.pop(cookie, None)
        _remember(self._malformed, cookie, boot_ns)
        return True

    def _ask(self, key: _Key, boot_ns: int, uid: int, data: bytes) -> None:
        if key in self._waiting:
            self._asked_again.add(key)
            self._skip(ASKED_BEFORE)
            return
        self._answers.pop(key, None)
        question = Question(boot_ns, data, self._who(data))
        if (gone := self._questions.add(key, question, uid)) is not None:
            self._crowded.append(gone)

    def overdue(self, boot_ns: int) -> Iterator[Question]:
        """Yield questions that came more than the time to wait before `boot_ns`.

        They are forgotten.
        """
        while self._waiting:
            key, (_, question) = next(iter(self._waiting.items()))
            if question.asked_ns > boot_ns - WAIT_NS:
                return
            self._asked_again.discard(key)
            yield self._questions.pop(key)

    def has_crowded(self) -> bool:
        """Tell whether a question gave way to others before its time was over."""
        return bool(self._crowded)

    def crowded(self) -> Iterator[Question]:
        """Yield questions that gave way to others before their time was over."""
        while self._crowded:
            yield self._crowded.pop()

    def give_up(self) -> None:
        """Let none wait any longer: `crowded` yields them."""
        self._crowded += reversed(self._questions.clear())
        self._asked_again.clear()


def _remember(known: dict[_K, _V], key: _K, value: _V) -> None:
    """Add to a dictionary that keeps the last ones."""
    if len(known) >= _REMEMBERED:
        del known[next(iter(known))]
    known[key] = value
