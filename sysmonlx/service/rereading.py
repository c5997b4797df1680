# SPDX-License-Identifier: MIT
"""When the installed configuration is read again without a command of a person."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from sysmonlx.output.dispatch import Output
from sysmonlx.service.configuration import is_changed
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
    has changed. A child process reads the file and sends the policy to this daemon.
    """

    def __init__(
        self, options: Options, signals: Signals, standing: Standing, output: Output
    ) -> None:
        self._path = options.paths.config_file
        self._may_read = options.keeps_state
        self._signals = signals
        self._standing = standing
        self._output = output
        self._again = SecondTry(self._path)
        self._children: list[Popen[bytes]] = []

    def look(self) -> None:
        """Begin to read where that is due; call it every second."""
        self._children = [each for each in self._children if each.poll() is None]
        if self._signals.take_hang_up():
            self._obey_signal()
        elif self._standing.refused and not self._children and self._again.is_due():
            self._read()

    def _obey_signal(self) -> None:
        """Open the sinks anew; read a configuration file that has changed."""
        self._output.reopen()
        policy = self._standing.policy
        has_rules = bool(policy.settings.rules)  # their files may have changed
        if self._standing.refused or has_rules or is_changed(self._path, policy):
            self._read()

    def _read(self) -> None:
        if self._may_read:
            with contextlib.suppress(OSError):
                self._children.append(run_again("-c", os.fspath(self._path)))
