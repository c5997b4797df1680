# SPDX-License-Identifier: MIT
"""A program on a terminal of its own: its keys, its screen, its job control."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from support.running import DEADLINE_S
from support.screens import ScreenModel


class Terminal:
    """A pseudo-terminal; `model` is what a person would see on it."""

    def __init__(self, width: int, height: int) -> None:
        self.model = ScreenModel(width, height)
        self.master, self.slave = os.openpty()
        self.size(width, height)
        self.before = termios.tcgetattr(self.slave)
        self.reads = True
        self._ends = False
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def size(self, width: int, height: int) -> None:
        """Have another size; the program is told by the kernel."""
        packed = struct.pack("HHHH", height, width, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, packed)

    def resize(self, width: int, height: int) -> None:
        """Have another size, on the screen too."""
        with self._lock:
            self.model.resize(width, height)
            self.size(width, height)

    def _read(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # is raised where somebody looks
            self._error = error

    def _read_all(self) -> None:
        while not self._ends:
            if not self.reads:
                time.sleep(0.01)
                continue
            if select.select([self.master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError), self._lock:
                    self.model.write(self._whole(os.read(self.master, 1 << 16)))

    _rest = b""

    def _whole(self, data: bytes) -> bytes:
        """Return what is no beginning of a sequence or character; keep the rest."""
        data = self._rest + data
        for back in range(1, min(24, len(data)) + 1):
            part = data[-back:]
            if part[:1] == b"\x1b":
                is_open = len(part) < 3 or not part[-1:].isalpha()
            else:
                is_open = part[0] >= 0xC0 and back < _length(part[0])
            if is_open:
                self._rest = part
                return data[:-back]
            if part[0] < 0x80 and part[:1] == b"\n":
                break
        self._rest = b""
        return data

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def shows(self, done: Callable[[list[str]], bool], what: str = "") -> list[str]:
        """Wait until the lines of the screen are as wanted; return them."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with self._lock:
                lines = self.model.lines()
            if self._error is not None:
                raise self._error
            if done(lines):
                return lines
            text = "\n".join(lines)
            assert time.monotonic() < deadline, f"in vain: {what}\n{text}"
            time.sleep(0.02)

    def has(self, text: str) -> list[str]:
        """Wait until a text stands on the screen; return the lines."""
        return self.shows(lambda lines: any(text in each for each in lines), text)

    def is_as_before(self) -> bool:
        """Whether keys and echo work as before any program ran."""
        now, before = termios.tcgetattr(self.slave), [*self.before]
        return now == before

    def close(self) -> None:
        """Take the terminal away."""
        self._ends = True
        self._thread.join()
        os.close(self.master)
        os.close(self.slave)

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], env: dict[str, str], *, fds: Sequence[int] = ()
    ) -> Iterator[int]:
        """Run a program as the session of this terminal; yield its pid."""
        pid = os.fork()
        if pid == 0:
            self._become(command, env, fds)
        try:
            yield pid
        finally:
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _become(
        self, command: Sequence[str], env: dict[str, str], fds: Sequence[int]
    ) -> None:
        try:
            os.setsid()
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) has it ignored
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(self.slave, fd)
            for fd in fds:
                os.set_inheritable(fd, True)
            os.execve(command[0], [*command], env)
        finally:
            os._exit(127)


def _length(first: int) -> int:
    """Return the bytes of a character of UTF-8 by its first one."""
    return 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2


def ended(pid: int) -> int:
    """Wait for a process; return its status as a shell does."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    raise AssertionError("it does not end")
