# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import gc
import marshal
import os
import signal
import weakref
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from support import strategies
from support.packs import asks, rule, ruleset_with
from support.strategies import examples, randoms

from sysmonlx.capture.kernel_form import KernelForm
from sysmonlx.errors import ControlError
from sysmonlx.host import child_process
from sysmonlx.host.child_process import Answer, Child
from sysmonlx.policy import Policy, Ruleset, Settings
from sysmonlx.rules.compiler import CompiledRules, compile_rules
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.service import compilation
from sysmonlx.service.compilation import (
    compile_at_start,
    compile_policy,
    compile_text,
    compiled_of,
    events_at_start,
)

FORM = KernelForm(
    {11: "", 23: "its rules ask Hashes"},
    b"packed",
    ((2, frozenset({Atom(Operation.IS, "root")})),),
)


def form(_: CompiledRules, __: Mapping[int, str]) -> KernelForm:
    return FORM


@pytest.mark.parametrize("learns", [False, True])
def test_where_event_3_names_hosts_the_kernel_discards_no_answer(learns: bool) -> None:
    given: list[Mapping[int, str]] = []

    def made(_: CompiledRules, left: Mapping[int, str]) -> KernelForm:
        given.append(left)
        return FORM

    compile_policy(Policy(settings=Settings(dns_lookup=learns)), made)
    assert [list(each) for each in given] == [[22] if learns else []]


@given(randoms())
@examples(100)
def test_what_comes_out_of_the_child_judges_alike(chance: Random) -> None:
    event_id = chance.choice((1, 3, 11, 12, 23))
    ruleset = strategies.ruleset(chance, (event_id,))
    made = compiled_of(Answer(compile_policy(Policy(ruleset), form), 0))
    here = compile_rules(ruleset)
    for each in EVENT_BY_ID:
        assert made.rules.can_emit(each) == here.can_emit(each)
        assert made.rules.reads(each) == here.reads(each)
    for _ in range(6):
        event = strategies.event(chance, event_id)
        assert made.rules.match(event_id, event) == here.match(event_id, event)
    assert made.elements == len(ruleset.elements)
    assert made.kernel == FORM


def test_all_but_the_rules_stays_as_it_was() -> None:
    settings = Settings(hash_algorithms=("SHA1",), budget=3)
    ruleset = strategies.ruleset(Random(1), (1,))
    policy = Policy(ruleset, settings, "a.xml", (("SHA256", "00"),))
    made = compiled_of(Answer(compile_text(policy.to_json(), form), 0)).policy
    assert made.ruleset.elements == ()
    assert (made.settings, made.source, made.digests, made.form) == (
        policy.settings,
        policy.source,
        policy.digests,
        policy.form,
    )


@pytest.mark.parametrize("text", ["{}", "[" * 100_000, "null"])
def test_policy_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ControlError, match=r"^The request is malformed: ValueError"):
        compiled_of(Answer(compile_text(text, form), 0))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"", -signal.SIGKILL), "was ended by SIGKILL: try again"),
        (Answer(b"", child_process.NO_MEMORY), "is short of memory: use fewer rules"),
        (Answer(b"KeyError: 'x'", child_process.FAILED), "failed: KeyError: 'x'"),
        (Answer(b"", 1), "failed: status 1"),
    ],
)
def test_child_that_fails_is_named_with_its_reason(answer: Answer, reason: str) -> None:
    with pytest.raises(ControlError) as caught:
        compiled_of(answer)
    assert str(caught.value) == f"The process that compiles the rules {reason}"


def test_start_compiles_by_itself_where_no_child_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_process() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def killed(_: Child, timeout_s: float) -> Answer:
        return Answer(b"", -signal.SIGKILL)

    monkeypatch.setattr(os, "fork", no_process)
    assert compile_at_start(Policy(), form).kernel == FORM
    with pytest.raises(ControlError, match="No process can be had"):
        compilation.begin(Policy().to_json(), form)
    monkeypatch.undo()
    monkeypatch.setattr(Child, "wait", killed)
    assert compile_at_start(Policy(), form).kernel == FORM


def _with_pack(event_id: int) -> Policy:
    asked = asks("Image", Operation.END, "/x")
    return Policy(ruleset_with([rule("a", asked, event_id=event_id)], "include"))


def test_packs_are_read_by_a_child_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    def elsewhere(ruleset: Ruleset) -> CompiledRules:
        assert os.getpid() != parent
        return compile_rules(ruleset)

    monkeypatch.setattr(compilation, "compile_rules", elsewhere)
    can_emit = events_at_start(_with_pack(11))
    here = compile_rules(_with_pack(11).ruleset).can_emit
    assert [*filter(can_emit, EVENT_BY_ID)] == [*filter(here, EVENT_BY_ID)]
    assert can_emit(11)


@pytest.mark.parametrize("fails", [None, "no process", "killed"])
def test_start_knows_the_events_of_packs_whether_or_not_a_child_reads_them(
    fails: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def killed(_: Child, timeout_s: float) -> Answer:
        return Answer(b"", -signal.SIGKILL)

    if fails == "no process":
        monkeypatch.setattr(os, "fork", no_process)
    if fails == "killed":
        monkeypatch.setattr(Child, "wait", killed)
    assert events_at_start(_with_pack(23))(23)
    assert not events_at_start(_with_pack(11))(23)


def test_rules_of_before_are_freed_without_the_collector() -> None:
    ruleset = strategies.ruleset(Random(5), (1, 11))
    data = compile_policy(Policy(ruleset), form)
    gc.disable()
    try:
        rules = compiled_of(Answer(data, 0)).rules
        for event_id in (1, 11):
            rules.match(event_id, strategies.event(Random(1), event_id))
        gone = [weakref.ref(each) for each in rules.decide.values()]
        rules_gone = weakref.ref(rules)
        del rules
        assert rules_gone() is None
        assert {each() for each in gone} == {None}
    finally:
        gc.enable()


def test_judges_of_sigma_rules_of_before_are_freed_without_the_collector() -> None:
    rules_of_before = [rule("A", asks("Image", Operation.END, "/wget"))]
    ruleset = ruleset_with(rules_of_before, "include")
    data = compile_policy(
        Policy(ruleset, Settings(rules=(ruleset.packs[0].choice,))), form
    )
    gc.disable()
    try:
        made = compiled_of(Answer(data, 0))
        (path, count, *_) = made.packs[0]
        assert (path, count) == ("/x.sigma.json", 1)
        values = ["/bin/wget"] * 24
        assert made.rules.match(1, values) == "sigma=A,level=high"
        gone = [*map(weakref.ref, made.rules.judges.values())]
        assert len(gone) == 1
        del made
        assert [each() for each in gone] == [None]
    finally:
        gc.enable()


def test_plain_data_hold_no_object() -> None:
    ruleset = strategies.ruleset(Random(7), (1, 11))
    assert marshal.loads(marshal.dumps(compile_rules(ruleset).plain()))
