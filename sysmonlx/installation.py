# SPDX-License-Identifier: MIT
"""Installing, starting, stopping and removing the service, with systemd or without."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sysmonlx import control, service
from sysmonlx.errors import CaptureError, InstallError
from sysmonlx.lock import daemon_pid, exclusive
from sysmonlx.state import Paths, read_file

if TYPE_CHECKING:
    import subprocess

READY_VARIABLE = "SYSMONLX_READY_FD"
#: What a service manager tells a service, which is not meant for one of ours.
_MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS")
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 3.0
_PACKAGE_PARENT = Path(__file__).resolve().parent.parent


def run_again(*words: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start this program once more, with these words and without input."""
    import subprocess  # the daemon hardly ever needs it

    environment = _own_environment()
    for fd in pass_fds:
        environment[READY_VARIABLE] = str(fd)
    command = _own_command(*words)
    return subprocess.Popen(
        command, env=environment, pass_fds=pass_fds, stdin=subprocess.DEVNULL
    )


def _own_command(*words: str) -> list[str]:
    """Return the command that runs this program again, from whatever directory.

    -P keeps the current directory out of the module path: it may be anybody's. -I
    does so too, and ignores the environment, where the package is installed.
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
class Installed:
    """What an installation or update stores, as bytes; None: nothing is there."""

    config: bytes | None
    policy: bytes | None
    command_line: bytes | None

    @classmethod
    def at(cls, paths: Paths) -> Installed:
        """Return what is stored now."""
        return cls(*map(_bytes_of, _stored_files(paths)))

    def to_message(self) -> dict[str, str]:
        """Return what a running daemon is to put in force and to store.

        Bytes stand as the characters of the same numbers.
        """
        parts = (
            ("policy", self.policy, "utf-8"),
            ("config", self.config, "latin-1"),
            ("command_line", self.command_line, "latin-1"),
        )
        return {
            name: data.decode(encoding)
            for name, data, encoding in parts
            if data is not None
        }

    def write(self, paths: Paths) -> None:
        """Store this; what has the same content already is not touched.

        Raises:
            InstallError: a file cannot be written.
        """
        values = (self.config, self.policy, self.command_line)
        for path, data in zip(_stored_files(paths), values, strict=True):
            if data is None:
                path.unlink(missing_ok=True)
            elif data != _bytes_of(path):
                paths.write(path, data)


def _stored_files(paths: Paths) -> tuple[Path, Path, Path]:
    return paths.config_file, paths.policy_file, paths.command_line_file


def _bytes_of(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None


def replace(paths: Paths, new: Installed) -> None:
    """Stop whatever runs and store what is to run next.

    Raises:
        InstallError: a file cannot be written.
    """
    with exclusive(paths.state_dir):
        stop(paths, force=True)
        new.write(paths)


def install(paths: Paths, new: Installed) -> list[str]:
    """Replace whatever runs by a daemon for `new` and wait until that captures.

    When it does not, everything is as before, the instance that ran before included.

    Returns:
        What is missing on this kernel, a line each.

    Raises:
        CaptureError, InstallError: it does not start, and why.
    """
    with exclusive(paths.state_dir):
        before, had_unit = Installed.at(paths), paths.unit_file.exists()
        was_running = stop(paths, force=True)
        try:
            new.write(paths)
            return start(paths)
        except (CaptureError, InstallError) as error:
            before.write(paths)
            if not had_unit:
                service.remove_unit(paths)
            if not was_running:
                raise
            start(paths)
            text = f"{error} (what ran before runs again)"
            raise CaptureError(text) from error


def start(paths: Paths) -> list[str]:
    """Start the installed service and wait until it captures.

    Returns:
        What is missing on this kernel, a line each.

    Raises:
        CaptureError, InstallError: it does not start, and why.
    """
    if service.systemd_is_running(paths):
        service.install_unit(paths, _program())
        return list(control.request(paths.control_socket, {"do": "missing"})["missing"])
    return start_daemon()


def _program() -> str:
    """Return the absolute path of the program, for the unit.

    Raises:
        InstallError: it is not installed under a name.
    """
    name = os.path.abspath(sys.argv[0])
    if os.access(name, os.X_OK) and not name.endswith(".py"):
        return name
    from shutil import which  # brings compression libraries the daemon need not have

    found = which("sysmonlx")
    if found:
        return found
    raise InstallError("sysmonlx is not on PATH: install it first (make install)")


def start_daemon() -> list[str]:
    """Start what is installed as a daemon and wait until it captures.

    Returns:
        What is missing on this kernel, a line each.

    Raises:
        CaptureError: it does not start, and why; it has ended then.
    """
    reader, writer = os.pipe()
    child = run_again("-service", pass_fds=(writer,))
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        answer = _first_line(pipe.fileno())
        message = json.loads(answer or b"{}")
        if "missing" not in message:
            select.select([pipe], [], [], _STOP_TIMEOUT_S)  # its end closes the pipe
    child.wait()
    if "missing" in message:
        return list(message["missing"])
    raise CaptureError(message.get("error", "the daemon ended before it was ready"))


def _first_line(fd: int) -> bytes:
    data = b""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise CaptureError(f"the daemon is not ready after {_START_TIMEOUT_S:g} s")
        part = os.read(fd, 65536)
        if not part:
            break
        data += part
    return data


def tell_ready(missing: list[str]) -> None:
    """Tell who started this daemon that it captures."""
    fd = _tell({"missing": missing})
    if fd is not None:
        os.close(fd)


def tell_failure(reason: str) -> None:
    """Tell who started this daemon why it ends, and by closing the pipe that it has."""
    _tell({"error": reason})


def _tell(message: dict[str, object]) -> int | None:
    """Write to whoever waits; return the pipe, None when nobody does."""
    name = os.environ.pop(READY_VARIABLE, "")
    if not name:
        return None
    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(int(name), json.dumps(message).encode() + b"\n")
    return int(name)


def stop(paths: Paths, *, force: bool = False) -> bool:
    """Stop a running daemon and wait for its end; False when none runs.

    Raises:
        InstallError: it does not end, and `force` is off.
    """
    pid = daemon_pid(paths.pid_file)
    if not pid:
        return False
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if daemon_pid(paths.pid_file) != pid:  # ended, the number is another's
            return False
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if select.select([process], [], [], _STOP_TIMEOUT_S)[0]:
            return True
        if not force:
            raise InstallError(f"The daemon (pid {pid}) does not end: use -u force")
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], _STOP_TIMEOUT_S)
        return True
    finally:
        os.close(process)


def uninstall(paths: Paths, *, force: bool = False) -> list[str]:
    """Stop the service and remove what the installation wrote.

    The counter of event records and the clock of the GUIDs stay: numbers and GUIDs
    are never given twice.

    Returns:
        What was done, a line each.

    Raises:
        InstallError: a part of it failed.
    """
    with exclusive(paths.state_dir):
        done = service.remove_unit(paths)
        if stop(paths, force=force):
            done.append("Ended the daemon")
        left_behind = (paths.programs_file, paths.pid_file, paths.control_socket)
        for path in (*_stored_files(paths), *left_behind):
            done += _removed(path)
    for directory in (paths.config_dir, paths.run_dir):
        done += _removed_directory(directory)
    if paths.record_id_file.exists():
        done.append(f"Kept {paths.state_dir}: the number of the next event record")
    return done


def _removed(path: Path) -> list[str]:
    try:
        path.unlink()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InstallError(f"Cannot remove {path}: {error.strerror}") from error
    return [f"Removed {path}"]


def _removed_directory(path: Path) -> list[str]:
    try:
        path.rmdir()
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return [f"Kept {path}: it holds files of others"]
        raise InstallError(f"Cannot remove {path}: {error.strerror}") from error
    return [f"Removed {path}"]
