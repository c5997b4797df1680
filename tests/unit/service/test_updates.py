# SPDX-License-Identifier: MIT
"""Updates: compiled apart, one at a time, each with exactly one answer."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sysmonlx.capture.kernel_form import KernelForm
from sysmonlx.errors import CaptureError, ControlError, SysmonlxError
from sysmonlx.host import file_calls
from sysmonlx.host.child_process import Child
from sysmonlx.policy import Policy
from sysmonlx.rules.compiler import CompiledRules
from sysmonlx.service import compilation, updates
from sysmonlx.service.compilation import Compiled
from sysmonlx.service.control import Message
from sysmonlx.service.storing import Storing
from sysmonlx.service.updates import Updates

DEADLINE_S = 20.0


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

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.file = directory / "policy"
        self.handlers: dict[int, Callable[[], object]] = {}
        self.put: list[str] = []
        self.stored_at_put: list[bool] = []
        self.answers: list[str] = []
        self.loading: Pipe | None = None
        self.storing = Storing()
        self.updates = Updates(
            self.handlers.__setitem__,
            self.handlers.__delitem__,
            self._load,
            self.storing,
            self._put,
            lambda: {"trouble": self.storing.trouble},
        )

    def _load(self, made: Compiled) -> Pipe | None:
        if made.policy.source == "unloadable.xml":
            raise CaptureError("No thread can be had")
        return self.loading

    def _put(self, made: Compiled) -> None:
        if made.policy.source == "unusable.xml":
            raise CaptureError("The kernel has no memory for the rules")
        self.stored_at_put.append(self.stored() == made.policy.source)
        self.put.append(made.policy.source)

    def stored(self) -> str:
        return self.file.read_text() if self.file.exists() else ""

    def ask(self, source: str, form: compilation.MakeForm) -> None:
        text = Policy(source=source).to_json()
        files = {self.file: source.encode()}
        later = self.updates.begin(partial(compilation.begin, text, form), files)
        later.bind(self._reply)

    def _reply(self, make: Callable[[], Message]) -> None:
        try:
            self.answers.append(str(make()["trouble"]))
        except SysmonlxError as error:
            self.answers.append(str(error))

    def go_round(self, timeout_s: float = DEADLINE_S) -> None:
        for fd in select.select([*self.handlers], [], [], timeout_s)[0]:
            self.handlers[fd]()
        self.updates.expire()

    def answered(self, count: int = 1) -> list[str]:
        """Go on until there are so many answers."""
        while len(self.answers) < count:
            self.go_round()
        return self.answers


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(updates, "STORE_LIMIT_S", DEADLINE_S)  # the disk may be busy
    monkeypatch.setattr(file_calls, "PATIENCE_S", DEADLINE_S)
    made = Loop(tmp_path)
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
        assert (loop.put, loop.answers) == (["a.xml"], [""])
        assert loop.stored() == "a.xml"
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
    assert loop.put == ["c.xml"]


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
        loop.updates.begin(fail, {loop.file: b""})
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
    assert loop.put == ["b.xml"]


def test_rules_wait_for_the_programs_that_they_need(loop: Loop, loading: Pipe) -> None:
    loop.ask("a.xml", at_once)
    while [*loop.handlers] != [loading.fileno()]:
        loop.go_round()
    loop.go_round(0.05)
    assert (loop.put, loop.answers) == ([], [])
    with pytest.raises(ControlError, match="Another update is under way"):
        loop.ask("b.xml", at_once)
    os.write(loading.writer, b"x")
    assert loop.answered() == [""]
    assert loop.put == ["a.xml"]
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


# --- what an update stores


def hang(monkeypatch: pytest.MonkeyPatch, call: str) -> Event:
    """Have a call of the file system not return until the event is set."""
    answers, real = Event(), getattr(os, call)

    def wait(*arguments: Any, **more: Any) -> Any:
        assert answers.wait(DEADLINE_S)
        return real(*arguments, **more)

    monkeypatch.setattr(os, call, wait)
    monkeypatch.setattr(updates, "STORE_LIMIT_S", 0.05)
    monkeypatch.setattr(file_calls, "PATIENCE_S", 0.01)
    return answers


def test_update_that_cannot_be_stored_is_refused(loop: Loop) -> None:
    loop.file.mkdir()
    loop.ask("a.xml", at_once)
    (text,) = loop.answered()
    assert text == (
        f"Cannot write {loop.file}: a directory is in its place, remove it first"
    )
    assert (loop.put, loop.handlers) == ([], {})


def test_update_that_cannot_be_put_in_force_is_not_stored(loop: Loop) -> None:
    for number, source in enumerate(("a.xml", "unusable.xml"), 1):
        loop.ask(source, at_once)
        loop.answered(number)
    assert loop.answers == ["", "The kernel has no memory for the rules"]
    loop.storing.close(DEADLINE_S)
    assert loop.stored() == "a.xml"
    assert os.listdir(loop.file.parent) == ["policy"]


def test_rules_are_in_force_before_their_files_have_names(loop: Loop) -> None:
    """Rules that end the service when they come into force are not found by a start."""
    loop.ask("a.xml", at_once)
    loop.answered()
    assert loop.stored_at_put == [False]
    assert loop.stored() == "a.xml"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_file_system_that_hangs_keeps_no_rules_back(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    answers = hang(monkeypatch, call)
    loop.ask("a.xml", at_once)
    while not loop.answers:
        loop.go_round(0.01)
    assert loop.put == ["a.xml"]
    assert "the rules in force are not stored yet" in loop.answers[0]
    assert str(loop.file) in loop.answers[0]
    monkeypatch.setattr(updates, "STORE_LIMIT_S", DEADLINE_S)  # nobody waits for it
    loop.ask("b.xml", at_once)
    loop.answered(2)
    assert loop.put == ["a.xml", "b.xml"]
    assert "not stored yet" in loop.answers[1]
    answers.set()
    loop.storing.close(DEADLINE_S)
    loop.storing.look()
    assert (loop.stored(), loop.storing.trouble) == ("b.xml", "")


@pytest.mark.parametrize(("call", "is_put"), [("fsync", False), ("rename", True)])
def test_update_may_end_while_it_is_stored(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, call: str, is_put: bool
) -> None:
    answers = hang(monkeypatch, call)
    monkeypatch.setattr(updates, "STORE_LIMIT_S", DEADLINE_S)
    loop.ask("a.xml", at_once)
    deadline_s = time.monotonic() + 0.3
    while time.monotonic() < deadline_s:
        loop.go_round(0.05)
    assert loop.answers == []
    loop.updates.end("The daemon is being stopped")
    answers.set()
    loop.storing.close(DEADLINE_S)
    assert (loop.put != [], loop.stored() == "a.xml") == (is_put, is_put)
    expected = "not stored yet" if is_put else "the rules before stay in force"
    assert expected in loop.answers[0]
    assert len(os.listdir(loop.file.parent)) == int(is_put)
