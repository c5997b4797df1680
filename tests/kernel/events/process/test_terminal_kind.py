# SPDX-License-Identifier: MIT
"""Records say which terminal a process has, and whether it is a pseudo-terminal."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from sysmonlx.capture.sensor import Capture, load_capture

pytestmark = pytest.mark.kernel


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = load_capture((), 1 << 20, 1 << 18)
    yield made
    made.close()


@pytest.fixture
def session() -> Iterator[tuple[int, int]]:
    """Return pid and terminal number of a process that leads a session of its own."""
    pid, terminal = pty.fork()
    if not pid:
        try:
            os.write(1, os.ttyname(0).encode())
            os.read(0, 1)  # the end of the terminal ends it, or is an error
        finally:
            os._exit(0)
    name = os.read(terminal, 100).decode()
    yield pid, int(name.removeprefix("/dev/pts/"))
    os.close(terminal)
    os.waitpid(pid, 0)


def test_a_pseudo_terminal_is_known_as_one(
    capture: Capture, session: tuple[int, int]
) -> None:
    pid, number = session
    decode = capture.layouts.by_name["process_scan"].decode
    (found,) = [each for each in map(decode, capture.scan()) if each.tgid == pid]
    assert found.tty_index == number
    assert found.flags & capture.layouts.flags["TTY_IS_PTS"]
