# SPDX-License-Identifier: MIT
"""When the installed configuration is read again without a command of a person."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.host.thread_call import ThreadCall
from sysmonlx.output.dispatch import Output
from sysmonlx.service.configuration import is_changed
from sysmonlx.service.loop import Loop
from sysmonlx.service.second_try import SecondTry
from sysmonlx.service.signals import Signals
from sysmonlx.service.spawn import run_again
from sysmonlx.service.standing import Standing
from sysmonlx.service.wiring import Options

if TYPE_CHECKING:
    from subprocess import Popen


class Rereading:
    """Has the configuration file read again, as if an administrator had called `-c`.

    It does so at SIGHUP. After a file was refused, it does so again as soon as the file
    has changed. A thread looks whether it has, since its file system may not answer. A
    child process reads the file and sends the policy to this daemon. Another thread
    starts that: who starts a program waits until it is loaded.
    """

    def __init__(
        self,
        options: Options,
        signals: Signals,
        standing: Standing,
        output: Output,
        loop: Loop,
    ) -> None:
        self._path = options.paths.config_file
        self._may_read = options.keeps_state
        self._signals = signals
        self._standing = standing
        self._output = output
        self._loop = loop
        self._again = SecondTry(self._path)
        self._children: list[Popen[bytes]] = []
        self._starting: ThreadCall[Popen[bytes]] | None = None
        self._reads_again = False
        self._is_hung_up = False
        self._worker: Worker | None = None
        self._asked: Call[bool] | None = None
        self._is_told = False

    def look(self) -> None:
        """Begin to read where that is due; call it every second."""
        self._children = [each for each in self._children if each.poll() is None]
        if self._reads_again and self._starting is None:
            self._read()
        if self._signals.take_hang_up():
            self._output.reopen()
            self._is_hung_up = True
        if self._asked is not None or not self._standing.is_stored:
            return  # the file is still that of the policy before
        if self._is_hung_up:
            self._obey_signal()
        elif self._standing.refused and not self._reads and self._again.is_time():
            self._ask(self._again.is_due)

    @property
    def _reads(self) -> bool:
        """Whether a child reads the file, or is about to."""
        return bool(self._children or self._starting is not None or self._reads_again)

    def news(self) -> Iterator[str]:
        """Yield that the file does not answer, once."""
        if self._asked is not None and self._asked.is_late and not self._is_told:
            self._is_told = True
            yield f"{self._path} does not answer: it is read again when it does"

    def _obey_signal(self) -> None:
        """Read a configuration file that has changed."""
        policy = self._standing.policy
        has_rules = bool(policy.settings.rules)  # their files may have changed
        if self._standing.refused or has_rules:
            self._is_hung_up = False
            self._read()
        elif self._ask(partial(is_changed, self._path, policy)):
            self._is_hung_up = False

    def _ask(self, question: Callable[[], bool]) -> bool:
        """Have a thread look at the file; False: there is no thread to be had."""
        try:
            self._worker = worker = Worker()
        except OSError:  # the next round tries again
            return False
        self._is_told = False
        self._asked = worker.begin(question, tells=True)
        self._loop.handle(worker.fileno(), self._hear)
        return True

    def _hear(self) -> None:
        """Read the file if the thread says so."""
        assert self._worker is not None, "it has told"
        assert self._asked is not None, "it has told"
        self._worker.hear()
        if not self._asked.wait(0):
            return
        asked, self._asked = self._asked, None
        self._loop.forget(self._worker.fileno())
        self._worker.end()
        self._worker = None
        try:
            is_another = asked.result()
        except Exception:  # who reads it says what is wrong
            is_another = True
        if is_another:
            self._read()

    def _read(self) -> None:
        """Have a child started, after one that is being started."""
        if not self._may_read:
            return
        self._reads_again = True
        if self._starting is None:
            start = partial(run_again, "-c", os.fspath(self._path))
            with contextlib.suppress(OSError):  # no thread: the next round tries again
                self._starting = starting = ThreadCall(start)
                self._loop.handle(starting.fileno(), self._take_child)
                self._reads_again = False

    def _take_child(self) -> None:
        """Note the child that a thread has started, if it could."""
        starting, self._starting = self._starting, None
        assert starting is not None, "it has told"
        self._loop.forget(starting.fileno())
        with contextlib.suppress(Exception):  # the file is read at the next signal
            if (child := starting.result()) is not None:
                self._children.append(child)
