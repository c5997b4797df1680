# SPDX-License-Identifier: MIT
"""Keeps the daemon running where no service manager does, in a container for example.

The keeper is a small process that forks the daemon. As systemd would, it starts the
daemon again when that ends by an error or a signal, and kills a daemon that hangs. The
daemon speaks to it with sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from sysmonlx.errors import InstallError, SysmonlxError
from sysmonlx.host import inherited
from sysmonlx.host.lock import PidFile, daemon_pid
from sysmonlx.host.root_files import make_way
from sysmonlx.service.exit_status import CAPTURE_ERROR
from sysmonlx.service.installed import Paths

#: The descriptor over which the starter is told that events are captured, or why not.
READY_VARIABLE = "SYSMONLX_READY_FD"
#: How the daemon before this one ended, in words; this daemon reports it by event 255.
ENDED_VARIABLE = "SYSMONLX_ENDED"
#: Pauses between an end and the next start, in seconds; the last one repeats.
PAUSES_S = (2.0, 4.0, 8.0, 15.0, 30.0)
#: After a daemon that ran for this many seconds the pauses begin with the first again.
_LONG_S = 60.0
#: Longest silence of a daemon before it is killed, and longest start, in seconds.
WATCHDOG_S, START_S = 30.0, 90.0
#: As OOMScoreAdjust= in the unit, see there.
_OOM_SCORE_ADJUST = "-500"
_TAKE_OVER_S = 1.0
#: Pause between two looks at a daemon that is to end, in seconds, and the time that its
#: other threads have to end after the first one. Those that take longer hang in the
#: kernel and are left behind.
_LOOK_S, _GRACE_S = 0.05, 0.3
#: Descriptors of standard input, output and error.
_STANDARD = (0, 1, 2)
#: Field 52 of /proc/PID/stat, counted from the third on.
_EXIT_CODE = 49
_NAME = "sysmonlx-keeper"
#: The process that captures is found under this name.
DAEMON_NAME = "sysmonlx"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def is_wanted() -> bool:
    """Tell whether somebody started this process and waits until events are captured.

    A daemon under a service manager needs no keeper.
    """
    return READY_VARIABLE in os.environ and "NOTIFY_SOCKET" not in os.environ


def leader_is_dead(pid: int) -> bool:
    """Tell whether the first thread of a process has ended, proc_pid_stat(5)."""
    return _stat_of(pid)[:1] == [b"Z"]


def _status_of_dead(pid: int) -> int:
    """Return the wait status of a process whose first thread has ended."""
    with contextlib.suppress(IndexError, ValueError):
        return int(_stat_of(pid)[_EXIT_CODE])
    return 0


def _stat_of(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state on, none without a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()
    except OSError:
        return []


class KeeperWatch:
    """Tells the daemon whether its keeper still lives.

    A daemon under a service manager, or on a terminal, has no keeper.
    """

    def __init__(
        self, paths: Paths, environment: Mapping[str, str] = os.environ
    ) -> None:
        is_kept = environment.get("NOTIFY_SOCKET") == os.fspath(paths.notify_socket)
        self._is_kept = is_kept
        self._pid = daemon_pid(paths.keeper_file) if is_kept else 0

    def trouble(self) -> str:
        """Return what is wrong, in words; empty when nothing is."""
        if not self._is_kept or self._pid == os.getppid():
            return ""
        return "sysmonlx-keeper has ended: nobody starts the service again; -i does"


def keep(paths: Paths, run: Callable[[], int]) -> int:
    """Leave the terminal and run the daemon, again and again, until it ends in order.

    When the first start fails the starter is told, and there is no second one.

    Args:
        paths: Where the daemon keeps its files.
        run: Runs the daemon; it returns the exit status.

    Returns:
        0 after an orderly end, 12 when the first start failed.
    """
    import daemon  # type: ignore[import-untyped]  # python-daemon has no types

    ready = int(os.environ[READY_VARIABLE])
    inherited.have_processors_as_others()
    with daemon.DaemonContext(umask=0o077, files_preserve=[ready], detach_process=True):
        for fd in _STANDARD:  # python-daemon leaves them to be closed by exec
            os.set_inheritable(fd, True)
        try:
            paths.create_private()
            with _only_keeper(paths), _Keeper(paths, run, ready) as keeper:
                return keeper.work()
        except (SysmonlxError, OSError) as error:
            _write(ready, {"error": str(error)})
            return CAPTURE_ERROR


@contextlib.contextmanager
def _only_keeper(paths: Paths) -> Iterator[None]:
    """Be the only keeper; one that is ending has a moment to do so.

    Raises:
        InstallError: a daemon runs already, or another keeper starts one.
    """
    deadline = time.monotonic() + _TAKE_OVER_S
    while True:
        pid = daemon_pid(paths.pid_file)
        if pid:
            raise InstallError(f"sysmonlx runs already: process {pid}")
        try:
            lock = PidFile(paths.keeper_file)
            break
        except InstallError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.close()


class _Keeper:
    """Runs one daemon at a time and hears what it says with sd_notify(3)."""

    def __init__(self, paths: Paths, run: Callable[[], int], ready: int) -> None:
        self._paths = paths
        self._run = run
        self._ready = ready
        self._child = 0
        self._ready_at: float | None = None
        self._beat_at = 0.0
        self._has_been_ready = False
        self._stopping = False
        self._hang_up = False
        self._ended = ""
        self._notes = _listener(paths)
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for each in _SIGNALS:
            signal.signal(each, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes
        be_called(_NAME)
        with (
            contextlib.suppress(OSError),
            open("/proc/self/oom_score_adj", "w") as file,
        ):
            file.write(_OOM_SCORE_ADJUST)

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self._notes.close()
        with contextlib.suppress(OSError):
            self._paths.notify_socket.unlink()

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self._hang_up = True
            return
        self._stopping = True
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        if self._child:
            with contextlib.suppress(OSError):
                os.kill(self._child, number)

    def work(self) -> int:
        """Run daemons until one ends in order; return the exit status."""
        short_runs = 0
        while not self._stopping and not daemon_pid(self._paths.pid_file):
            status, ran_s = self._run_once()
            if status == 0 or self._stopping:
                break
            if not self._has_been_ready:
                reason = f"the daemon {self._ended} before it was ready"
                self._tell({"error": reason})
                return CAPTURE_ERROR
            short_runs = 0 if ran_s > _LONG_S else short_runs + 1
            self._pause(PAUSES_S[min(max(short_runs - 1, 0), len(PAUSES_S) - 1)])
        return 0

    def _run_once(self) -> tuple[int, float]:
        """Start the daemon and wait for its end: its status, and seconds of capture."""
        self._ready_at, self._beat_at = None, time.monotonic()
        try:
            self._start()
        except OSError as error:
            self._ended = f"could not be started ({error.strerror})"
            return 1, 0.0
        status = self._wait_for_end()
        self._child = 0
        kind = f"by signal {-status}" if status < 0 else f"with status {status}"
        self._ended = f"ended {kind}"
        since = self._ready_at
        return status, 0.0 if since is None else time.monotonic() - since

    def _wait_for_end(self) -> int:
        """Hear the daemon until it ends; return its status, or minus its signal."""
        dead_since: float | None = None
        while True:
            left_s = self._beat_at + self._limit_s() - time.monotonic()
            looks_often = self._stopping or dead_since is not None
            self._look(max(0.0, min(left_s, _LOOK_S) if looks_often else left_s))
            if self._hangs():
                self._send(signal.SIGKILL)
            ended, raw = os.waitpid(self._child, os.WNOHANG)
            if ended:
                self._hear()  # it may have been ready between the look and its end
                return os.waitstatus_to_exitcode(raw)
            if not leader_is_dead(self._child):
                continue
            dead_since = dead_since or time.monotonic()
            if time.monotonic() - dead_since > _GRACE_S:
                self._hear()
                return os.waitstatus_to_exitcode(_status_of_dead(self._child))

    def _start(self) -> None:
        with contextlib.suppress(ChildProcessError):  # whose threads hung for long
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        pid = os.fork()
        if pid == 0:
            self._be_the_daemon()
        self._child = pid
        if self._stopping:  # the signal came before there was anybody to send it to
            self._send(signal.SIGTERM)

    def _be_the_daemon(self) -> None:
        """Become the daemon; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for each in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            os.close(self._wake)
            os.close(self._wake_write)
            self._notes.close()
            be_called(DAEMON_NAME)
            os.environ["NOTIFY_SOCKET"] = os.fspath(self._paths.notify_socket)
            os.environ["WATCHDOG_USEC"] = str(round(WATCHDOG_S * 1e6))
            os.environ["WATCHDOG_PID"] = str(os.getpid())
            if self._has_been_ready:
                os.environ.pop(READY_VARIABLE, None)
                os.environ[ENDED_VARIABLE] = self._ended
            status = self._run()
        finally:
            os._exit(status)

    def _limit_s(self) -> float:
        """Return how long the daemon may say nothing."""
        return START_S if self._ready_at is None else WATCHDOG_S

    def _hangs(self) -> bool:
        """Tell whether the daemon has said nothing for too long.

        If the keeper asks late itself, it was kept from running, and so perhaps was the
        daemon: it waits once more.
        """
        late_s = time.monotonic() - self._beat_at - self._limit_s()
        if late_s < 0:
            return False
        self._beat_at = time.monotonic()
        return late_s < self._limit_s() / 2

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < deadline:
            self._look(deadline - time.monotonic())

    def _look(self, timeout_s: float) -> None:
        """Wait for a signal, a child's end among them, or a word of the daemon."""
        with contextlib.suppress(BlockingIOError):
            select.select([self._notes.fileno(), self._wake], [], [], timeout_s)
            os.read(self._wake, 4096)
        self._hear()
        if self._hang_up and self._ready_at is not None:  # before, it would end by it
            self._hang_up = False
            self._send(signal.SIGHUP)

    def _hear(self) -> None:
        """Take what the daemon says: that it captures, and that it lives."""
        with contextlib.suppress(BlockingIOError):
            while True:
                words = self._notes.recv(65536).split(b"\n")
                now = time.monotonic()
                if b"READY=1" in words and self._ready_at is None:
                    self._ready_at, self._beat_at = now, now
                    self._has_been_ready = True
                    self._close_ready()
                elif b"WATCHDOG=1" in words:
                    self._beat_at = now

    def _tell(self, message: dict[str, str]) -> None:
        if self._ready >= 0:
            _write(self._ready, message)

    def _close_ready(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1


def _listener(paths: Paths) -> socket.socket:
    """Return the socket of sd_notify(3), in a directory of root's."""
    make_way(paths.notify_socket)
    flags = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    listener = socket.socket(socket.AF_UNIX, flags)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(paths.notify_socket))
    finally:
        os.umask(before)
    return listener


def be_called(name: str) -> None:
    """Have this process found under a name by ps(1) and pgrep(1)."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)


def _write(fd: int, message: dict[str, str]) -> None:
    import json  # a keeper that stays says nothing

    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(fd, json.dumps(message).encode() + b"\n")
