# SPDX-License-Identifier: MIT
"""Running the daemon in this process: as a service, as a daemon, on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sysmonlx import installation, libbpf, service
from sysmonlx.catalogue import ERROR, EVENT_BY_ID
from sysmonlx.daemon import Daemon, Options
from sysmonlx.errors import CaptureError, InstallError, SysmonlxError
from sysmonlx.health import cpu_s
from sysmonlx.lock import PidFile
from sysmonlx.reading import is_changed, read_data, read_installed
from sysmonlx.ruleset import Policy
from sysmonlx.state import Paths, load_command_line

if TYPE_CHECKING:
    from sysmonlx.terminal import TerminalView

_OK = 0
_FAILED = 12
_BAD_CONFIGURATION = 87
_DEFAULT_CONFIGURATION = "default.xml"


@dataclass(frozen=True, slots=True)
class _View:
    """The terminal, and how events are shown there."""

    terminal: TerminalView
    show: Callable[[int, Sequence[str]], None]


def serve(paths: Paths, *, watches: bool = False, is_verbose: bool = False) -> int:
    """Run the installed configuration until a signal ends it.

    Under a service manager, or with `watches`, in this very process; else as a daemon
    of its own, and this process waits until that captures.
    """
    try:
        paths.create_private()
        policy = stored_policy(paths)
    except SysmonlxError as error:
        return _failed(str(error), _BAD_CONFIGURATION)
    if watches:
        return _run_installed(paths, policy, _view(is_verbose=is_verbose))
    if "NOTIFY_SOCKET" in os.environ:
        return _run_installed(paths, policy, None)
    if installation.READY_VARIABLE in os.environ:
        return _run_detached(paths, policy)
    for text in installation.start_daemon():
        print(f"Warning: {text}", file=sys.stderr)
    return _OK


def _run_detached(paths: Paths, policy: Policy) -> int:
    import daemon  # type: ignore[import-untyped]  # python-daemon has no types

    keep = [int(os.environ[installation.READY_VARIABLE])]
    with daemon.DaemonContext(umask=0o077, files_preserve=keep, detach_process=True):
        return _run_installed(paths, policy, None)


def _view(*, is_verbose: bool) -> _View:
    from sysmonlx.terminal import TerminalView  # the daemon need not have it

    view = TerminalView(sys.stdout, sys.stdout.isatty())
    if not is_verbose:
        return _View(view, view.show)
    libbpf.set_verbose(lambda text: print(text, end="", file=sys.stderr))
    return _View(view, view.show_all)


def _run_installed(paths: Paths, policy: Policy, view: _View | None) -> int:
    command = load_command_line(paths.command_line_file)
    options = Options(
        paths,
        started_with="Defaults" if "--" in command else " ".join(command),
        btf_path=_btf_of(command),
        watch=view.show if view else None,
    )
    return _run(policy, options, view)


def _btf_of(command: tuple[str, ...]) -> str:
    for word, value in pairwise(command):
        if word.lower() == "-btf":
            return value
    return ""


def _run(policy: Policy, options: Options, view: _View | None) -> int:
    if not options.keeps_state:
        return _run_alone(policy, options, view)
    try:
        pid_file = PidFile(options.paths.pid_file)
    except InstallError as error:
        return _failed(str(error), _FAILED)
    try:
        return _run_alone(policy, options, view)
    finally:
        pid_file.close()


def _run_alone(policy: Policy, options: Options, view: _View | None) -> int:
    started_s = time.monotonic()
    daemon = Daemon(policy, options)
    try:
        daemon.start()
    except (SysmonlxError, OSError) as error:
        daemon.close()
        return _failed(str(error), _FAILED)
    missing = daemon.missing()
    service.notify("READY=1")
    installation.tell_ready(missing)
    if view is not None:
        for text in missing:
            print(f"Warning: {text}", file=sys.stderr)
    try:
        daemon.run()
    except Exception as error:
        _report_failure(daemon, error)
        raise
    if view is not None:
        from sysmonlx.terminal import title

        counts = {title(EVENT_BY_ID[i]): n for i, n in daemon.output.counts.items()}
        lost = daemon.health.lost
        wall_s = time.monotonic() - started_s
        view.terminal.summary(counts, lost, cpu_s(), wall_s)
    return _OK


def _report_failure(daemon: Daemon, error: Exception) -> None:
    """Say by an event that the daemon ends; a watch that ends must not be silent."""
    text = f"The service ends: {type(error).__name__}: {error}"
    service.notify(f"STATUS={text}")
    daemon.pipeline.report(ERROR.id, (daemon.pipeline.utc_now(), "Failure", text))
    daemon.close()


def _failed(reason: str, status: int) -> int:
    service.notify(f"STATUS={reason}")
    if installation.READY_VARIABLE in os.environ:
        installation.tell_failure(reason)
    else:
        print(f"Telemetry failed to start: {reason}", file=sys.stderr)
    return status


def stored_policy(paths: Paths) -> Policy:
    """Return the policy in force; read anew when the file is another than before.

    A file that cannot be used leaves the configuration before it in force.

    Raises:
        InstallError: there is none, or it cannot be used.
    """
    stored = stored_form(paths)
    if stored is not None and not is_changed(paths.config_file, stored):
        return stored
    reading = read_installed(paths)
    if reading.policy is not None:
        paths.write(paths.policy_file, reading.policy.to_json().encode())
        return reading.policy
    text = reading.text.strip().replace("\n", "; ")
    if stored is None:
        raise InstallError(f"{text}; use -i")
    print(f"{text}; the configuration before this one is in force", file=sys.stderr)
    return stored


def stored_form(paths: Paths) -> Policy | None:
    """Return the configuration as it was last read, None where none is stored."""
    try:
        return Policy.from_json(paths.policy_file.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def watch(paths: Paths, *, is_verbose: bool) -> int:
    """Show the events of the built-in configuration on the terminal until a signal.

    Nothing is installed or kept, and a running service is not disturbed.
    """
    from sysmonlx.arguments import CommandLineOptions
    from sysmonlx.schema import schema_data

    data = schema_data(_DEFAULT_CONFIGURATION).read_bytes()
    reading = read_data(data, _DEFAULT_CONFIGURATION, CommandLineOptions())
    if reading.policy is None:
        raise CaptureError(reading.text)
    view = _view(is_verbose=is_verbose)
    options = Options(paths, keeps_state=False, watch=view.show)
    print("Watching; Ctrl-C ends.", file=sys.stderr)
    return _run(reading.policy.without_sinks(), options, view)
