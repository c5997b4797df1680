# SPDX-License-Identifier: MIT
"""Runs the daemon in this process: as a service, as a daemon or on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from sysmonlx.config.child import read_data
from sysmonlx.errors import CaptureError, InstallError, in_words
from sysmonlx.host import inherited
from sysmonlx.host.lock import PidFile
from sysmonlx.host.private_files import remove_unfinished
from sysmonlx.policy import Policy, Settings
from sysmonlx.service import spawn, systemd
from sysmonlx.service.configuration import ChosenPolicy, stored_policy
from sysmonlx.service.daemon import Daemon, start
from sysmonlx.service.exit_status import CAPTURE_ERROR, OK
from sysmonlx.service.health import cpu_s
from sysmonlx.service.installed import Paths, load_command_line
from sysmonlx.service.keeper import (
    DAEMON_NAME,
    ENDED_VARIABLE,
    READY_VARIABLE,
    be_called,
)
from sysmonlx.service.messages import START_FAILED
from sysmonlx.service.wiring import Options

#: As LimitNICE= in the unit.
_AUTOGROUP_NICE = "-10"
#: A file that was not finished for this many seconds has lost its writer.
_UNFINISHED_S = 600.0
_DEFAULT_CONFIGURATION = "default.xml"


@dataclass(frozen=True, slots=True)
class Watched:
    """What a view may ask: the policy in force, and how many events were lost.

    The policy has its rules as long as it is the one of the start.
    """

    policy: Callable[[], Policy]
    lost: Callable[[], int]


class View(Protocol):
    """Where a person watches events; the command line makes one and hands it in.

    It makes nobody wait: a thread of its own does the showing.
    """

    def show(self, event_id: int, values: Sequence[str]) -> None:
        """Show one event; `values` are the texts of its fields, in schema order."""

    def begin(self, watched: Watched) -> None:
        """Begin to show, with the events that came before."""

    def summary(
        self, counts: Mapping[int, int], lost: int, cpu_s: float, wall_s: float
    ) -> None:
        """Show at the end how many events there were, by event id.

        Raises:
            OSError: not everything could be written.
        """

    def close(self) -> None:
        """End, and leave the terminal as it was; also after a summary."""


def serve(paths: Paths, view: View | None = None) -> int:
    """Run the installed configuration until a signal ends it.

    With a `view`, or under a service manager, it runs in this process. Otherwise it
    runs as a daemon, and this process waits until the daemon captures events.
    """
    if view is None and "NOTIFY_SOCKET" not in os.environ:
        from sysmonlx.service.situation import advice

        report = spawn.start_daemon(paths)
        _warn(*report.missing, *map(advice, report.trouble))
        return OK
    if view is None:
        _have_what_a_service_has()
    be_called(DAEMON_NAME)
    try:
        paths.create_private()
        chosen = stored_policy(paths)
    except Exception as error:
        return _failed(in_words(error), CAPTURE_ERROR)
    return _run_installed(paths, chosen, view)


def _have_what_a_service_has() -> None:
    """Lift limits that this process has inherited; raise its session's weight.

    Floods of other processes then leave the daemon its share of the processors. Where
    no control group has a weight the scheduler weighs sessions, sched(7), "The
    autogroup feature".
    """
    inherited.lift_limits()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(_AUTOGROUP_NICE)


def _run_installed(paths: Paths, chosen: ChosenPolicy, view: View | None) -> int:
    command = load_command_line(paths.command_line_file)
    options = Options(
        paths,
        started_with="Defaults" if "--" in command else " ".join(command),
        btf_path=_btf_of(command),
        watch=view.show if view else None,
        refused=chosen.refused,
        warnings=chosen.warnings,
        ended=os.environ.pop(ENDED_VARIABLE, ""),
    )
    return _run(chosen.policy, options, view)


def _btf_of(command: tuple[str, ...]) -> str:
    for word, value in pairwise(command):
        if word.lower() == "-btf" and not value.startswith("-"):
            return value
    return ""


def _run(policy: Policy, options: Options, view: View | None) -> int:
    if not options.keeps_state:
        return _run_alone(policy, options, view)
    try:
        pid_file = PidFile(options.paths.pid_file)
    except InstallError as error:
        return _failed(str(error), CAPTURE_ERROR)
    for directory in (options.paths.config_dir, options.paths.state_dir):
        remove_unfinished(directory, _UNFINISHED_S)
    try:
        return _run_alone(policy, options, view)
    finally:
        pid_file.close()


def _run_alone(policy: Policy, options: Options, view: View | None) -> int:
    started_s = time.monotonic()
    try:
        daemon = _started(policy, options)
    except Exception as error:
        return _failed(in_words(error), CAPTURE_ERROR)
    report = daemon.standing.report()
    systemd.notify("READY=1")
    spawn.tell_ready(report)
    # As the first process of a container nobody else says it.
    if view is not None or os.environ.get("NOTIFY_SOCKET") == "":
        _warn(*report["missing"], *report["trouble"])
    if view is not None:
        if not options.keeps_state:
            print("Watching; Ctrl-C ends.", file=sys.stderr, flush=True)
        view.begin(_watched(daemon, policy))
    try:
        daemon.run()
    except Exception as error:
        if view is not None:
            view.close()
        _report_failure(daemon, error)
        raise
    if view is not None:
        wall_s = time.monotonic() - started_s
        parts = daemon.parts
        view.summary(parts.output.counts, parts.health.lost, cpu_s(), wall_s)
    return OK


def _warn(*texts: str) -> None:
    for text in texts:
        print(f"Warning: {text}", file=sys.stderr, flush=True)


def _watched(daemon: Daemon, policy: Policy) -> Watched:
    """Return what a view may ask; `policy` has the rules that the daemon began with."""
    standing, health = daemon.standing, daemon.parts.health
    first = standing.policy
    is_policy = (first.source, first.digests) == (policy.source, policy.digests)
    begun_with = policy if is_policy else first

    def now() -> Policy:
        return begun_with if standing.policy is first else standing.policy

    return Watched(now, lambda: health.lost)


def _started(policy: Policy, options: Options) -> Daemon:
    """Return a daemon that captures: with this policy, or with what can be had of it.

    Raises:
        Exception: of the first try, when none works.
    """
    first: Exception | None = None
    for each, chosen in _attempts(policy, options):
        refused = chosen.refused
        if first is not None:
            what = "built-in rules" if each == Policy() else "default settings"
            refused = f"{START_FAILED}{in_words(first)}; the {what} are in force"
        try:
            return start(each, replace(chosen, refused=refused))
        except Exception as error:
            first = first or error
    assert first is not None, "there is at least one attempt"
    raise first


def _attempts(policy: Policy, options: Options) -> Iterator[tuple[Policy, Options]]:
    """Yield what to try one after the other, each with less that can fail."""
    yield policy, options
    if not options.keeps_state:
        return
    plain = replace(options, btf_path="")
    with_defaults = replace(policy, settings=_defaults_of(policy.settings))
    if with_defaults not in (policy, Policy()):
        yield with_defaults, plain
    if (policy, options) != (Policy(), plain):
        yield Policy(), plain


def _defaults_of(settings: Settings) -> Settings:
    """Return default settings, but for where events go and what fields they have."""
    return Settings(
        sinks=settings.sinks,
        hit_sinks=settings.hit_sinks,
        appended_fields=settings.appended_fields,
        rules=settings.rules,
    )


def _report_failure(daemon: Daemon, error: Exception) -> None:
    """Report the end of the daemon by an event and to the service manager."""
    text = f"The service ends: {type(error).__name__}: {error}"
    systemd.notify(f"STATUS={systemd.failed_status(' '.join(text.split()))}")
    with contextlib.suppress(Exception):  # the first failure is the one to be told
        daemon.fail(text)
    with contextlib.suppress(Exception):
        daemon.close()


def _failed(reason: str, status: int) -> int:
    systemd.notify(f"STATUS={systemd.failed_status(' '.join(reason.split()))}")
    if READY_VARIABLE in os.environ:
        spawn.tell_failure(reason)
    else:
        print(f"Telemetry failed to start: {reason}", file=sys.stderr)
    return status


def built_in_policy() -> Policy:
    """Return the rules and settings that come with the program.

    Raises:
        CaptureError: they cannot be read.
    """
    from sysmonlx.config.command_line import CommandLineOptions
    from sysmonlx.schema.versions import schema_data

    data = schema_data(_DEFAULT_CONFIGURATION).read_bytes()
    reading = read_data(data, _DEFAULT_CONFIGURATION, CommandLineOptions())
    if reading.policy is None:
        raise CaptureError(reading.text)
    return reading.policy


def watch(paths: Paths, view: View, policy: Policy) -> int:
    """Show the events of a policy until a signal; its sinks get none.

    Nothing is installed or kept, and a running service is not disturbed.
    """
    options = Options(paths, keeps_state=False, watch=view.show)
    settings = replace(policy.without_sinks().settings, metrics_file="")
    return _run(replace(policy, settings=settings), options, view)
