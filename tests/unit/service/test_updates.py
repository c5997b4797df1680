# SPDX-License-Identifier: MIT
"""Updates: compiled apart, one at a time, each with exactly one answer."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from sysmonlx.capture.kernel_form import KernelForm
from sysmonlx.errors import CaptureError, ControlError, SysmonlxError
from sysmonlx.host.child_process import Child
from sysmonlx.policy import Policy
from sysmonlx.rules.compiler import CompiledRules
from sysmonlx.service import compilation, updates
from sysmonlx.service.compilation import Compiled
from sysmonlx.service.control import Message
from sysmonlx.service.updates import Files, Updates

DEADLINE_S = 20.0
FILES = {Path("/x"): b"y"}


class Pipe:
    """Programs that are loaded when somebody says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.reader

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class Loop:
    """A main loop with updates: what was put in force, and what was answered."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[], object]] = {}
        self.put: list[tuple[str, Files]] = []
        self.answers: list[str] = []
        self.loading: Pipe | None = None
        self.updates = Updates(
            self.handlers.__setitem__, self.handlers.__delitem__, self._load, self._put
        )

    def _load(self, made: Compiled) -> Pipe | None:
        if made.policy.source == "unloadable.xml":
            raise CaptureError("No thread can be had")
        return self.loading

    def _put(self, made: Compiled, files: Files) -> Message:
        self.put.append((made.policy.source, files))
        return {}

    def ask(self, source: str, form: compilation.MakeForm) -> None:
        text = Policy(source=source).to_json()
        later = self.updates.begin(partial(compilation.begin, text, form), FILES)
        later.bind(self._reply)

    def _reply(self, make: Callable[[], Message]) -> None:
        try:
            make()
            self.answers.append("")
        except SysmonlxError as error:
            self.answers.append(str(error))

    def go_round(self, timeout_s: float = DEADLINE_S) -> None:
        for fd in select.select([*self.handlers], [], [], timeout_s)[0]:
            self.handlers[fd]()
        self.updates.expire()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.updates.end("over")
    assert made.handlers == {}


@pytest.fixture
def loading(loop: Loop) -> Iterator[Pipe]:
    """Have programs of every update loaded apart."""
    loop.loading = made = Pipe()
    yield made
    loop.updates.end("over")
    made.close()


def at_once(_: CompiledRules, __: Mapping[int, str]) -> KernelForm:
    return KernelForm()


def never(_: CompiledRules, __: Mapping[int, str]) -> KernelForm:
    time.sleep(3600)
    raise AssertionError


def large(_: CompiledRules, __: Mapping[int, str]) -> KernelForm:
    return KernelForm(packed=bytes(1 << 20))


def test_update_is_put_in_force_when_it_is_compiled(loop: Loop) -> None:
    for form in (at_once, large):
        loop.ask("a.xml", form)
        assert not loop.put
        assert not loop.answers
        while not loop.answers:
            loop.go_round()
        assert (loop.put, loop.answers) == ([("a.xml", FILES)], [""])
        loop.put.clear()
        loop.answers.clear()


def test_one_update_at_a_time(loop: Loop) -> None:
    loop.ask("a.xml", never)
    with pytest.raises(ControlError, match="Another update is under way"):
        loop.ask("b.xml", at_once)
    loop.updates.end("The daemon is being stopped")
    assert loop.answers == [
        "The daemon is being stopped; the rules before stay in force"
    ]
    loop.ask("c.xml", at_once)
    while len(loop.answers) < 2:
        loop.go_round()
    assert [source for source, _ in loop.put] == ["c.xml"]


def test_update_that_takes_too_long_is_ended(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "LIMIT_S", 0.05)
    loop.ask("a.xml", never)
    while not loop.answers:
        loop.go_round(0.01)
    assert loop.answers == [
        "To compile the rules takes more than 0.05 s: use fewer; "
        "the rules before stay in force"
    ]
    assert loop.put == []


def test_update_that_is_too_large_is_ended(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_ANSWER_BYTES", 1 << 10)
    loop.ask("a.xml", large)
    while not loop.answers:
        loop.go_round()
    assert loop.answers[0].startswith("The rules are too large: use fewer; ")
    assert loop.put == []


def test_update_without_a_process_has_not_begun(loop: Loop) -> None:
    def fail() -> Child:
        raise ControlError("No process can be had")

    with pytest.raises(ControlError):
        loop.updates.begin(fail, FILES)
    loop.ask("a.xml", at_once)
    while not loop.answers:
        loop.go_round()
    assert loop.answers == [""]


def test_shortage_ends_the_update_and_nothing_else(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Child) -> None:
        raise MemoryError

    loop.ask("a.xml", at_once)
    with monkeypatch.context() as patch:
        patch.setattr(Child, "take", fail)
        loop.go_round()
    assert loop.answers == [
        "The compiled rules cannot be taken: no memory; the rules before stay in force"
    ]
    loop.ask("b.xml", at_once)
    while len(loop.answers) < 2:
        loop.go_round()
    assert [source for source, _ in loop.put] == ["b.xml"]


def test_rules_wait_for_the_programs_that_they_need(loop: Loop, loading: Pipe) -> None:
    loop.ask("a.xml", at_once)
    while [*loop.handlers] != [loading.fileno()]:
        loop.go_round()
    loop.go_round(0.05)
    assert (loop.put, loop.answers) == ([], [])
    with pytest.raises(ControlError, match="Another update is under way"):
        loop.ask("b.xml", at_once)
    os.write(loading.writer, b"x")
    loop.go_round()
    assert (loop.put, loop.answers) == ([("a.xml", FILES)], [""])
    assert loop.handlers == {}


def test_update_may_end_while_programs_are_loaded(
    loop: Loop, loading: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("a.xml", "b.xml"):
        with monkeypatch.context() as patch:
            patch.setattr(loop.updates, "expire", lambda: None)
            loop.ask(source, at_once)
            while [*loop.handlers] != [loading.fileno()]:
                loop.go_round()
        if source == "a.xml":
            loop.updates.end("The daemon is being stopped")
            monkeypatch.setattr(updates, "LIMIT_S", 0)
        loop.updates.expire()
    assert loop.answers == [
        "The daemon is being stopped; the rules before stay in force",
        "To load the programs takes more than 0 s; the rules before stay in force",
    ]
    assert (loop.put, loop.handlers) == ([], {})


def test_programs_that_cannot_be_loaded_are_the_answer(loop: Loop) -> None:
    loop.ask("unloadable.xml", at_once)
    while not loop.answers:
        loop.go_round()
    assert loop.answers == ["No thread can be had"]
    assert (loop.put, loop.handlers) == ([], {})
