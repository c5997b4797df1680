# SPDX-License-Identifier: MIT
"""Installing, starting, stopping and removing the service, with systemd or without."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from sysmonlx import control, service
from sysmonlx.errors import CaptureError, ControlError, InstallError
from sysmonlx.state import Paths

READY_VARIABLE = "SYSMONLX_READY_FD"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_PACKAGE_PARENT = Path(__file__).resolve().parent.parent


def own_command(*words: str) -> list[str]:
    """Return the command that runs this program again, from whatever directory.

    -P keeps the current directory out of the module path: it may be anybody's.
    """
    return [sys.executable, "-P", "-m", "sysmonlx", *words]


def own_environment() -> dict[str, str]:
    """Return an environment in which `own_command` finds this package."""
    return {**os.environ, "PYTHONPATH": os.fspath(_PACKAGE_PARENT)}


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
    return _start_daemon()


def _program() -> str:
    """Return the absolute path of the program, for the unit.

    Raises:
        InstallError: it is not installed under a name.
    """
    name = os.path.abspath(sys.argv[0])
    if os.access(name, os.X_OK) and not name.endswith(".py"):
        return name
    found = shutil.which("sysmonlx")
    if found:
        return found
    raise InstallError("sysmonlx is not on PATH: install it first (make install)")


def _start_daemon() -> list[str]:
    reader, writer = os.pipe()
    environment = {**own_environment(), READY_VARIABLE: str(writer)}
    child = subprocess.Popen(
        own_command("-service"),
        env=environment,
        pass_fds=(writer,),
        stdin=subprocess.DEVNULL,
    )
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        answer = _first_line(pipe.fileno())
    child.wait()
    if not answer:
        raise CaptureError("the daemon ended before it was ready")
    message = json.loads(answer)
    if "error" in message:
        raise CaptureError(message["error"])
    return list(message["missing"])


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
    _tell({"missing": missing})


def tell_failure(reason: str) -> None:
    """Tell who started this daemon why it ends."""
    _tell({"error": reason})


def _tell(message: dict[str, object]) -> None:
    fd = os.environ.pop(READY_VARIABLE, "")
    if fd:
        with contextlib.suppress(OSError):
            os.write(int(fd), json.dumps(message).encode() + b"\n")
            os.close(int(fd))


def stop(paths: Paths, *, force: bool = False) -> bool:
    """Stop a running daemon and wait for its end; False when none runs.

    Raises:
        InstallError: it does not end, and `force` is off.
    """
    try:
        pid = int(control.request(paths.control_socket, {"do": "pid"})["pid"])
        process = os.pidfd_open(pid)
    except (ControlError, OSError):
        return False
    try:
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
    done = service.remove_unit(paths)
    if stop(paths, force=force):
        done.append("Ended the daemon")
    for path in (paths.config_file, paths.policy_file, paths.command_line_file):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            done.append(f"Removed {path}")
    for directory in (paths.config_dir, paths.run_dir):
        if directory.is_dir():
            shutil.rmtree(directory, ignore_errors=True)
            done.append(f"Removed {directory}")
    if paths.record_id_file.exists():
        done.append(f"Kept {paths.state_dir}: the number of the next event record")
    return done
