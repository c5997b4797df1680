# SPDX-License-Identifier: MIT
"""A thread stores what updates bring: in their order, whole, and again if it fails."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.errors import ControlError, InstallError
from sysmonlx.host import file_calls
from sysmonlx.service import storing as storing_module
from sysmonlx.service.storing import AGAIN_S, STORED, Storing

DEADLINE_S = 20.0
NAMES = ("policy", "command_line", "config")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Files:
    """A directory of files, and what stores them."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.directory = directory
        self.clock = Clock()
        self.storing = Storing(self.clock)
        self.told: list[str] = []

    def of(self, text: str) -> dict[Path, bytes]:
        return {self.directory / name: f"{text} {name}".encode() for name in NAMES}

    def stored(self) -> dict[str, str]:
        """Return what is there by name, while nothing is stored."""
        return {each.name: each.read_text() for each in self.directory.iterdir()}

    def look(self) -> None:
        self.storing.look()
        self.told += self.storing.news()

    def wait(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline_s, self.storing.trouble
            time.sleep(0.005)
            self.look()

    def update(self, text: str) -> None:
        """Store an update that is in force before its files are written."""
        self.storing.keep(self.storing.begin(self.of(text)))

    def update_whole(self, text: str) -> None:
        """Store an update that is in force once its files are written, to its end."""
        store = self.storing.begin(self.of(text))
        self.wait(store.has_ended)
        self.storing.keep(store)
        self.wait(store.has_ended)
        self.look()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.storing.close(DEADLINE_S)


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have a directory that does not answer until the event is set."""
    answers, fsync = threading.Event(), os.fsync

    def wait(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            assert answers.wait(DEADLINE_S)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", wait)
    monkeypatch.setattr(file_calls, "PATIENCE_S", 0.05)
    yield answers
    answers.set()


def expected(text: str) -> dict[str, str]:
    return {name: f"{text} {name}" for name in NAMES}


def test_files_have_their_names_when_they_are_kept(files: Files) -> None:
    store = files.storing.begin(files.of("a"))
    files.wait(store.has_ended)
    store.call.result()
    assert not any((files.directory / name).exists() for name in NAMES)
    files.storing.keep(store)
    files.wait(store.has_ended)
    assert files.stored() == expected("a")
    assert (files.storing.trouble, files.storing.policy, files.told) == ("", "", [])


def test_files_that_are_dropped_leave_nothing_behind(files: Files) -> None:
    files.update_whole("a")
    store = files.storing.begin(files.of("b"))
    files.storing.drop(store)
    files.wait(store.has_ended)
    assert files.stored() == expected("a")


def test_file_that_cannot_be_written_leaves_nothing_behind(files: Files) -> None:
    (files.directory / "config").mkdir()
    store = files.storing.begin(files.of("a"))
    files.wait(store.has_ended)
    with pytest.raises(InstallError, match="a directory is in its place"):
        store.call.result()
    files.storing.drop(store)
    files.wait(store.has_ended)
    assert os.listdir(files.directory) == ["config"]


def test_file_system_that_hangs_makes_nobody_wait(
    files: Files, hung: threading.Event
) -> None:
    begun_s = time.thread_time()
    files.update("a")
    files.wait(lambda: bool(files.told))
    assert files.told == [files.storing.trouble]
    assert f"{files.directory / 'policy'} does not answer" in files.told[0]
    assert files.storing.policy == "a policy"
    assert time.thread_time() - begun_s < 1
    hung.set()
    files.wait(lambda: len(files.told) > 1)
    assert files.told[1:] == [STORED]
    assert files.stored() == expected("a")
    assert (files.storing.trouble, files.storing.policy) == ("", "")


def test_last_update_wins_in_whatever_state_those_before_are(
    files: Files, hung: threading.Event
) -> None:
    for text in "abc":
        files.update(text)
        assert files.storing.policy == f"{text} policy"
    files.wait(lambda: bool(files.told))
    refused = files.storing.begin(files.of("d"))
    files.storing.drop(refused)
    hung.set()
    files.wait(lambda: files.told[1:] == [STORED])
    files.wait(refused.has_ended)
    assert files.stored() == expected("c")


def test_update_after_one_that_hangs_is_told_as_not_stored_at_once(
    files: Files, hung: threading.Event
) -> None:
    files.update("a")
    files.wait(lambda: bool(files.told))
    files.update("b")
    assert "does not answer" in files.storing.trouble
    assert files.storing.policy == "b policy"


def test_what_failed_is_tried_again_once_in_a_while(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.update_whole("before")
    rename, renamed = os.rename, []

    def fail(*names: Any, **where: Any) -> None:
        renamed.append(names)
        if names[1] == "command_line" and not names[0].endswith(".old"):
            raise OSError(5, "Input/output error")
        rename(*names, **where)

    monkeypatch.setattr(os, "rename", fail)
    files.update_whole("a")
    assert "Input/output error" in files.storing.trouble
    assert files.stored() == expected("before")  # a start would find one whole policy
    assert len(renamed) == 3
    files.clock.now_s += AGAIN_S
    files.wait(lambda: len(renamed) == 6)
    files.wait(lambda: not files.storing.is_busy)  # it has failed again
    files.clock.now_s += AGAIN_S / 2
    for _ in range(10):
        files.look()
    assert len(renamed) == 6
    monkeypatch.undo()
    files.clock.now_s += AGAIN_S
    files.wait(lambda: len(files.told) > 1)
    assert files.told[1:] == [STORED]
    assert files.stored() == expected("a")


def test_update_that_gets_no_thread_is_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(11, "no thread can be started")

    monkeypatch.setattr(storing_module, "Worker", refuse)
    with pytest.raises(ControlError, match="No thread can be had to store"):
        files.storing.begin(files.of("a"))
    monkeypatch.undo()
    files.update("a")
    files.wait(lambda: os.listdir(files.directory) != [])


def test_end_waits_a_moment_for_files_that_are_being_written(
    files: Files, hung: threading.Event
) -> None:
    files.update("a")
    threading.Timer(0.1, hung.set).start()
    files.storing.close(DEADLINE_S)
    assert files.stored() == expected("a")
