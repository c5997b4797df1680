# SPDX-License-Identifier: MIT
"""The systemd side: the unit that -i installs and -u removes, and sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from sysmonlx.errors import InstallError

UNIT = "sysmonlx.service"
_TEMPLATE = Path(__file__).with_name("data") / UNIT
_SYSTEMCTL_TIMEOUT_S = 90


class Places(Protocol):
    """What the unit's installation needs to know; `state.Paths` is one."""

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


def unit_text(exec_path: str) -> str:
    """Return the unit for a program at the absolute path `exec_path`.

    Raises:
        InstallError: systemd could not start a program with this name.
    """
    if not exec_path.startswith("/") or not exec_path.isprintable():
        raise InstallError(f"Cannot run {exec_path!r} as a service")
    # systemd.service(5), "Command lines": quotes, backslash, % and $ mean something.
    quoted = exec_path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return _TEMPLATE.read_text("utf-8").replace("@EXEC@", f'"{quoted}"')


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
    paths.write(paths.unit_file, unit_text(exec_path).encode(), 0o644)
    done = [f"Wrote {paths.unit_file}"]
    if not systemd_is_running(paths):
        return done
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    done.append(f"Enabled {UNIT}")
    try:
        _systemctl("restart", UNIT)
    except InstallError as error:
        reason = _why_it_failed()
        _systemctl("stop", UNIT, must_work=False)
        raise InstallError(f"{error}{reason}") from error
    done.append(f"Started {UNIT}")
    return done


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


def notify_reloading(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the manager that a reload began; "READY=1" ends it."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}", environment)


def watchdog_interval_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to send "WATCHDOG=1", None where it is not wanted.

    Half of what the manager allows, as sd_watchdog_enabled(3) advises.
    """
    allowed_us = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not allowed_us.isdecimal() or int(allowed_us) == 0 or pid != str(os.getpid()):
        return None
    return int(allowed_us) / 2e6


def _systemctl(*words: str, must_work: bool = True) -> str:
    import subprocess  # 10 ms and more, which a start of the daemon does not need

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
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{' '.join(command)}: {error}") from error
    if result.returncode != 0 and must_work:
        said = " ".join(result.stderr.split()) or f"status {result.returncode}"
        raise InstallError(f"{' '.join(command)}: {said}")
    return result.stdout


def _property(name: str) -> str:
    words = ("show", f"--property={name}", "--value", UNIT)
    return _systemctl(*words, must_work=False).strip()


def _why_it_failed() -> str:
    """Return what the service told with STATUS= before it ended, else how it ended."""
    reason = _property("StatusText")
    if not reason:
        status = _property("ExecMainStatus")
        if status in ("", "0"):
            return ""
        reason = f"exit status {status}: see systemd.exec(5)"
    return f" ({reason})"
