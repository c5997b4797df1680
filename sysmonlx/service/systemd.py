# SPDX-License-Identifier: MIT
"""The systemd side: the unit that -i installs and -u removes, and sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sysmonlx.errors import InstallError
from sysmonlx.host.file_calls import Worker

UNIT = "sysmonlx.service"
_TEMPLATE = Path(__file__).parents[1] / "data" / UNIT
#: Priorities of syslog(3).
ERR, WARNING = 3, 4
_FAILED = "Failed: "
#: CLD_KILLED and CLD_DUMPED of waitid(2).
_BY_SIGNAL = ("2", "3")
#: Longer than the unit gives a start, or a stop and a start.
_SYSTEMCTL_TIMEOUT_S = 150
#: From here on systemd knows pauses between starts that grow.
_GROWING_PAUSES_SINCE = 254
_GROWING_PAUSES = "RestartSteps=4\nRestartMaxDelaySec=30\n"


class Places(Protocol):
    """The places that installing the unit needs; `service.installed.Paths` is one."""

    @property
    def root(self) -> Path:
        """Directory below which everything is."""

    @property
    def is_live(self) -> bool:
        """Tell whether this is the running machine, not a packager's root."""

    @property
    def unit_file(self) -> Path:
        """Where the unit goes."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Replace a file."""


def systemd_is_running(paths: Places) -> bool:
    """Tell whether systemd manages this machine: sd_booted(3)."""
    return paths.is_live and (paths.root / "run/systemd/system").is_dir()


def unit_text(exec_path: str, systemd_version: int = 0) -> str:
    """Return the unit for a program at the absolute path `exec_path`.

    `systemd_version` is 0 where that is not known: then it suits every version.

    Raises:
        InstallError: systemd could not start a program with this name.
    """
    if not exec_path.startswith("/") or not exec_path.isprintable():
        raise InstallError(f"Cannot run {exec_path!r} as a service")
    # systemd.service(5), "Command lines": quotes, backslash, % and $ mean something.
    quoted = exec_path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    pauses = _GROWING_PAUSES if systemd_version >= _GROWING_PAUSES_SINCE else ""
    text = _TEMPLATE.read_text("utf-8").replace("@PAUSES@\n", pauses)
    return text.replace("@EXEC@", f'"{quoted}"')


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit as it is: its text (None: there is none), enabled, started."""

    text: bytes | None = None
    is_enabled: bool = False
    is_started: bool = False


def unit_now(paths: Places) -> Unit:
    """Return the text and the state of the unit as they are now.

    A unit that waits for systemd to start it again counts as started. Where systemd
    does not run, no unit counts as enabled or started.
    """
    try:
        text = paths.unit_file.read_bytes()
    except OSError:
        return Unit()
    if not systemd_is_running(paths):
        return Unit(text)
    enabled = _systemctl("is-enabled", UNIT, must_work=False).strip() == "enabled"
    return Unit(text, enabled, _property("ActiveState") not in ("inactive", "failed"))


def install_unit(paths: Places, exec_path: str) -> list[str]:
    """Write the unit and, where systemd runs, enable and (re)start the service.

    Returns when the service is ready: capture is on. Where there is no directory for
    units nothing is done.

    Returns:
        What was done, a line each.

    Raises:
        InstallError: with the reason that systemd or the service gave.
    """
    if not paths.unit_file.parent.is_dir():
        return []
    is_running = systemd_is_running(paths)
    text = unit_text(exec_path, _version() if is_running else 0)
    paths.write(paths.unit_file, text.encode(), 0o644)
    done = [f"Wrote {paths.unit_file}"]
    if not is_running:
        return done
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    done.append(f"Enabled {UNIT}")
    start_unit(gives_up=True)
    done.append(f"Started {UNIT}")
    return done


def start_unit(*, gives_up: bool) -> None:
    """Start the service anew, however often it was started or failed before.

    Raises:
        InstallError: with the reason that systemd or the service gave. Unless it
            `gives_up` systemd goes on to start it.
    """
    _systemctl("reset-failed", UNIT, must_work=False)
    try:
        _systemctl("restart", UNIT)
    except InstallError as error:
        reason = _why_it_failed()
        if gives_up:
            stop_unit()
        raise InstallError(f"{error}{reason}") from error


def stop_unit() -> None:
    """Stop the service, or what systemd does to start it again."""
    _systemctl("stop", UNIT, must_work=False)


def restore_unit(paths: Places, before: Unit) -> None:
    """Have the unit as it was, stopped.

    Raises:
        InstallError: a part of it failed.
    """
    if before.text is None:
        remove_unit(paths)
        return
    paths.write(paths.unit_file, before.text, 0o644)
    if systemd_is_running(paths):
        stop_unit()
        _systemctl("daemon-reload")
        _systemctl("enable" if before.is_enabled else "disable", UNIT)


def main_pid() -> int:
    """Return the main process of the service, 0 when it does not run."""
    pid = _property("MainPID")
    return int(pid) if pid.isdecimal() else 0


def state_text(paths: Places) -> str:
    """Return why the service does not answer, as systemd sees it; "" when it may."""
    if not systemd_is_running(paths) or _property("LoadState") != "loaded":
        return ""
    state, reason = _property("ActiveState"), _why_it_failed()
    if state == "failed":
        return f"The service has failed{reason}: -i starts it again"
    if state == "inactive":
        return f"The service is stopped: systemctl start {UNIT}"
    if state == "activating":
        return f"The service is being started{reason}"
    return ""


def remove_unit(paths: Places) -> list[str]:
    """Stop and disable the service and remove the unit that `install_unit` wrote.

    Drop-ins are the administrator's and stay.

    Returns:
        What was done, a line each; empty when there was nothing to do.

    Raises:
        InstallError: a part of it failed.
    """
    done = []
    is_running = systemd_is_running(paths)
    if is_running and _property("LoadState") == "loaded":
        _systemctl("stop", UNIT)
        _systemctl("disable", UNIT)
        done += [f"Stopped {UNIT}", f"Disabled {UNIT}"]
    try:
        paths.unit_file.unlink()
    except FileNotFoundError:
        return done
    except OSError as error:
        raise InstallError(
            f"Cannot remove {paths.unit_file}: {error.strerror}"
        ) from error
    done.append(f"Removed {paths.unit_file}")
    if is_running:
        _systemctl("daemon-reload")
        _systemctl("reset-failed", UNIT, must_work=False)
    return done


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send sd_notify(3) assignments, lines such as "READY=1"; False where nobody asked.

    Never blocks and never fails: a manager that does not listen is no reason to stop.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    try:
        with socket.socket(socket.AF_UNIX, flags) as sender:
            sender.sendto(state.encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


def watchdog_interval_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to send "WATCHDOG=1", None where it is not wanted.

    Half of what the manager allows, as sd_watchdog_enabled(3) advises.
    """
    allowed_us = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not allowed_us.isdecimal() or int(allowed_us) == 0 or pid != str(os.getpid()):
        return None
    return int(allowed_us) / 2e6


