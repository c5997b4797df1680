# SPDX-License-Identifier: MIT
"""Starts this program as another process, waits for it, and stops it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from sysmonlx.errors import CaptureError, InstallError
from sysmonlx.host.lock import daemon_pid
from sysmonlx.service.installed import Paths
from sysmonlx.service.keeper import READY_VARIABLE, leader_is_dead
from sysmonlx.service.messages import Failure, ReportAnswer

if TYPE_CHECKING:
    import subprocess

#: Variables of a service manager for its service; our children must not obey them.
_MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS")
_START_TIMEOUT_S = 60.0
#: Longest time that a daemon which is to be abandoned may take to appear, in seconds.
_ABANDON_S = 10.0
_STOP_TIMEOUT_S = 3.0
#: Pause between two looks at a process that is to end, in seconds, and the time that
#: its other threads have to end after the first one.
_LOOK_S, _GRACE_S = 0.05, 0.3
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def run_again(*words: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start this program once more, with these words and without input."""
    import subprocess  # the daemon hardly ever needs it

    environment = _own_environment()
    for fd in pass_fds:
        environment[READY_VARIABLE] = str(fd)
    command = _own_command(*words)
    return subprocess.Popen(
        command,
        env=environment,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which undoes its work
    )


def _own_command(*words: str) -> list[str]:
    """Return the command that runs this program again, from any directory.

    The current directory may belong to anybody. -P keeps it out of the module path; -I
    does that too and also ignores the environment, for a package that is installed.
    """
    isolation = "-I" if _is_installed() else "-P"
    return [sys.executable, isolation, "-m", "sysmonlx", *words]


def _own_environment() -> dict[str, str]:
    """Return an environment in which `_own_command` finds this package."""
    environment = dict(os.environ)
    for name in (*_MANAGER_VARIABLES, READY_VARIABLE):
        environment.pop(name, None)
    if not _is_installed():
        environment["PYTHONPATH"] = os.fspath(_PACKAGE_PARENT)
    return environment


