# SPDX-License-Identifier: MIT
"""What a command line asks for: checks in the order of Sysmon, then the action."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from sysmonlx import __version__
from sysmonlx.cli import changes, given, questions
from sysmonlx.cli.exit_status import BAD_PARAMETERS, BANNER, NOT_ROOT
from sysmonlx.cli.usage import config_help, usage
from sysmonlx.config.child import Reading
from sysmonlx.config.command_line import (
    Action,
    CommandLine,
    check_before_action,
    check_before_root,
    check_company,
    parse,
)
from sysmonlx.errors import ControlError, UsageError
from sysmonlx.service import control, foreground
from sysmonlx.service.configuration import refusal_of
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths
from sysmonlx.service.messages import Refusal

_NO_TERMINAL_WIDTH = 80


def run(words: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    line = _parsed(words)
    if line.has("Service"):
        return foreground.serve(Paths.from_environment(os.environ))
    if line.action is Action.VERSION:
        print(f"sysmonlx {__version__}")
        return OK
    if not line.has("NoLogo"):
        _print_banner_for(line)
    if line.action is Action.HELP:
        print_usage(sys.stdout)
        return OK
    if line.action is Action.HELP_CONFIG:
        print(config_help(_width()), end="")
        return OK
    if line.action is Action.TEST:
        return questions.try_events(line)
    return _run_checked(line, words)


def _parsed(words: list[str]) -> CommandLine:
    try:
        line = parse(words)
        check_company(line)
    except UsageError:
        if "-nologo" not in map(str.lower, words):
            _print_banner()
        raise
    return line


def only_prints(words: list[str]) -> bool:
    """Tell whether a command line changes nothing: who reads may leave at any time."""
    line = parse(words)
    if line.action is Action.CONFIGURE:
        return line.values.keys() <= {"Configuration", "NoLogo", "AcceptEula"} and (
            line.config_file is None
        )
    return line.action not in (Action.INSTALL, Action.UNINSTALL)


def _width() -> int:
    """Return the columns of the terminal, 80 where there is none."""
    try:
        return os.get_terminal_size().columns or _NO_TERMINAL_WIDTH
    except OSError:
        return _NO_TERMINAL_WIDTH


def print_usage(out: TextIO | None = None) -> None:
    """Print all switches, to standard error where nobody asked for them."""
    width = _width()
    name = os.path.basename(sys.argv[0])
    program = "sysmonlx" if name == "__main__.py" else name
    print(usage(program, width), end="", file=out or sys.stderr)


def _print_banner(out: TextIO | None = None) -> None:
    print(BANNER, end="", file=out or sys.stdout, flush=True)


def _print_banner_for(line: CommandLine) -> None:
    """Print the banner as Sysmon does, but not into what other programs read."""
    if line.action in (Action.TEST, Action.WATCH):
        _print_banner(sys.stderr)
    elif line.action is not Action.SCHEMA and not (
        line.values.get("Statistics") or line.values.get("SelfTest")
    ):
        _print_banner()


def _run_checked(line: CommandLine, words: list[str]) -> int:
    """Check as Sysmon does, in its order: file, parameters, root; then act."""
    paths = Paths.from_environment(os.environ)
    reading = given.read(line, paths)
    if reading is not None:
        print(reading.text, end="", flush=True)
        if reading.policy is None:
            if given.is_reread(line, paths):
                _tell_daemon(reading, paths)
            print("'sysmonlx -? config' explains the configuration.", file=sys.stderr)
            return BAD_PARAMETERS
        written = given.write_developer_files(line, reading.policy)
        if written is not None:
            return written
    if line.action is Action.SCHEMA:
        return questions.print_schema(line.values["PrintSchema"])
    check_before_root(line)
    if line.action is Action.WATCH:
        from sysmonlx.cli import watching  # only these actions need it

        watching.check(line)
    if os.geteuid() != 0:
        print("You need to run Sysmon as root.\n")
        return NOT_ROOT
    check_before_action(line)
    return _act(line, words, paths, reading)


def _tell_daemon(reading: Reading, paths: Paths) -> None:
    """Tell a running daemon that its configuration file is refused, and why."""
    text = f"{refusal_of(reading.text)}; the configuration before this one is in force"
    with contextlib.suppress(ControlError):  # no daemon, or not root
        control.request(paths.control_socket, Refusal(do="refuse", reason=text))


def _act(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading | None
) -> int:
    if line.action is Action.UNINSTALL:
        return changes.uninstall(line, paths)
    if line.action is Action.CONFIGURE:
        return _configure(line, words, paths, reading)
    if line.action is Action.INSTALL:
        return changes.install_service(line, words, paths, reading or given.DEFAULTS)
    if line.action is Action.STATS:
        return questions.print_stats(line, paths)
    if line.action is Action.WATCH:
        from sysmonlx.cli import watching

        return watching.watch(line, paths)
    if line.action is Action.SELF_TEST:
        from sysmonlx.cli import self_testing  # only this action needs it

        return self_testing.self_test(paths, as_json=line.has_value("SelfTest"))
    print_usage()
    return BAD_PARAMETERS


def _configure(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading | None
) -> int:
    """Serve -c: defaults, the configuration that was given, or a list of the rules."""
    if line.has("ConfigDefault"):
        return changes.configure_defaults(line, words, paths)
    if reading is None:
        return questions.list_rules(paths)
    return changes.configure(line, words, paths, reading)
