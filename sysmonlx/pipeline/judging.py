# SPDX-License-Identifier: MIT
"""How records are handled under one set of rules, and how that is prepared.

To prepare changes nothing: a set of rules that cannot be handled leaves the one before
it in force. All that is the same for the records of a type (where its fields lie, which
events it makes, which functions judge them) is looked up here, and not for each record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.pipeline.answering import NOT_TOLD, Answering, Answers
from sysmonlx.pipeline.correlating import PlainNames
from sysmonlx.pipeline.handlers import (
    Handler,
    Handlers,
    Wanted,
    Who,
    no_such_record,
)
from sysmonlx.processes.process import Process
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.verdicts import Decide, Rules
from sysmonlx.schema.events import EVENT_BY_ID, NETWORK_CONNECT

_NO_CORRELATIONS = Correlator()


class Judging(NamedTuple):
    """How records are handled under one set of rules."""

    decisions: Mapping[int, Decide]
    """The function that judges the values of an event, by event id."""
    handlers: list[Handler]
    """By the type of a record."""
    asked: dict[str, list[int]]
    """Ids of the events that a record can make under these rules, by its name."""
    shows_images: bool
    """Whether event 1 can pass."""
    answers: Answers = NOT_TOLD
    """How DNS questions are told."""
    appended: tuple[str, ...] = ()
    """Fields of ours that the values of events have behind the last one."""
    judges: Mapping[int, SigmaJudge] = MappingProxyType({})
    """What judges by rules of Sigma, by event id."""
    correlator: Correlator = _NO_CORRELATIONS
    """What carries out correlations of these rules."""


#: How records are handled before there are any rules.
NO_RULES = Judging({}, [no_such_record] * 256, {}, False)


class Preparing:
    """Prepares how records are handled, by handlers that `handlers` makes.

    `dns` makes those of DNS messages. `is_plain_name` tells whether names are plain
    where rules of Sigma judge an event.
    """

    def __init__(
        self,
        layouts: Layouts,
        context: Context,
        handlers: Handlers,
        dns: Answering,
        is_plain_name: PlainNames,
    ) -> None:
        self._layouts = layouts
        self._context = context
        self._handlers = handlers
        self._processes = handlers.processes
        self._correlating = handlers.correlating
        self._dns = dns
        self._is_plain_name = is_plain_name

    def prepare(
        self, rules: Rules, appended: tuple[str, ...], *, names_hosts: bool
    ) -> Judging:
        """Return how to judge by these rules; see `Pipeline.prepare`."""
        wanted = {
            name: tuple(self._wanted(name, rules, appended))
            for name in self._layouts.by_name
        }
        is_of_use = names_hosts and rules.can_emit(NETWORK_CONNECT.id)
        answers = Answers(are_learnt=is_of_use)
        answers = self._handlers.answers(wanted["dns_message"], answers)
        handlers: list[Handler] = [no_such_record] * 256
        decisions: dict[int, Decide] = {}
        for name, events in wanted.items():
            number = self._layouts.number[name]
            handlers[number] = self._handler(name, events, rules, answers)
            decisions |= {each.event_id: each.decide for each in events}
        return Judging(
            decisions,
            handlers,
            {name: [each.event_id for each in wanted[name]] for name in wanted},
            bool(wanted["process_create"]),
            answers,
            appended,
            rules.judges,
            rules.correlator,
        )

    def _handler(
        self, record: str, wanted: Sequence[Wanted], rules: Rules, answers: Answers
    ) -> Handler:
        """Return the handler of a record that can make these events."""
        make, processes = self._handlers, self._processes
        layout = self._layouts.by_name[record]
        if record == "process_fork":
            return processes.fork
        if record == "cgroup_create":
            return make.grouping(layout)
        if record == "process_create":
            return make.starting(wanted, rules)
        if record == "dns_message" and (wanted or answers.are_learnt):
            return self._dns.handler(answers)
        if record == "library_load" and wanted:
            return make.mapping(wanted[0], rules)
        if record == "module_load" and wanted:
            return make.loading(wanted[0])
        if record not in BUILDERS:
            return layout.decode
        whose: dict[str, Who] = {"process_terminate": processes.terminate}
        return make.in_turn(wanted, whose.get(record, processes.acting))

    def _wanted(
        self, record: str, rules: Rules, appended: tuple[str, ...]
    ) -> Iterator[Wanted]:
        """Yield the events of a record that the rules may let pass."""
        layout = self._layouts.by_name[record]
        for event_id, build in BUILDERS.get(record, ()):
            if rules.can_emit(event_id):
                maker = build(layout, self._context)
                maker = with_appended(event_id, maker, appended, layout, self._context)
                fields = EVENT_BY_ID[event_id].fields
                late = {fields[at].name for at in maker.late}
                if late & rules.reads(event_id):
                    maker = _at_once(maker)
                decide = rules.decide[event_id]
                is_plain: Mapping[str, bool] = self._context.is_plain_name
                if judge := rules.judges.get(event_id):
                    is_plain = self._is_plain_name
                    if judge.links:
                        watched = self._correlating.watched(judge, rules.correlator)
                        maker, decide = watched(maker, decide, layout)
                yield Wanted(event_id, maker, decide, is_plain)


def _at_once(maker: Maker) -> Maker:
    """Return a maker whose first step does both: rules ask for a late value."""
    make, finish = maker.make, maker.finish
    is_plain: bool | None = None

    def make_whole(data: bytes, process: Process) -> Values:
        nonlocal is_plain
        values = make(data, process)
        is_plain = finish(values, data, process)
        return values

    return maker._replace(make=make_whole, finish=lambda *_: is_plain, late=())
