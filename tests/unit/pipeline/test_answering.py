# SPDX-License-Identifier: MIT
"""Event 22 in the pipeline: each question is one event, and the books close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.dns_server import V4, answer, framed, question
from support.enrichment import SECOND, encode, make_context, named
from support.varlink_server import call, reply
from support.varlink_server import expected as expected_of

from sysmonlx.capture.records import Layouts
from sysmonlx.output.dispatch import Output
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.pipeline.answering import Answers
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.processes.process import Process
from sysmonlx.rules.compiler import compile_rules

LATER = 60 * SECOND


class Hasher:
    """Has nothing to do."""

    has_work = False

    def unexpect(self) -> None: ...


class Bench:
    """A pipeline that is asked for event 22, and the events that it made."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.events: list[dict[str, str]] = []
        output = Output(RecordIds(None), self._watch)
        context = make_context(layouts)
        hasher: Any = Hasher()
        self.pipeline = Pipeline(
            layouts, context.processes, context, output, hasher, lambda _: None
        )
        self.use()

    def use(self, *items: Filter, onmatch: str = "exclude") -> None:
        element = Element("DnsQuery", (22,), onmatch, "or", items, bound_id=22)
        self.pipeline.use_rules(compile_rules(Ruleset("4.90", (element,))))

    def _watch(self, event_id: int, values: Sequence[str]) -> None:
        self.events.append(named(event_id, list(values)))

    def take(
        self, content: bytes, *, is_answer: int = 0, second: int = 1, **more: int
    ) -> None:
        who = {"tgid": 7, "start_boot_ns": SECOND, "uid": 1000, "cookie": 1}
        record = encode(
            *(self.layouts, "dns_message"),
            **who,
            boot_ns=second * SECOND,
            is_answer=is_answer,
            data=content,
            **more,
        )
        self.pipeline.take([record])

    def told(self) -> list[tuple[str, str, str]]:
        return [
            (each["QueryName"], each["QueryStatus"], each["QueryResults"])
            for each in self.events
        ]

    def no_event(self) -> dict[str, int]:
        counts = self.pipeline.account.without_event()
        return {why: count for (event_id, why), count in counts.items() if count}


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def test_an_answer_makes_the_event_of_its_question(bench: Bench) -> None:
    bench.take(question("a.test"))
    assert bench.events == []
    assert bench.pipeline.waiting()[22] == 1
    bench.take(answer(question("a.test")), is_answer=1, second=2)
    assert bench.told() == [("a.test", "0", "::ffff:192.0.2.1;")]
    assert bench.events[0]["User"] == "user"
    assert bench.pipeline.waiting()[22] == 0
    assert bench.no_event() == {"told with its answer": 1}


def test_nobody_answers(bench: Bench) -> None:
    bench.take(question("a.test"))
    bench.pipeline.dns.tell_overdue(2 * SECOND)
    assert bench.events == []
    bench.pipeline.dns.tell_overdue(LATER)
    assert bench.told() == [("a.test", "1460", "-")]
    assert bench.events[0]["UtcTime"] == "1970-01-01 00:00:01.000"
    assert bench.no_event() == {}


def test_the_service_ends(bench: Bench) -> None:
    bench.take(question("a.test"))
    bench.pipeline.dns.tell_all()
    assert bench.told() == [("a.test", "-", "-")]


def test_rules_judge_the_whole_event(bench: Bench) -> None:
    bench.use(Filter("QueryStatus", "is", "1460"), onmatch="include")
    bench.take(question("a.test"))
    bench.take(answer(question("a.test")), is_answer=1)
    bench.take(question("b.test"))
    bench.pipeline.dns.tell_overdue(LATER)
    assert bench.told() == [("b.test", "1460", "-")]
    assert bench.pipeline.filtered == {22: 1}


def test_rules_that_ask_for_a_late_value_see_the_same(bench: Bench) -> None:
    bench.use(Filter("UtcTime", "begin with", "1970"), onmatch="include")
    bench.take(question("a.test"))
    bench.pipeline.dns.tell_all()
    assert bench.told() == [("a.test", "-", "-")]


def test_nobody_asks_for_the_event_any_more(bench: Bench) -> None:
    bench.take(question("a.test"))
    bench.pipeline.use_rules(compile_rules(Ruleset("4.90", ())))
    bench.pipeline.dns.tell_overdue(LATER)
    assert bench.events == []
    assert bench.no_event() == {"no rule asks for it": 1}


