# SPDX-License-Identifier: MIT
"""The actions that change what runs on this machine: -i, -c and -u.

A daemon that runs puts a policy of -c in force itself, in `service.reload`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from sysmonlx.cli.exit_status import BAD_PARAMETERS, FILE_ERROR
from sysmonlx.cli.given import DEFAULTS, is_reread
from sysmonlx.cli.questions import is_running, not_stored
from sysmonlx.config.child import Reading
from sysmonlx.config.command_line import CommandLine
from sysmonlx.errors import ControlError, NoAnswerError
from sysmonlx.host.lock import exclusive
from sysmonlx.policy import Policy
from sysmonlx.service import (
    configuration,
    control,
    edits,
    foreground,
    install,
    spawn,
)
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths, command_line_bytes, load_command_line
from sysmonlx.service.messages import Question
from sysmonlx.service.situation import (
    advice,
    destinations,
    how_to_see,
    limit_of_lines,
    why_it_is_strange,
)

#: Longest wait for an update, in seconds: it is compiled, loaded and stored.
_UPDATE_S = 40.0


def install_service(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading
) -> int:
    """Install the service and start it; with -t, serve in the foreground."""
    paths.create_private()
    new = _installed(reading, _words_to_store(line, words, paths))
    if text := edits.keep_edited(paths, reading.data):
        print(f"{text}.", flush=True)
    if line.has("DebugMode"):
        install.replace(paths, new)
        from sysmonlx.cli import watching  # only these actions need it

        return foreground.serve(paths, watching.view(line))
    policy = _policy(reading)
    report = install.install(paths, new, may_be_refused=_is_bare(line))
    _tell(report, policy)
    sinks = (*policy.settings.sinks, *policy.settings.hit_sinks)
    if any(each.kind == "stdout" for each in sinks):
        print("Warning: a daemon has no standard output: see -t", file=sys.stderr)
    print(f"sysmonlx started. {_in_force(policy)}")
    return OK


def _is_bare(line: CommandLine) -> bool:
    """Tell whether an installation names no configuration, by file or by switches."""
    return line.config_file is None and not line.config_options


def _words_to_store(
    line: CommandLine, words: list[str], paths: Paths
) -> tuple[str, ...]:
    """Return the command line to store, which says how the configuration is read.

    An installation that keeps the configuration keeps its switches, and adds its own.
    """
    given = readable_anywhere(words)
    if not _is_bare(line) and not is_reread(line, paths):
        return given
    kept = load_command_line(paths.command_line_file)
    if not kept or line.has("DebugMode"):
        return kept or given
    given_too = (("-lax", "Lax"), ("-strict", "Strict"))
    added = tuple(
        word for word, name in given_too if line.has(name) and word not in kept
    )
    if btf := line.values.get("BTF"):
        return (*_without_btf(kept), *added, "-btf", os.path.abspath(btf))
    return (*kept, *added)


def configure_defaults(line: CommandLine, words: list[str], paths: Paths) -> int:
    """Put the built-in defaults in force, and store them."""
    print("Updating configuration to use all defaults.", flush=True)
    return configure(line, words, paths, DEFAULTS)


def configure(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading
) -> int:
    """Put a configuration in force, and store it."""
    with exclusive(paths.state_dir):
        if not is_running(paths, sys.stdout, "Error: Sysmon is not installed."):
            return BAD_PARAMETERS
        if text := why_it_is_strange(paths):
            print(f"Error: {text}; the old rules stay in force.", file=sys.stderr)
            return BAD_PARAMETERS
        if not is_reread(line, paths):
            kept = (*readable_anywhere(words), *_kept_btf(line, paths))
            if text := edits.keep_edited(paths, reading.data):
                print(f"{text}.", flush=True)
            return _reload(paths, _installed(reading, kept), _policy(reading))
        report = _reopened(paths)
        if (now := not_stored(paths)) is not None:  # the file is the one before
            _tell(report, now)
            print(_in_force(now))
            return OK
        if _is_in_force(paths, reading, report.refused):
            _tell(report, _policy(reading))
            print(_in_force(_policy(reading)))
            return OK
        kept = load_command_line(paths.command_line_file)
        return _reload(paths, _installed(reading, kept), _policy(reading))


def _reopened(paths: Paths) -> spawn.Report:
    """Have the daemon open its log files anew."""
    return spawn.Report.of(control.request(paths.control_socket, Question(do="reopen")))


def _is_in_force(paths: Paths, reading: Reading, refused: str) -> bool:
    """Tell whether the daemon runs what was read: then nothing is to be done."""
    stored = configuration.stored_form(paths)
    return not refused and stored is not None and _same(stored, _policy(reading))


def _same(one: Policy, other: Policy) -> bool:
    """Tell whether two policies differ in the name of their file at most."""
    return replace(one, source=other.source) == other


def _reload(paths: Paths, new: install.Installed, policy: Policy) -> int:
    """Put a policy in force and store it, or leave everything as it is."""
    message = new.to_message()
    with spawn.uninterrupted():  # the daemon does all of it, or nothing
        try:
            answer = control.request(paths.control_socket, message, _UPDATE_S)
        except NoAnswerError as error:
            text = "the update may still happen: sysmonlx -c shows what is in force"
            print(f"Error: {error}; {text}.", file=sys.stderr)
            return BAD_PARAMETERS
        except ControlError as error:
            print(f"Error: {error}; the old rules stay in force.", file=sys.stderr)
            return BAD_PARAMETERS
    _tell(spawn.Report.of(answer), policy)
    print(_in_force(policy))
    return OK


def _tell(report: spawn.Report, policy: Policy) -> None:
    """Print what is missing or in trouble, and where events go."""
    for each in (*report.missing, *map(advice, report.trouble)):
        print(f"Warning: {each}", file=sys.stderr)
    places = destinations(policy.settings)
    print(f"Events go to {', '.join(places)}." if places else "Events go nowhere.")
    if text := limit_of_lines(policy.settings):
        print(text)
    if shown_by := how_to_see(policy.settings):
        print(f"See them with: {shown_by}")


def _in_force(policy: Policy) -> str:
    count = len(policy.ruleset.elements)
    if not count and not policy.source:
        return "Now in force: the built-in defaults, every process start and end."
    name = policy.source or "the built-in defaults"
    return f"Now in force: {name} ({count} event {'rule' if count == 1 else 'rules'})."


def _policy(reading: Reading) -> Policy:
    assert reading.policy is not None, "a refused configuration ends the program"
    return reading.policy


def readable_anywhere(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command line that is read the same in any directory."""
    found = ("sysmonlx", *words)
    at = _btf_at(found) + 1
    if found[at : at + 1] and not found[at].startswith("-"):
        return (*found[:at], os.path.abspath(found[at]), *found[at + 1 :])
    return found


