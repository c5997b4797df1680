# SPDX-License-Identifier: MIT
"""Installing, starting, stopping and removing the service, with systemd or without."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from sysmonlx.errors import CaptureError, InstallError, SysmonlxError
from sysmonlx.host.lock import daemon_pid, exclusive
from sysmonlx.host.private_files import read_file, remove_unfinished
from sysmonlx.service import control, edits, systemd
from sysmonlx.service.configuration import stored_form
from sysmonlx.service.installed import Paths
from sysmonlx.service.messages import START_FAILED, Question, Update
from sysmonlx.service.metrics import remove
from sysmonlx.service.spawn import (
    Report,
    interrupt,
    runs,
    signals_call,
    start_daemon,
    stop,
    uninterrupted,
)

#: Longest wait for the removal of a file whose file system may hang, in seconds.
_REMOVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Installed:
    """The three files that an installation or an update stores; None: no such file."""

    config: bytes | None
    policy: bytes | None
    command_line: bytes | None

    @classmethod
    def at(cls, paths: Paths) -> Installed:
        """Return what is stored now."""
        return cls(*map(_bytes_of, _stored_files(paths)))

    def to_message(self) -> Update:
        """Return what a running daemon is to put in force and to store."""
        message = Update(do="reload", policy=(self.policy or b"").decode())
        if self.config is not None:
            message["config"] = self.config.decode("latin-1")
        if self.command_line is not None:
            message["command_line"] = self.command_line.decode("latin-1")
        return message

    def write(self, paths: Paths) -> None:
        """Store this; files that have the same content already are not touched.

        Raises:
            InstallError: a file cannot be written.
        """
        values = (self.config, self.policy, self.command_line)
        for path, data in zip(_stored_files(paths), values, strict=True):
            if data is None:
                _unlink_file(path)
            elif data != _bytes_of(path):
                paths.write(path, data)


def _unlink_file(path: Path) -> None:
    """Remove a file if it is there. A directory of this name is not ours, and stays."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def _stored_files(paths: Paths) -> tuple[Path, ...]:
    return paths.config_file, paths.policy_file, paths.command_line_file


