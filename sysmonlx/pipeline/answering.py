# SPDX-License-Identifier: MIT
"""Event 22: one for each DNS question, when it is answered or has waited long enough.

    question ──► waits ──► its answer ──► event, of the process that asked
                   │
                   ├─────► 10 s over ───► event with status 1460
                   └─────► gave way ────► event with status "-"

A question gives way to later ones where its user has too many, and when the service
ends. An answer whose question is not known makes an event by itself, as it repeats the
question. Where event 3 is to name hosts, the names are learnt here, from answers to
questions: also where no rule asks for event 22.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.dns_carriers import Carrier
from sysmonlx.enrich.dns_questions import PART, Question, Questions
from sysmonlx.enrich.dns_streams import Streams
from sysmonlx.enrich.host_names import HostNames
from sysmonlx.enrich.varlink_calls import Calls
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.books import NOT_ASKED
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import DNS_QUERY

_ID = DNS_QUERY.id
_STATUS = [field.name for field in DNS_QUERY.fields].index("QueryStatus")

_NEVER_NS = 1 << 62

#: Makes the event of a record of this process.
Tell = Callable[[bytes, Process], None]


class Answers(NamedTuple):
    """How answers are handled under one set of rules.

    `late` tells a question that waited long enough or has its answer, `early` one that
    gave way; None: no rule asks for them. `are_learnt`: event 3 is to name hosts.
    """

    late: Tell | None = None
    early: Tell | None = None
    are_learnt: bool = False


#: No rule asks for event 22, or for names.
NOT_TOLD = Answers()


class Answering:
    """The questions that wait, and how their events are made under the rules in force.

    `who` finds the process of a record. `names` learn from the answers.
    """

    def __init__(
        self,
        layout: Layout,
        who: Callable[[bytes], Process],
        account: Account,
        names: HostNames,
    ) -> None:
        self._questions = Questions(layout, who, self._skip)
        self._streams, self._calls = Streams(layout), Calls(layout)
        self._read_carrier: Callable[[bytes], tuple[int]] = layout.reader("carrier")
        self._account = account
        self._names = names
        self._in_force = NOT_TOLD

    def waiting(self) -> Counter[int]:
        """Return how many questions wait, by event id."""
        return Counter({_ID: len(self._questions) if self._in_force.late else 0})

    def losses(self) -> Mapping[tuple[str, str], int]:
        """Return how many messages could not be read whole, by what they are."""
        counts = self._questions.counts
        return {(f"DNS {what}", "malformed"): counts[what] for what in sorted(counts)}

    def handler(self, how: Answers) -> Callable[[bytes], None]:
        """Return a handler of records."""
        handle_message = self._message_handler(how)
        read_carrier, take_piece = self._read_carrier, self._take_piece
        take_of = {Carrier.TCP: self._streams.take, Carrier.CALL: self._calls.take}

        def handle(data: bytes) -> None:
            (carrier,) = read_carrier(data)
            if carrier:
                take_piece(take_of[Carrier(carrier)](data), handle_message)
            else:
                handle_message(data)

        return handle

    def _message_handler(self, how: Answers) -> Callable[[bytes], None]:
        late, early, learn = how.late, how.early, self._names.learn
        take, has_crowded = self._questions.take, self._questions.has_crowded

        def handle(data: bytes) -> None:
            told = take(data)
            if told is not None:
                process, uid, boot_ns, message = told
                if message is not None and how.are_learnt:
                    learn(process, uid, message.name, message.addresses, boot_ns)
                if late is not None:
                    late(data, process)
            if has_crowded():
                self._tell_all(self._questions.crowded(), early)

        return handle

    def _take_piece(
        self, messages: Sequence[bytes], handle: Callable[[bytes], None]
    ) -> None:
        """Handle the messages that end with a piece of a stream."""
        if not messages:
            self._skip(PART)
            return
        self._handle_all(messages, handle, known=1)

    def _handle_all(
        self, messages: Sequence[bytes], handle: Callable[[bytes], None], *, known: int
    ) -> None:
        """Handle messages; `known` of them were counted as received records already."""
        if self._in_force.late is not None:
            self._account.more[_ID] += len(messages) - known
        for message in messages:
            try:
                handle(message)
            except Exception as error:  # one message, whatever it is, ends no other
                if self._in_force.late is not None:
                    self._account.lose(_ID, error)

    def use(self, how: Answers) -> None:
        """Make events like this from now on."""
        before, self._in_force = self._in_force, how
        if (before.late is None) != (how.late is None):
            self._give_up(before)
        if not how.are_learnt:
            self._names.forget()

    def _give_up(self, before: Answers) -> None:
        """Forget the questions; those that were taken for an event make none."""
        self._streams.forget()
        self._calls.forget()
        self._questions.give_up()
        gone = sum(1 for _ in self._questions.crowded())
        if before.late is not None:
            self._account.no_event[_ID, NOT_ASKED] += gone

    def tell_overdue(self, boot_ns: int) -> None:
        """Make events of questions that nobody has answered in time.

        `boot_ns` is the present time of the boot clock.
        """
        self._tell_rests(boot_ns)
        self._tell_all(self._questions.overdue(boot_ns), self._in_force.late)

    def tell_all(self) -> None:
        """Make events of all questions: no answer will be seen any more."""
        self._tell_rests(_NEVER_NS)
        self._questions.give_up()
        self._tell_all(self._questions.crowded(), self._in_force.early)

    def _tell_rests(self, boot_ns: int) -> None:
        """Take what streams end with, in which nothing came lately."""
        if len(self._calls):
            self._calls.forget_idle(boot_ns)
        if len(self._streams):
            handle = self._message_handler(self._in_force)
            self._handle_all(self._streams.forget_idle(boot_ns), handle, known=0)

    def _tell_all(self, questions: Iterable[Question], tell: Tell | None) -> None:
        for question in questions:
            if tell is None:
                continue
            try:
                tell(question.data, question.process)
            except Exception as error:  # one question, whatever it is, ends nobody
                self._account.lose(_ID, error)

    def _skip(self, reason: str) -> None:
        """Count a record that makes no event, unless no rule asks for it anyway."""
        if self._in_force.late is not None:
            self._account.no_event[_ID, reason] += 1


def without_status(maker: Maker) -> Maker:
    """Return a maker whose events do not say what became of the question."""
    make = maker.make

    def make_unknown(data: bytes, process: Process) -> Values:
        values = make(data, process)
        values[_STATUS] = UNKNOWN
        return values

    return maker._replace(make=make_unknown)