def _kept_btf(line: CommandLine, paths: Paths) -> tuple[str, ...]:
    """Return the -btf of the installation, which outlives an update."""
    kept = () if line.has("BTF") else load_command_line(paths.command_line_file)
    return kept[_btf_at(kept) :][:2]


def _btf_at(words: tuple[str, ...]) -> int:
    """Return where -btf stands; behind the last word when it is not there."""
    return next(
        (at for at, each in enumerate(words) if each.lower() == "-btf"), len(words)
    )


def _without_btf(words: tuple[str, ...]) -> tuple[str, ...]:
    at = _btf_at(words)
    return (*words[:at], *words[at + 2 :])


def _installed(reading: Reading, words: Sequence[str]) -> install.Installed:
    policy = _policy(reading).to_json().encode()
    return install.Installed(reading.data or None, policy, command_line_bytes(words))


def uninstall(line: CommandLine, paths: Paths) -> int:
    """Stop the service and remove it; tell what was done."""
    how = (line.values["UnInstall"] or "").lower()
    removal = install.uninstall(paths, force=bool(how), purge=how == "purge")
    print("Sysmon stopped.")
    for text in removal.done:
        print(text)
    sys.stdout.flush()
    for text in removal.errors:
        print(f"Error: {text}", file=sys.stderr)
    return FILE_ERROR if removal.errors else OK
