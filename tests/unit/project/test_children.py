# SPDX-License-Identifier: MIT
"""What the tests themselves rely on when they fork."""

from __future__ import annotations

import os

CHILD_FAILED = 70  # as in tests/conftest.py


def test_child_that_raises_ends_there_and_runs_no_other_test() -> None:
    pid = os.fork()
    if pid == 0:
        raise AssertionError("this is on purpose")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == CHILD_FAILED