def _is_installed() -> bool:
    import site

    return os.fspath(_PACKAGE_PARENT) in map(os.path.realpath, site.getsitepackages())


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of a daemon that captures, see `ReportAnswer`; one line a text."""

    missing: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    refused: str = ""

    @classmethod
    def of(cls, message: Mapping[str, object]) -> Report:
        """Return the report in an answer of the daemon, which may be of another form.

        A member of another type than expected counts as absent.
        """
        refused = str(message.get("refused", ""))
        return cls(_texts(message, "missing"), _texts(message, "trouble"), refused)


def _texts(message: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = message.get(name)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def start_daemon(paths: Paths) -> Report:
    """Start what is installed as a daemon, with a keeper, and wait until it captures.

    Raises:
        CaptureError: it does not start, and why; it has ended then.
    """
    reader, writer = os.pipe()
    try:
        child = run_again("-service", pass_fds=(writer,))
    except OSError as error:
        os.close(reader)
        raise CaptureError(f"no process can be started: {error.strerror}") from error
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        try:
            message = _answer(pipe.fileno())
        except BaseException:
            with uninterrupted():
                _abandon(paths, pipe.fileno())
            raise
        finally:
            child.wait()
        if "missing" not in message:
            select.select([pipe], [], [], _STOP_TIMEOUT_S)  # its end closes the pipe
    if "missing" in message:
        return Report.of(message)
    reason = message.get("error", "the daemon ended before it was ready")
    raise CaptureError(str(reason))


def _abandon(paths: Paths, fd: int) -> None:
    """End a daemon that is starting, so that none is left behind."""
    deadline = time.monotonic() + _ABANDON_S
    while time.monotonic() < deadline:
        if stop(paths, force=True):
            return
        if select.select([fd], [], [], 0.05)[0] and not os.read(fd, 65536):
            return  # all that had the other end are gone


def _answer(fd: int) -> Mapping[str, object]:
    """Return the first line that a starting daemon writes; nothing when it ends."""
    data = b""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while b"\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise CaptureError(f"the daemon is not ready after {_START_TIMEOUT_S:g} s")
        part = os.read(fd, 65536)
        if not part:
            break
        data += part
    line = data.partition(b"\n")[0]
    return dict(json.loads(line or b"{}"))


def tell_ready(report: ReportAnswer) -> None:
    """Tell the starter of this daemon that it captures."""
    fd = _tell(report)
    if fd is not None:
        os.close(fd)


def tell_failure(reason: str) -> None:
    """Tell the starter why this daemon ends; its end closes the pipe."""
    _tell(Failure(error=reason))


def _tell(message: Mapping[str, object]) -> int | None:
    """Write to the starter; return the pipe to it, None when nobody waits."""
    name = os.environ.pop(READY_VARIABLE, "")
    if not name:
        return None
    with contextlib.suppress(OSError):  # the starter has ended
        os.write(int(name), json.dumps(message).encode() + b"\n")
    return int(name)


def runs(paths: Paths) -> bool:
    """Tell whether a daemon runs, or a keeper that starts one again."""
    return bool(daemon_pid(paths.pid_file) or daemon_pid(paths.keeper_file))


def stop(paths: Paths, *, force: bool = False) -> bool:
    """Stop a running daemon and its keeper, and wait for their end.

    Returns:
        False when none runs.

    Raises:
        InstallError: it does not end, and `force` is off.
    """
    with contextlib.ExitStack() as stack:
        found: list[tuple[int, int]] = []  # the keeper first: it starts no other then
        for file in (paths.keeper_file, paths.pid_file):
            pid, fd = _opened(file)
            if pid:
                stack.callback(os.close, fd)
                found.append((pid, fd))
        fds = {fd: pid for pid, fd in found}
        for fd in fds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGTERM)
        if not _all_end(fds):
            pid = found[-1][0]
            if not force:
                raise InstallError(f"The daemon (pid {pid}) does not end: use -u force")
            _kill(paths, fds)
        return bool(found)


def _opened(pid_file: Path) -> tuple[int, int]:
    """Return the process that holds a pid file and a descriptor of it, or (0, -1)."""
    pid = daemon_pid(pid_file)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            if daemon_pid(pid_file) == pid:  # else it ended, the number is another's
                return pid, fd
            os.close(fd)
    return 0, -1


def _all_end(processes: dict[int, int]) -> bool:
    """Wait for the end of processes, descriptor to pid, for as long as a stop may take.

    A process counts as ended, too, when only threads that hang in the kernel are left
    of it: it holds no lock any more, although its descriptor never becomes readable.
    """
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    left, dead_since = dict(processes), dict[int, float]()
    while left:
        ended = select.select([*left], [], [], _LOOK_S)[0]
        now = time.monotonic()
        for fd, pid in [*left.items()]:
            is_dead = fd in ended or (
                leader_is_dead(pid) and now - dead_since.setdefault(fd, now) > _GRACE_S
            )
            if is_dead:
                del left[fd]
        if left and now > deadline:
            return False
    return True


def _kill(paths: Paths, processes: dict[int, int]) -> None:
    """Kill processes; with a keeper all of its group: one may be starting just now."""
    keeper = daemon_pid(paths.keeper_file)
    with contextlib.suppress(ProcessLookupError):
        if keeper:
            os.killpg(os.getpgid(keeper), signal.SIGKILL)
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(each, signal.SIGKILL)
    _all_end(processes)


def interrupt(number: int, _: FrameType | None) -> NoReturn:
    """Interrupt a command as Ctrl-C does; a handler for `signals_call`."""
    raise KeyboardInterrupt


def uninterrupted() -> contextlib.AbstractContextManager[None]:
    """Ignore the signals that would end a command half way."""
    return signals_call(lambda *_: None)


@contextlib.contextmanager
def signals_call(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have `handler` called for SIGINT, SIGTERM and SIGHUP."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(each, signal.signal(each, handler)) for each in numbers]
    try:
        yield
    finally:
        for number, former in before:
            signal.signal(number, former)
