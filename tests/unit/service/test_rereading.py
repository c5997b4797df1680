# SPDX-License-Identifier: MIT
"""A configuration file that does not answer keeps nobody waiting, and is read later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.host import file_calls
from sysmonlx.policy import Policy
from sysmonlx.service import rereading as module
from sysmonlx.service.loop import Loop
from sysmonlx.service.rereading import Rereading
from sysmonlx.service.second_try import LEAST_S

DEADLINE_S = 20.0


class Place:
    """A service with a configuration file: what it opens anew, and what it reads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.is_hang_up = False
        self.opened = 0
        self.commands: list[tuple[str, ...]] = []
        self.standing = SimpleNamespace(policy=Policy(), refused="", is_stored=True)
        self.loop = Loop()
        signals: Any = SimpleNamespace(take_hang_up=self._take)
        output: Any = SimpleNamespace(reopen=self._reopen)
        options: Any = SimpleNamespace(
            paths=SimpleNamespace(config_file=file), keeps_state=True
        )
        standing: Any = self.standing
        self.rereading = Rereading(options, signals, standing, output, self.loop)

    def _take(self) -> bool:
        was, self.is_hang_up = self.is_hang_up, False
        return was

    def _reopen(self) -> None:
        self.opened += 1

    def run(self, *words: str) -> Any:
        self.commands.append(words)
        return SimpleNamespace(poll=lambda: 0)

    def look(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            self.rereading.look()
            self.loop.wait(0.02)

    def wait(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline_s
            self.look(1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path / "config.xml")
    monkeypatch.setattr(module, "run_again", made.run)
    yield made
    made.wait(lambda: made.rereading._starting is None)
    made.loop.close()


def test_signal_has_a_file_read_that_is_another(place: Place) -> None:
    place.file.write_text("another")
    place.is_hang_up = True
    place.wait(lambda: bool(place.commands))
    assert place.commands == [("-c", str(place.file))]
    assert place.opened == 1


def test_signal_has_no_file_read_that_is_the_same(place: Place) -> None:
    place.is_hang_up = True
    place.look()
    assert (place.commands, place.opened) == ([], 1)


def test_refused_file_is_read_when_it_has_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.standing.refused = "line 1"
    place.file.write_text("wrong")
    place.look()
    assert place.commands == []
    later_s = time.monotonic() + LEAST_S
    monkeypatch.setattr(place.rereading._again, "_clock", lambda: later_s)
    place.wait(lambda: bool(place.commands))
    place.look()
    assert len(place.commands) == 1


def test_file_that_hangs_is_told_once_and_read_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(module, "is_changed", lambda *_: answers.wait(DEADLINE_S))
    monkeypatch.setattr(file_calls, "PATIENCE_S", 0.01)
    begun_s = time.monotonic()
    for _ in range(2):
        place.is_hang_up = True
        place.look()
    assert time.monotonic() - begun_s < DEADLINE_S / 2
    assert place.opened == 2
    told = [*place.rereading.news(), *place.rereading.news()]
    assert told == [f"{place.file} does not answer: it is read again when it does"]
    assert place.commands == []
    answers.set()
    place.wait(lambda: len(place.commands) == 2)  # each signal counts
    place.look()
    assert len(place.commands) == 2


def test_file_is_not_read_while_it_is_not_that_of_the_rules_in_force(
    place: Place,
) -> None:
    """It is the one before: to read it would take the new rules back."""
    place.standing.is_stored = False
    place.file.write_text("before")
    place.is_hang_up = True
    place.look()
    assert (place.commands, place.opened) == ([], 1)
    place.standing.is_stored = True
    place.wait(lambda: bool(place.commands))


def test_no_thread_means_another_try(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(11, "no thread can be started")

    place.file.write_text("another")
    place.is_hang_up = True
    with monkeypatch.context() as patch:
        patch.setattr(module, "Worker", refuse)
        place.look()
    assert place.commands == []
    place.wait(lambda: bool(place.commands))
