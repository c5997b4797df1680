# SPDX-License-Identifier: MIT
"""DNS questions that wait for their answers.

A question is one event: when its answer comes, or when none has come in time. Whoever
asks too much crowds out questions of his own, not those of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.dns_message import Message, read_message
from sysmonlx.processes.process import Process

#: How long an answer is waited for, in nanoseconds.
WAIT_NS = 10_000_000_000
#: Most questions of one user that wait, and of all users.
OF_USER, OF_ALL = 8192, 16_384
#: Most answered questions that are remembered because they were asked again, and most
#: sockets of which it is remembered that they carry what is no DNS.
_REMEMBERED = 4096
#: Ids of an aligned block belong to one user, see `user_of` in the ring of the kernel.
_BLOCK_BITS = 16

#: Reasons why a record makes no event of its own.
ANSWERED = "told with its answer"
ASKED_BEFORE = "asked before"
ANSWERED_BEFORE = "answered before"
MALFORMED_BEFORE = "malformed as before"

#: Socket, DNS id, name in lower case, type.
_Key = tuple[int, tuple[int, str, int]]

Who = Callable[[bytes], Process]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Question(NamedTuple):
    """A question that waits: its record and who asked it."""

    asked_ns: int
    user: int
    data: bytes
    process: Process


class Questions:
    """The questions by socket, id, name and type, in the order in which they came.

    `who` finds the process of a record that came without a question. `skip` is called
    with the reason of a record that makes no event of its own.
    """

    def __init__(self, layout: Layout, who: Who, skip: Callable[[str], None]) -> None:
        self._read: Callable[[bytes], tuple[int, int, int, int, bytes]]
        self._read = layout.reader("boot_ns", "uid", "cookie", "is_answer", "data")
        self._who, self._skip = who, skip
        self._waiting: dict[_Key, Question] = {}
        self._of_user: dict[int, dict[_Key, None]] = {}
        self._asked_again: set[_Key] = set()
        self._crowded: list[Question] = []
        self._answers: dict[_Key, tuple[str, str]] = {}
        self._malformed: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        """Messages that were not whole, by "question" or "answer"."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._crowded)

    def take(self, data: bytes) -> Process | None:
        """Take a record; return whose event it makes now, None if it makes none."""
        boot_ns, uid, cookie, is_answer, content = self._read(data)
        message = read_message(content)
        key = cookie, message.key
        if not message.is_whole:
            self.counts["answer" if is_answer else "question"] += 1
        if is_answer and key in self._waiting:
            return self._answer(key, message)
        if not message.is_whole:
            return self._no_dns(cookie, boot_ns, data)
        if is_answer:
            if self._answers.get(key) == (message.status, message.results):
                self._skip(ANSWERED_BEFORE)
                return None
            return self._who(data)
        self._ask(key, boot_ns, uid, data)
        return None

    def _answer(self, key: _Key, message: Message) -> Process:
        process = self._forget(key).process
        self._skip(ANSWERED)
        if key in self._asked_again:
            self._asked_again.remove(key)
            _remember(self._answers, key, (message.status, message.results))
        return process

    def _no_dns(self, cookie: int, boot_ns: int, data: bytes) -> Process | None:
        """Tell of a socket once in a while that it carries what is no DNS."""
        told_ns = self._malformed.get(cookie)
        if told_ns is not None and boot_ns - told_ns < WAIT_NS:
            self._skip(MALFORMED_BEFORE)
            return None
        self._malformed.pop(cookie, None)
        _remember(self._malformed, cookie, boot_ns)
        return self._who(data)

    def _ask(self, key: _Key, boot_ns: int, uid: int, data: bytes) -> None:
        if key in self._waiting:
            self._asked_again.add(key)
            self._skip(ASKED_BEFORE)
            return
        user = uid >> _BLOCK_BITS << _BLOCK_BITS or uid
        own = self._of_user.setdefault(user, {})
        if len(own) >= OF_USER or len(self._waiting) >= OF_ALL:
            self._crowded.append(self._forget(next(iter(own or self._waiting))))
            own = self._of_user.setdefault(user, {})
        own[key] = None
        self._answers.pop(key, None)
        self._waiting[key] = Question(boot_ns, user, data, self._who(data))

    def _forget(self, key: _Key) -> Question:
        question = self._waiting.pop(key)
        own = self._of_user[question.user]
        del own[key]
        if not own:
            del self._of_user[question.user]
        return question

    def overdue(self, boot_ns: int) -> Iterator[Question]:
        """Yield questions that came more than the time to wait before `boot_ns`.

        They are forgotten.
        """
        while self._waiting:
            key, question = next(iter(self._waiting.items()))
            if question.asked_ns > boot_ns - WAIT_NS:
                return
            self._asked_again.discard(key)
            yield self._forget(key)

    def has_crowded(self) -> bool:
        """Tell whether a question gave way to others before its time was over."""
        return bool(self._crowded)

    def crowded(self) -> Iterator[Question]:
        """Yield questions that gave way to others before their time was over."""
        while self._crowded:
            yield self._crowded.pop()

    def give_up(self) -> None:
        """Let none wait any longer: `crowded` yields them."""
        self._crowded += reversed([*self._waiting.values()])
        self._waiting.clear()
        self._of_user.clear()
        self._asked_again.clear()


def _remember(known: dict[_K, _V], key: _K, value: _V) -> None:
    """Add to a dictionary that keeps the last ones."""
    if len(known) >= _REMEMBERED:
        del known[next(iter(known))]
    known[key] = value
