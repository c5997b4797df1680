# SPDX-License-Identifier: MIT
"""The terminal of the live view: its keys, its size, and how it was before."""

from __future__ import annotations

import contextlib
import os
import termios

_READ_BYTES = 4096
_LFLAG, _CC = 3, 6  # of what tcgetattr(3) gives


class Tty:
    """Standard input that is a terminal; keys come one by one while `enter` holds.

    Keys that send signals (Ctrl-C, Ctrl-Z) still do.
    """

    def __init__(self, fd: int, out_fd: int) -> None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._own = os.open(f"/proc/self/fd/{fd}", flags)
        self._out_fd = out_fd
        self._before: list[int | list[bytes | int]] | None = None

    @property
    def fd(self) -> int:
        """The descriptor to poll for keys."""
        return self._own

    def enter(self) -> None:
        """Have the terminal pass on each key at once, and show none of them.

        Raises:
            termios.error: it is no terminal any more.
        """
        before = termios.tcgetattr(self._own)
        keys = [*before]
        flags = before[_LFLAG]
        assert isinstance(flags, int), "tcgetattr gives numbers here"
        keys[_LFLAG] = flags & ~(termios.ICANON | termios.ECHO)
        controls = before[_CC]
        assert isinstance(controls, list), "tcgetattr gives a list here"
        keys[_CC] = [*controls]
        keys[_CC][termios.VMIN], keys[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self._own, termios.TCSADRAIN, keys)
        self._before = before

    def leave(self) -> None:
        """Have the terminal work as before."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._own, termios.TCSANOW, self._before)
            self._before = None

    def read(self) -> bytes | None:
        """Return what keys have sent, None when the terminal has gone."""
        try:
            return os.read(self._own, _READ_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def size(self) -> tuple[int, int]:
        """Return columns and rows; 0 where the terminal does not say."""
        try:
            size = os.get_terminal_size(self._out_fd)
        except OSError:
            return 0, 0
        return size.columns, size.lines

    def is_foreground(self) -> bool:
        """Return whether this process may use the terminal now."""
        try:
            return os.tcgetpgrp(self._own) == os.getpgrp()
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._own)


def has_terminal() -> bool:
    """Return whether this process has a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
