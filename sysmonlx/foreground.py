# SPDX-License-Identifier: MIT
"""Running the daemon in this process: as a service, as a daemon, on a terminal."""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise
from pathlib import Path

from sysmonlx import installation, libbpf, service
from sysmonlx.arguments import CommandLineOptions
from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.daemon import Daemon, Options
from sysmonlx.errors import CaptureError, InstallError, SysmonlxError
from sysmonlx.health import cpu_s
from sysmonlx.reading import read_data
from sysmonlx.ruleset import Policy
from sysmonlx.state import Paths, load_command_line
from sysmonlx.terminal import TerminalView, title

_OK = 0
_FAILED = 12
_BAD_CONFIGURATION = 87
_DEFAULT_CONFIGURATION = "default.xml"


def serve(paths: Paths, *, watches: bool = False) -> int:
    """Run the installed configuration until a signal ends it.

    Under a service manager, or with `watches`, in this very process; else as a daemon
    of its own.
    """
    try:
        paths.create_private()
        policy = stored_policy(paths)
    except SysmonlxError as error:
        return _failed(str(error), _BAD_CONFIGURATION)
    if watches or "NOTIFY_SOCKET" in os.environ:
        return _run_installed(paths, policy, watches=watches)
    return _run_detached(paths, policy)


def _run_detached(paths: Paths, policy: Policy) -> int:
    import daemon  # type: ignore[import-untyped]  # python-daemon has no types

    ready = os.environ.get(installation.READY_VARIABLE, "")
    keep = [int(ready)] if ready else []
    with daemon.DaemonContext(umask=0o077, files_preserve=keep, detach_process=True):
        return _run_installed(paths, policy, watches=False)


def _run_installed(paths: Paths, policy: Policy, *, watches: bool) -> int:
    command = load_command_line(paths.command_line_file)
    view = TerminalView(sys.stdout, sys.stdout.isatty()) if watches else None
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


def _run(policy: Policy, options: Options, view: TerminalView | None) -> int:
    started_s = time.monotonic()
    daemon = Daemon(policy, options)
    try:
        daemon.start()
    except (SysmonlxError, OSError) as error:
        daemon.close()
        return _failed(str(error), _FAILED)
    missing = [str(each) for each in daemon.capture.missing]
    if options.keeps_state:
        pid = f"{os.getpid()}\n".encode()
        options.paths.write(options.paths.pid_file, pid)
    service.notify("READY=1")
    installation.tell_ready(missing)
    if view is not None:
        for text in missing:
            print(f"Not captured: {text}", file=sys.stderr)
    daemon.run()
    if options.keeps_state:
        options.paths.pid_file.unlink(missing_ok=True)
    if view is not None:
        counts = {title(EVENT_BY_ID[i]): n for i, n in daemon.output.counts.items()}
        lost = daemon.health.lost
        view.summary(counts, lost, cpu_s(), time.monotonic() - started_s)
    return _OK


def _failed(reason: str, status: int) -> int:
    service.notify(f"STATUS={reason}")
    if installation.READY_VARIABLE in os.environ:
        installation.tell_failure(reason)
    else:
        print(f"Telemetry failed to start: {reason}", file=sys.stderr)
    return status


def stored_policy(paths: Paths) -> Policy:
    """Return the policy in force; read anew when the stored form is of no use.

    Raises:
        InstallError: there is none, or it cannot be used.
    """
    try:
        policy = Policy.from_json(paths.policy_file.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return _policy_of(paths.config_file)
    return policy


def _policy_of(path: Path) -> Policy:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InstallError(f"Cannot read {path}: {error.strerror}; use -i") from error
    reading = read_data(data, os.fspath(path), CommandLineOptions())
    if reading.policy is None:
        raise InstallError(reading.text.strip().replace("\n", "; "))
    return reading.policy


def watch(paths: Paths, *, is_verbose: bool) -> int:
    """Show the events of the built-in configuration on the terminal until a signal.

    Nothing is installed or kept, and a running service is not disturbed.
    """
    from sysmonlx.schema import schema_data

    data = schema_data(_DEFAULT_CONFIGURATION).read_bytes()
    reading = read_data(data, _DEFAULT_CONFIGURATION, CommandLineOptions())
    if reading.policy is None:
        raise CaptureError(reading.text)
    if is_verbose:
        libbpf.set_verbose(lambda text: print(text, end="", file=sys.stderr))
    view = TerminalView(sys.stdout, sys.stdout.isatty())
    options = Options(paths, keeps_state=False, watch=view.show)
    print("Watching; Ctrl-C ends.", file=sys.stderr)
    return _run(reading.policy.without_sinks(), options, view)
