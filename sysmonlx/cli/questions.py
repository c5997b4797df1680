# SPDX-License-Identifier: MIT
"""The actions that ask and change nothing: -s, -test, -stats, and -c alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TextIO

from sysmonlx.cli import stats_report
from sysmonlx.cli.exit_status import BAD_PARAMETERS, FILE_ERROR
from sysmonlx.cli.listing import listing
from sysmonlx.config.child import read_file
from sysmonlx.config.command_line import CommandLine, strictness
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.errors import ControlError
from sysmonlx.policy import Policy
from sysmonlx.service import configuration, control
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths
from sysmonlx.service.messages import Question
from sysmonlx.service.situation import why_it_is_silent, why_it_is_strange


def print_schema(version: str | None) -> int:
    """Print the schema of this version, or of the newest one."""
    from sysmonlx.schema.versions import schema_text  # needs the data of old versions

    print(schema_text(version), end="")
    return OK


def try_events(line: CommandLine) -> int:
    """Try events on a configuration; no root, no daemon."""
    from sysmonlx.cli import replay  # what only this action needs
    from sysmonlx.viewer.read import bounded_lines
    from sysmonlx.viewer.sources import STDIN, ReadingError, opened

    name = str(line.values["Test"])
    reading = read_file(name, line.config_options, **strictness(line))
    print(reading.text, end="", file=sys.stderr, flush=True)
    if reading.policy is None:
        return BAD_PARAMETERS
    events, errors = line.events or STDIN, list[str]()
    try:
        with opened(events, sys.stdout.flush) as lines:
            status = replay.run(
                reading.policy,
                name,
                _to_the_error(bounded_lines(lines), errors),
                sys.stdout,
                verbose=line.has("Verbose"),
                source=line.values.get("Verbose") is not None,
            )
    except ReadingError as error:
        print(f"Error: Cannot read {events}: {error}", file=sys.stderr)
        return BAD_PARAMETERS
    sys.stdout.flush()
    for text in errors:
        print(f"Error: {events} was not read to its end: {text}", file=sys.stderr)
    return FILE_ERROR if errors else status


def _to_the_error(lines: Iterator[bytes], errors: list[str]) -> Iterator[bytes]:
    """Yield lines up to an error; those read before are judged all the same."""
    from sysmonlx.viewer.sources import ReadingError

    try:
        yield from lines
    except ReadingError as error:
        errors.append(str(error))


def print_stats(line: CommandLine, paths: Paths) -> int:
    """Print the counters of the service."""
    if not is_running(paths, sys.stderr, "Sysmon is not running"):
        return BAD_PARAMETERS
    snapshot = control.counters(paths.control_socket)
    if line.values["Statistics"] is not None:
        print(json.dumps(snapshot))
        return OK
    if text := why_it_is_strange(paths):  # its counters are others than ours
        print(f"Error: {text}, -stats json shows its counters.", file=sys.stderr)
        return BAD_PARAMETERS
    print(stats_report.report(snapshot), end="")
    return OK


def list_rules(paths: Paths) -> int:
    """Print the rules in force."""
    if not is_running(paths, sys.stdout, "Sysmon is not running"):
        return BAD_PARAMETERS
    policy = not_stored(paths) or configuration.stored_form(paths)
    print(listing(policy) if policy else "No config to display\n", end="")
    return OK


def not_stored(paths: Paths) -> Policy | None:
    """Return the policy in force where it could not be stored yet; else None."""
    try:
        answer = control.request(paths.control_socket, Question(do="policy"))
        text = str(answer.get("policy") or "")
        return policy_of(text) if text else None
    except (ControlError, ValueError):  # a service of another version stores each
        return None


def is_running(paths: Paths, out: TextIO, text: str) -> bool:
    """Tell whether the daemon answers; print why not, `text` where none is there."""
    if control.is_running(paths.control_socket):
        return True
    silent = why_it_is_silent(paths)
    print(silent or text, file=out)
    if not silent:
        print("'sysmonlx -i' installs and starts it.", file=sys.stderr)
    return False