def test_an_error_costs_one_event(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.test", "b.test"):
        bench.take(question(name))

    told = []

    def fail(data: bytes, _: Process) -> None:
        if b"\1a" in data:
            raise KeyError
        told.append("b.test")

    monkeypatch.setattr(bench.pipeline.dns, "_in_force", Answers(fail, fail))
    bench.pipeline.dns.tell_all()
    assert bench.pipeline.account.lost == {(22, "error: KeyError"): 1}
    assert told == ["b.test"]


def test_messages_that_are_not_whole_are_counted(bench: Bench) -> None:
    assert bench.pipeline.dns.losses() == {}
    bench.take(b"x")
    assert bench.pipeline.dns.losses() == {("DNS question", "malformed"): 1}
    assert bench.told() == [("-", "-", "-")]


# --- by TCP


def test_messages_of_a_stream_each_have_a_fate(bench: Bench) -> None:
    names = ["a.test", "b.test", "c.test"]
    asked = b"".join(framed(question(each)) for each in names)
    answers = b"".join(framed(answer(question(each))) for each in names)
    bench.take(asked, carrier=1)
    assert bench.pipeline.waiting()[22] == 3
    bench.take(answers[:20], is_answer=1, carrier=1)
    bench.take(answers[20:], is_answer=1, carrier=1, sequence=20)
    assert [name for name, _, _ in bench.told()] == names
    assert bench.no_event() == {"told with its answer": 3, "part of a message": 1}
    assert bench.pipeline.account.more == {22: 4}


def test_a_stream_that_ends_nowhere_is_told(bench: Bench) -> None:
    bench.take(b"\xff\xff" + question("hidden.test"), carrier=1)
    assert bench.no_event() == {"part of a message": 1}
    bench.pipeline.dns.tell_overdue(LATER)
    bench.pipeline.dns.tell_overdue(LATER)
    assert bench.told() == [("hidden.test", "1460", "-")]
    assert bench.pipeline.account.more == {22: 1}


# --- by calls of systemd-resolved


def test_calls_and_replies_each_have_a_fate(bench: Bench) -> None:
    names = ["a.test", "nx.test", "alias.test"]
    calls = [call(name=each) for each in names]
    asked, answers = b"".join(calls), b"".join(reply(each[:-1]) for each in calls)
    bench.take(asked, carrier=2)
    assert bench.pipeline.waiting()[22] == 3
    bench.take(answers[:90], is_answer=1, carrier=2)
    bench.take(answers[90:], is_answer=1, carrier=2, sequence=90)
    assert bench.told() == [(each, *expected_of(each)) for each in names]
    assert bench.no_event() == {"told with its answer": 3, "part of a message": 1}
    assert bench.pipeline.waiting()[22] == 0


def test_a_call_without_a_reply_is_told_when_it_is_late(bench: Bench) -> None:
    bench.take(call(name="silent.test"), carrier=2)
    bench.pipeline.dns.tell_overdue(LATER)
    assert bench.told() == [("silent.test", "1460", "-")]
    bench.take(reply(call(name="silent.test")[:-1]), is_answer=1, carrier=2, second=70)
    assert bench.told()[1:] == [("silent.test", *expected_of("silent.test"))]


def test_a_call_of_unknown_end_is_told_at_once(bench: Bench) -> None:
    bench.take(call(name="a.test"), carrier=2)
    bench.take(call(name="b.test"), carrier=2, sequence=5000)
    assert [name for name, _, _ in bench.told()] == ["a.test", "b.test"]
    bench.take(call(name="c.test"), carrier=2, sequence=5000 + len(call(name="b.test")))
    assert bench.told()[2:] == [("c.test", "-", "-")]


# --- names for event 3


def network(bench: Bench, *, names_hosts: bool, dns: bool = False) -> None:
    """Ask for event 3, and for event 22 too."""
    pairs = [("NetworkConnect", 3), ("DnsQuery", 22)][: 1 + dns]
    elements = tuple(
        Element(tag, (number,), "exclude", "or", (), bound_id=number)
        for tag, number in pairs
    )
    rules = compile_rules(Ruleset("4.90", elements))
    bench.pipeline.use_rules(rules, names_hosts=names_hosts)


def host(bench: Bench) -> str:
    """Return what an address is called by the process that asked."""
    record = encode(
        *(bench.layouts, "network_connect"),
        **{"tgid": 7, "start_boot_ns": SECOND, "uid": 1000, "boot_ns": 3 * SECOND},
        family=2,
        protocol=6,
        destination_address=V4 + bytes(12),
    )
    bench.pipeline.take([record])
    return bench.events.pop()["DestinationHostname"]


def ask(bench: Bench, name: str) -> None:
    bench.take(question(name))
    bench.take(answer(question(name)), is_answer=1)


@pytest.mark.parametrize("dns", [False, True])
def test_a_host_is_named_as_it_was_asked_for(bench: Bench, dns: bool) -> None:
    network(bench, names_hosts=True, dns=dns)
    assert host(bench) == "-"
    ask(bench, "alias.a.test")
    assert len(bench.events) == dns
    assert host(bench) == "alias.a.test"
    network(bench, names_hosts=False)
    assert host(bench) == "-"


def test_a_call_of_systemd_resolved_names_hosts_too(bench: Bench) -> None:
    network(bench, names_hosts=True)
    asked = call(name="alias.a.test")
    bench.take(asked, carrier=2)
    bench.take(reply(asked[:-1]), is_answer=1, carrier=2)
    assert host(bench) == "alias.a.test"


def test_an_answer_that_was_not_asked_for_names_nothing(bench: Bench) -> None:
    network(bench, names_hosts=True)
    bench.take(question("a.test"))
    bench.take(answer(question("lie.test")), is_answer=1)
    assert host(bench) == "-"


@pytest.mark.parametrize("before", [False, True])
def test_books_close_when_rules_begin_or_end_to_ask(bench: Bench, before: bool) -> None:
    network(bench, names_hosts=True, dns=before)
    bench.take(question("a.test"))
    network(bench, names_hosts=True, dns=not before)
    assert bench.pipeline.waiting()[22] == 0
    bench.take(answer(question("a.test")), is_answer=1)
    emitted = len(bench.events)
    no_event = sum(bench.no_event().values())
    received = bench.pipeline.account.received_by_name()["dns_message"]
    assert emitted + no_event == received == 2
    assert emitted == (not before)
