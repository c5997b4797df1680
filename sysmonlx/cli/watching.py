# SPDX-License-Identifier: MIT
"""The action -t: events of this machine, by built-in rules or those of a file."""

from __future__ import annotations

import sys

from sysmonlx.bpf import libbpf
from sysmonlx.cli.exit_status import BAD_PARAMETERS
from sysmonlx.cli.live import LiveView
from sysmonlx.cli.live_options import options_of
from sysmonlx.config.child import read_file
from sysmonlx.config.command_line import CommandLine, strictness
from sysmonlx.service import foreground
from sysmonlx.service.installed import Paths


def check(line: CommandLine) -> None:
    """Refuse words that cannot be used, root or not.

    Raises:
        UsageError: which one, and why.
    """
    options_of(line.words)


def watch(line: CommandLine, paths: Paths) -> int:
    """Show events by the built-in rules, or by those of a file."""
    rules = options_of(line.words).rules
    if not rules:
        return foreground.watch(paths, view(line), foreground.built_in_policy())
    reading = read_file(rules, line.config_options, **strictness(line))
    print(reading.text, end="", file=sys.stderr, flush=True)
    if reading.policy is None:
        return BAD_PARAMETERS
    return foreground.watch(paths, view(line), reading.policy)


def view(line: CommandLine) -> foreground.View:
    """Return a view on standard output.

    With `verbose` it shows every field, and prints what libbpf has to say.
    """
    is_verbose = line.values["DebugMode"] is not None
    if is_verbose:
        libbpf.set_verbose(lambda text: print(text, end="", file=sys.stderr))
    return LiveView(options_of(line.words), is_verbose=is_verbose)