def _bytes_of(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class _Before:
    """All that an installation changes, to put it back."""

    stored: Installed
    unit: systemd.Unit
    was_running: bool

    def put_back(self, paths: Paths) -> str:
        """Have everything as it was; return what that is, in words.

        Each step is done, whatever comes of those before.
        """
        steps = [_make_way, self.stored.write, self._restore_unit]
        if self.was_running:
            steps.append(self._start_again)
        errors = []
        for step in steps:
            try:
                step(paths)
            except (SysmonlxError, OSError) as error:
                errors.append(str(error))
        if errors:
            state = systemd.state_text(paths) or _state(paths)
            errors.append(state)
            return f"what was before cannot be had again: {'; '.join(errors)}"
        if self.was_running:
            return "what ran before runs again"
        return "everything is as it was before"

    def _restore_unit(self, paths: Paths) -> None:
        systemd.restore_unit(paths, self.unit)

    def _start_again(self, paths: Paths) -> None:
        if self.unit.is_started:
            systemd.start_unit(gives_up=False)
        else:
            start_daemon(paths)


def _state(paths: Paths) -> str:
    return "sysmonlx runs" if runs(paths) else "sysmonlx does not run"


def replace(paths: Paths, new: Installed) -> None:
    """Stop whatever runs and store what is to run next.

    Raises:
        InstallError: a file cannot be written.
    """
    with exclusive(paths.state_dir):
        paths.create_private()  # again: the owner of the lock may have removed them
        _stop_all(paths)
        new.write(paths)


def install(paths: Paths, new: Installed, *, may_be_refused: bool = False) -> Report:
    """Replace whatever runs by a daemon for `new` and wait until that captures.

    `may_be_refused` lets it run with the policy of before, where it refuses the
    configuration file; a policy that cannot be started is an error all the same.

    When it does not, or is interrupted, everything is as before, the instance that ran
    before included; where that cannot be had the error says what is left.

    Raises:
        CaptureError, InstallError: it does not start, and why.
        KeyboardInterrupt: by SIGINT, SIGTERM or SIGHUP; its text says what is left.
    """
    with exclusive(paths.state_dir), signals_call(interrupt):
        stored, unit = Installed.at(paths), systemd.unit_now(paths)
        was_running = unit.is_started or runs(paths)
        before = _Before(stored, unit, was_running)
        try:
            paths.create_private()  # again: the owner of the lock may have removed them
            _make_way(paths)
            new.write(paths)
            report = start(paths)
            is_file = not report.refused.startswith(START_FAILED)
            if report.refused and not (may_be_refused and is_file):
                raise CaptureError(report.refused)
        except BaseException as error:
            with uninterrupted():
                outcome = before.put_back(paths)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(outcome) from error
            if not isinstance(error, SysmonlxError):
                error = InstallError(f"{type(error).__name__}: {error}")
            kind = type(error) if type(error) in _STARTING else CaptureError
            raise kind(f"{error} ({outcome})") from error
        return report


_STARTING = (CaptureError, InstallError)


def start(paths: Paths) -> Report:
    """Start the installed service and wait until it captures.

    Raises:
        CaptureError, InstallError: it does not start, and why.
    """
    if systemd.systemd_is_running(paths):
        systemd.install_unit(paths, _program())
        return Report.of(control.request(paths.control_socket, Question(do="missing")))
    return start_daemon(paths)


def _program() -> str:
    """Return the absolute path of the program, for the unit.

    Raises:
        InstallError: it is not installed under a name.
    """
    name = os.path.abspath(sys.argv[0])
    if os.path.islink(name):  # of the name sysmon, say, which may go again
        name = os.path.realpath(name)
    if os.access(name, os.X_OK) and not name.endswith(".py"):
        return name
    from shutil import which  # brings compression libraries the daemon need not have

    found = which("sysmonlx")
    if found:
        return found
    raise InstallError("sysmonlx is not on PATH: install it first (make install)")


def _make_way(paths: Paths) -> None:
    """Stop a daemon that the service manager would not replace.

    One that it does replace runs until then: nothing is lost if we are killed before.
    """
    if systemd.systemd_is_running(paths) and paths.unit_file.exists():
        pid, keeper = daemon_pid(paths.pid_file), daemon_pid(paths.keeper_file)
        if not keeper and pid in (0, systemd.main_pid()):
            return
    stop(paths, force=True)


def _stop_all(paths: Paths) -> None:
    """Stop the service, and then a daemon that runs beside it."""
    if systemd.systemd_is_running(paths) and paths.unit_file.exists():
        systemd.stop_unit()
    stop(paths, force=True)


@dataclass(frozen=True, slots=True)
class Removal:
    """The report of an uninstallation: a line for each deed, and for each failure."""

    done: list[str]
    errors: list[str]


def uninstall(paths: Paths, *, force: bool = False, purge: bool = False) -> Removal:
    """Stop the service and remove what the installation wrote, as far as that goes.

    An edited configuration is kept under another name. The counter of event records
    and the clock of the GUIDs stay: numbers and GUIDs are never given twice. `purge`
    removes these too.

    Raises:
        InstallError: the service cannot be stopped; nothing is removed then.
    """
    errors: list[str] = []
    with exclusive(paths.state_dir):
        done = systemd.remove_unit(paths)
        if stop(paths, force=force):
            done.append("Ended the daemon")
        done += _removed_metrics(paths, errors)
        is_kept = purge or _has_kept_edit(paths, done, errors)
        for path in _files_of_ours(paths):
            if is_kept or path != paths.config_file:
                done += _removed(path, errors)
        for directory in (paths.config_dir, paths.state_dir):
            done += [f"Removed {each}" for each in remove_unfinished(directory)]
        if purge:
            done += _purged(paths, errors)
        _, of_group = paths.event_sockets
        for directory in (paths.config_dir, paths.run_dir, of_group.parent):
            done += _removed_directory(directory, errors)
    if paths.record_id_file.exists():
        what = "the number of the next event record, and the clock of this boot's GUIDs"
        done.append(f"Kept {paths.state_dir}: {what}")
    return Removal(done, errors)


def _files_of_ours(paths: Paths) -> tuple[Path, ...]:
    """Return all files that an uninstallation removes."""
    return (
        *_stored_files(paths),
        *(paths.programs_file, paths.pid_file, paths.next_id_file),
        *(paths.keeper_file, paths.control_socket, paths.notify_socket),
        *paths.event_sockets,
    )


def _has_kept_edit(paths: Paths, done: list[str], errors: list[str]) -> bool:
    """Keep an edited configuration; return False where it must stay as it is."""
    try:
        if text := edits.keep_edited(paths):
            done.append(text)
    except InstallError as error:  # a full disk
        errors.append(str(error))
        return False
    return True


def _purged(paths: Paths, errors: list[str]) -> list[str]:
    """Remove what an uninstallation keeps otherwise."""
    done = []
    for path in (*edits.kept_files(paths), *paths.numbering_files):
        done += _removed(path, errors)
    return done + _removed_directory(paths.state_dir, errors)


def _removed_metrics(paths: Paths, errors: list[str]) -> list[str]:
    """Remove what a daemon that was killed has left of its metrics."""
    policy = stored_form(paths)
    path = policy.settings.metrics_file if policy else ""
    try:
        return [f"Removed {path}"] if path and remove(path, _REMOVAL_S) else []
    except FileNotFoundError:  # its directory
        return []
    except OSError as error:
        errors.append(f"Cannot remove {path}: {error.strerror}")
        return []


def _removed(path: Path, errors: list[str]) -> list[str]:
    try:
        path.unlink()
    except FileNotFoundError:
        return []
    except OSError as error:
        errors.append(f"Cannot remove {path}: {error.strerror}")
        return []
    return [f"Removed {path}"]


def _removed_directory(path: Path, errors: list[str]) -> list[str]:
    try:
        path.rmdir()
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return [f"Kept {path}: it holds other files"]
        errors.append(f"Cannot remove {path}: {error.strerror}")
        return []
    return [f"Removed {path}"]