class Reports:
    """Tells the service manager that the main loop runs, and the status in words."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._interval_s = watchdog_interval_s(environment)
        self._next_beat_s = 0.0
        self._status = ""

    def beat(self) -> None:
        """Send "WATCHDOG=1" when it is due; called by the main loop alone."""
        now = time.monotonic()
        if self._interval_s is not None and now >= self._next_beat_s:
            self._next_beat_s = now + self._interval_s
            notify("WATCHDOG=1", self._environment)

    def status(self, text: str) -> None:
        """Have `systemctl status` show a text, one line."""
        if text != self._status:
            self._status = text
            notify(f"STATUS={' '.join(text.split())}", self._environment)


def _systemctl(*words: str, must_work: bool = True) -> str:
    import subprocess  # 10 ms and more, which a start of the daemon does not need

    # A session of its own: Ctrl-C is for this process, which undoes its work.
    command = ("systemctl", *words)
    environment = dict(os.environ, LC_ALL="C", SYSTEMD_PAGER="")
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SYSTEMCTL_TIMEOUT_S,
            env=environment,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{' '.join(command)}: {error}") from error
    if result.returncode != 0 and must_work:
        said = " ".join(result.stderr.split()) or f"status {result.returncode}"
        raise InstallError(f"{' '.join(command)}: {said}")
    return result.stdout


def _version() -> int:
    """Return the version of systemd, 0 when it does not tell."""
    with contextlib.suppress(InstallError):
        found = re.match(r"systemd (\d+)", _systemctl("--version", must_work=False))
        return int(found[1]) if found else 0
    return 0


def _property(name: str) -> str:
    words = ("show", f"--property={name}", "--value", UNIT)
    return _systemctl(*words, must_work=False).strip()


def print_error(text: str, priority: int = ERR) -> None:
    """Print a text that the journal takes with a priority, see sd-daemon(3)."""
    print(_for_journal(text, priority), file=sys.stderr, flush=True)


def print_error_aside(text: str) -> None:
    """Have a thread print a text as `print_error` does: who reads it may be late."""
    line = f"{_for_journal(text, ERR)}\n".encode(errors="backslashreplace")
    with contextlib.suppress(OSError):  # there is no thread: it is told elsewhere too
        worker = Worker()
        worker.begin(partial(os.write, 2, line))
        worker.end()


def _for_journal(text: str, priority: int) -> str:
    return f"<{priority}>{text}" if "JOURNAL_STREAM" in os.environ else text


def failed_status(reason: str) -> str:
    """Return the STATUS= of a service that ends because of `reason`."""
    return _FAILED + reason


def _why_it_failed() -> str:
    """Return what the service told with STATUS= before it ended, else how it ended."""
    told = _property("StatusText")
    if told.startswith(_FAILED):
        return f" ({told.removeprefix(_FAILED)})"
    status = _property("ExecMainStatus")
    if status in ("", "0"):
        return ""
    if _property("ExecMainCode") in _BY_SIGNAL:
        return f" (ended by signal {status})"
    return f" (exit status {status}: see systemd.exec(5))"
