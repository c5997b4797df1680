# SPDX-License-Identifier: MIT
"""Steps of a self-test, with parts that only note what is done to them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.errors import CaptureError, ControlError, LibbpfError
from sysmonlx.host import surroundings
from sysmonlx.policy import Policy
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import Process, image_key
from sysmonlx.service import self_test
from sysmonlx.service.control import PEER
from sysmonlx.service.self_test import SelfTests

TOOL, STAGE, ACTOR, OTHER = 10, 11, 12, 99


class FakeProcesses:
    """Processes alive: a tool, its child and grandchild, and another one."""

    def __init__(self) -> None:
        self.identity = Identity(1, 0)
        self.by_pid: dict[int, Process] = {}
        parent: Process | None = None
        for pid in (TOOL, STAGE, ACTOR):
            parent = self.by_pid[pid] = self._made(pid, parent)
        self.by_pid[OTHER] = self._made(OTHER, None)

    def _made(self, pid: int, parent: Process | None) -> Process:
        guid = self.identity.process_guid(pid, pid * 1000, 1)
        return Process(image_key(pid, pid * 1000, 1), guid, str(pid), 0, parent=parent)

    def alive(self, pid: int) -> Process | None:
        return self.by_pid.get(pid)


class FakeParts:
    """What a self-test changes: `judged` and `output.tap`."""

    def __init__(self) -> None:
        self.processes = FakeProcesses()
        self.judged: list[str] = []
        self.look_fails: Exception | None = None
        self.output = SimpleNamespace(tap=None, flush=lambda: None)
        self.pipeline = SimpleNamespace(
            prepare=lambda *_, **__: "with passing", judge_aside=self._judge
        )
        self.census = SimpleNamespace(look=self._look)
        self.variables: dict[str, bool] = {}
        self.capture = SimpleNamespace(
            maps={},
            btf=SimpleNamespace(
                enumerators=lambda _: {"PASSAGE_PROCESSES": 1, "PASSAGE_RECORDS": 1}
            ),
            set_variable=self.variables.__setitem__,
            counts=dict,
            missing=(),
            wanted_programs=frozenset,
        )

    def _judge(self, judging: str) -> str:
        self.judged.append(judging)
        return "as before"

    def _look(self) -> None:
        if self.look_fails:
            raise self.look_fails


class Trial:
    """Self-tests and their parts."""

    def __init__(self) -> None:
        self.parts = FakeParts()
        rules = SimpleNamespace(
            can_emit=lambda event_id: event_id != 3,
            decide={11: lambda values: None, 1: lambda values: None},
            but_for=lambda decisions: decisions,
        )
        policy = Policy()
        in_force = SimpleNamespace(rules=rules, policy=policy, hooks=tuple)
        standing: Any = SimpleNamespace(in_force=in_force, policy=policy)
        parts: Any = self.parts
        self.ended: set[int] = set()
        self.tests = SelfTests(parts, standing, lambda pid: pid not in self.ended)

    def ask(
        self, step: str, token: object = None, peer: int = TOOL, **more: Any
    ) -> Any:
        message = {"step": step, "token": token, PEER: peer, **more}
        return self.tests.answer(message)

    def name(self, token: str, *pids: int, runs: bool = False) -> Sequence[str]:
        answer = self.ask("pass", token, processes=[[p, 11, runs] for p in pids])
        return list(answer["guids"])


@pytest.fixture
def trial() -> Trial:
    return Trial()


def test_begin_says_what_the_configuration_reports(trial: Trial) -> None:
    begun = trial.ask("begin")
    assert begun["unwanted"].keys() == {"3"}
    assert begun["seconds"] == self_test.LIFE_S
    assert begun["algorithms"] == ["SHA256"]
    assert begun["settings"] == []
    assert trial.parts.judged == []  # nobody passes yet


def test_named_processes_pass_until_the_end(trial: Trial) -> None:
    token = trial.ask("begin")["token"]
    alive = trial.parts.processes.by_pid
    assert trial.name(token, STAGE, ACTOR) == [alive[STAGE].guid, alive[ACTOR].guid]
    assert trial.parts.judged == ["with passing"]
    assert trial.parts.output.tap is not None
    why = trial.ask("end", token)["why"]
    assert why == {"11": "the kernel told of no such act meanwhile"}
    assert trial.parts.judged == ["with passing", "as before"]
    assert trial.parts.output.tap is None


def test_process_that_runs_a_program_passes_with_the_guid_it_then_has(
    trial: Trial,
) -> None:
    token = trial.ask("begin")["token"]
    identity = trial.parts.processes.identity
    guids = trial.name(token, ACTOR, runs=True)
    assert guids == [identity.process_guid(ACTOR, ACTOR * 1000, 2)]


@pytest.mark.parametrize("pid", [OTHER, TOOL, 1, 0, -1, 1 << 40])
def test_only_descendants_pass(trial: Trial, pid: int) -> None:
    token = trial.ask("begin")["token"]
    with pytest.raises(ControlError, match="no descendant of process 10"):
        trial.name(token, ACTOR, pid)
    assert trial.parts.judged == []


def test_pid_namespace_of_its_own_is_named(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "is_first", lambda kind: False)
    token = trial.ask("begin")["token"]
    with pytest.raises(ControlError, match="pid namespace of its own"):
        trial.name(token, OTHER)


def test_processes_are_named_once(trial: Trial) -> None:
    token = trial.ask("begin")["token"]
    trial.name(token, ACTOR)
    with pytest.raises(ControlError, match="already"):
        trial.name(token, STAGE)


def test_one_at_a_time_unless_its_tool_has_ended(trial: Trial) -> None:
    first = trial.ask("begin")["token"]
    trial.name(first, ACTOR)
    with pytest.raises(ControlError, match=r"Process 10 has .* try again in 6 s"):
        trial.ask("begin", peer=OTHER)
    trial.ended.add(TOOL)
    trial.ask("begin", peer=OTHER)
    assert trial.parts.judged == ["with passing", "as before"]
    with pytest.raises(ControlError, match=r"not under way\. Another one was begun"):
        trial.ask("events", first)


def test_process_that_cannot_be_seen_from_here_is_refused(trial: Trial) -> None:
    with pytest.raises(ControlError, match="not visible here"):
        trial.ask("begin", peer=0)


def test_process_is_there_or_not() -> None:
    assert self_test.is_there(os.getpid())
    assert self_test.is_there(1)
    assert not self_test.is_there(1 << 22)


def test_time_ends_it(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    token = trial.ask("begin")["token"]
    trial.name(token, ACTOR)
    trial.tests.expire()
    assert trial.parts.judged == ["with passing"]
    later_s = time.monotonic() + self_test.LIFE_S
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    trial.tests.expire()
    assert trial.parts.judged == ["with passing", "as before"]
    with pytest.raises(ControlError, match="It took too long"):
        trial.ask("events", token)


def test_late_step_finds_it_ended(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = trial.ask("begin")["token"]
    later_s = time.monotonic() + self_test.LIFE_S
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    with pytest.raises(ControlError, match="It took too long"):
        trial.name(token, ACTOR)
    trial.ask("begin", peer=OTHER)


@pytest.mark.parametrize("token", [None, "", "0" * 32, 7])
def test_only_who_has_the_token_goes_on(trial: Trial, token: object) -> None:
    with pytest.raises(ControlError, match="not under way"):
        trial.ask("end", token)
    trial.ask("begin")
    for step in ("pass", "events", "end", "nonsense"):
        with pytest.raises(ControlError, match="not under way"):
            trial.ask(step, token)


def test_tokens_are_never_the_same(trial: Trial) -> None:
    tokens = set()
    for _ in range(3):
        tokens.add(token := trial.ask("begin")["token"])
        trial.ask("end", token)
    assert len(tokens) == 3
    assert {len(each) for each in tokens} == {32}


def test_unknown_step_is_refused(trial: Trial) -> None:
    token = trial.ask("begin")["token"]
    with pytest.raises(ControlError, match="does not know this step"):
        trial.ask("nonsense", token)


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("no iterator"),
        LibbpfError("read", 12, "no memory"),
        OSError(24, os.strerror(24)),
    ],
)
def test_kernel_that_lists_no_processes_lets_none_pass(
    trial: Trial, error: Exception
) -> None:
    token = trial.ask("begin")["token"]
    trial.parts.look_fails = error
    with pytest.raises(ControlError, match="The kernel lists no processes: "):
        trial.name(token, ACTOR)
    assert trial.parts.judged == []
