# SPDX-License-Identifier: MIT
"""The program called in this process."""

from __future__ import annotations

import pytest

from sysmonlx.cli import main


class Said:
    """Exit status and output of one call."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


class Program:
    """The program in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        status = main.main(words)
        return Said(status, *self._capsys.readouterr())
