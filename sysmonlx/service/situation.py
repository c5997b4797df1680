# SPDX-License-Identifier: MIT
"""Sentences for a person at the command line: what is wrong, and what helps."""

from __future__ import annotations

import os
import shlex

from sysmonlx.host.lock import daemon_pid
from sysmonlx.host.log_daemon import MOST_BYTES
from sysmonlx.policy import FORM, Settings, SinkChoice
from sysmonlx.service import control, systemd
from sysmonlx.service.installed import Paths
from sysmonlx.service.line_limits import LOG_SOCKET, line_limit
from sysmonlx.service.messages import Question

#: There while systemd-journald takes lines.
_JOURNAL = "/run/systemd/journal/socket"
_SHOW_JOURNAL = "journalctl -t sysmon -o cat --all -f"
#: Files in which log daemons keep everything, or what is ours, by default.
_LOG_FILES = ("/var/log/sysmon.log", "/var/log/syslog", "/var/log/messages")


def why_it_is_silent(paths: Paths) -> str:
    """Return why the daemon does not answer, and what helps; "" when none is there."""
    pid = daemon_pid(paths.pid_file)
    if pid:
        return f"Error: The daemon (process {pid}) does not answer: -i replaces it"
    if daemon_pid(paths.keeper_file):
        return "Error: The daemon has ended and is being started again: try again soon"
    text = systemd.state_text(paths)
    if text:
        return f"Error: {text}"
    if paths.config_file.exists() or paths.policy_file.exists():
        return "Error: Sysmon is installed and does not run: -service starts it"
    return ""


def why_it_is_strange(paths: Paths) -> str:
    """Return why a daemon that answers may misunderstand us; "" when it does not.

    After an upgrade the daemon of the version before runs until it is replaced.

    Raises:
        ControlError: it does not answer.
    """
    form = control.request(paths.control_socket, Question(do="pid")).get("form")
    if form == FORM:
        return ""
    return "The daemon that runs is of another version: -i replaces it"


def destinations(settings: Settings) -> list[str]:
    """Return where the events of a configuration go, in words."""
    return [
        *map(_destination, settings.sinks),
        *(f"{_destination(each)} (Sigma hits only)" for each in settings.hit_sinks),
    ]


def how_to_see(settings: Settings) -> str:
    """Return the command that shows the events as they come, "" where none is known."""
    for choice in settings.sinks:
        kind, target = choice.kind, choice.target
        if kind == "file":
            return f"tail -F {shlex.quote(target)}"
        if kind == "journald" and not target:
            return _SHOW_JOURNAL
        if kind == "socket":
            return f"nc -U {shlex.quote(choice.place)}"
        if kind == "syslog" and (target or LOG_SOCKET) == LOG_SOCKET:
            if os.path.exists(_JOURNAL):
                return _SHOW_JOURNAL
            known = (each for each in _LOG_FILES if os.path.exists(each))
            return f"tail -F {file} | grep sysmon" if (file := next(known, "")) else ""
    return ""


def _destination(choice: SinkChoice) -> str:
    kind, target = choice.kind, choice.target
    if kind == "syslog":
        return f"the log daemon at {target or LOG_SOCKET}"
    if kind == "journald":
        return f"the journal{f' at {target}' if target else ''}"
    if kind == "socket":
        who = f"root and the group {choice.group}" if choice.group else "root"
        return f"who connects to {choice.place} ({who})"
    return "standard output" if kind == "stdout" else target or kind


def limit_of_lines(settings: Settings) -> str:
    """Return how long lines to syslog may be and what raises that, a sentence.

    It is empty where no line goes to syslog.
    """
    for choice in settings.sinks:
        if choice.kind == "syslog":
            size_bytes, reason = line_limit(settings, choice)
            whose = f" ({reason})" if reason else ""
            text = f"Lines to syslog have {size_bytes:,} bytes at most{whose}"
            if size_bytes >= MOST_BYTES:
                return f"{text}."
            return f"{text}; longer values lose their middle: man 8 sysmonlx, Delivery."
    return ""


def advice(trouble: str) -> str:
    """Return a trouble of the daemon with what can be done about it.

    A trouble of a sink begins with its path: "/dev/log: No such file or directory".
    """
    path, colon, _ = trouble.partition(": ")
    if not colon or not path.startswith("/"):
        return trouble
    if trouble.endswith(": nobody reads"):
        return f"{trouble}: lines wait; what does not fit the spool is lost"
    if path == LOG_SOCKET:
        return (
            f"{trouble}: nothing takes the lines; start a log daemon, or add "
            '<Sink kind="file">/var/log/sysmon.xml</Sink> to the configuration\'s '
            "Settings"
        )
    return f"{trouble}: no lines arrive there; what does not fit the spool is lost"
