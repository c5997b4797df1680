# SPDX-License-Identifier: MIT
"""The configuration that a command line gives, by a file or by switches.

-y and -x write what was read of it, and end the program.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sysmonlx.cli.exit_status import DIFFERENT, WRITE_ERROR
from sysmonlx.cli.listing import NO_RULES, rule_lines
from sysmonlx.config.child import EMPTY, Reading, read_file, read_options
from sysmonlx.config.command_line import Action, CommandLine, Strictness, strictness
from sysmonlx.host.root_files import write_typed
from sysmonlx.policy import Policy
from sysmonlx.service import configuration, edits, install
from sysmonlx.service.configuration import read_installed
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths

#: The reading of a command line without a file and without switches.
DEFAULTS = Reading(Policy(), "", EMPTY)


def read(line: CommandLine, paths: Paths) -> Reading | None:
    """Read the configuration that a command line gives; None: it gives none."""
    if line.action not in (Action.INSTALL, Action.CONFIGURE):
        return None
    how = strictness(line)
    if is_reread(line, paths):
        return read_installed(paths)
    if line.config_file is not None:
        return read_file(line.config_file, line.config_options, **how)
    if line.config_options:
        return read_options(line.config_options, lax=how["lax"])
    if line.action is Action.INSTALL and edits.is_installed(paths):
        return _read_installed_or_stored(paths, how)
    return None


def _read_installed_or_stored(paths: Paths, how: Strictness) -> Reading:
    """Read what is installed, for an installation that names no other configuration.

    Where the file is refused the daemon runs what it ran before, and so does this.
    """
    reading = read_installed(paths, **how)
    stored = configuration.stored_form(paths)
    if reading.policy is not None or stored is None:
        return reading
    on_disk = install.Installed.at(paths).config  # which stays, whatever it is
    return Reading(stored, reading.text, on_disk or b"")


def is_reread(line: CommandLine, paths: Paths) -> bool:
    """Tell whether the file is the installed one: it is read with its own switches."""
    if line.config_file is None or line.config_options:
        return False
    if any(strictness(line).values()):
        return False
    if line.action is Action.INSTALL and (line.has("DebugMode") or line.has("BTF")):
        return False
    try:
        return os.path.samefile(line.config_file, paths.config_file)
    except OSError:
        return False


def write_developer_files(line: CommandLine, policy: Policy) -> int | None:
    """Serve -y and -x, which end the program; None when neither was given."""
    name = line.values.get("OutputRules")
    if name is not None:
        if not policy.ruleset.elements:
            print(NO_RULES, end="")
            return WRITE_ERROR
        text = rule_lines(policy, show_names=False)
        return _write(name, text.encode("utf-8", "surrogateescape"))
    name = line.values.get("InternalRepresentation")
    if name is None:
        return None
    data = policy.to_json().encode()
    if not os.path.exists(name):
        return _write(name, data)
    try:
        return OK if Path(name).read_bytes() == data else DIFFERENT
    except OSError as error:
        print(f"Error: Cannot read {name}: {error.strerror}", file=sys.stderr)
        return WRITE_ERROR


def _write(name: str, data: bytes) -> int:
    try:
        write_typed(name, data)
    except OSError as error:
        print(f"Error: Cannot write {name}: {error.strerror}", file=sys.stderr)
        return WRITE_ERROR
    return OK
