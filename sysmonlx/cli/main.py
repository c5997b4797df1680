# SPDX-License-Identifier: MIT
"""Runs the action of a command line; prints errors, one line each.

Exit status: 0 done; 1 a file could not be installed; 12 capture could not start; 87 bad
parameters or configuration; 130 interrupted; 228 not root; 254 of -selftest; 254, 255
of -x and -y.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Sequence

from sysmonlx.cli.exit_status import BAD_PARAMETERS, FILE_ERROR, INTERRUPTED
from sysmonlx.errors import (
    CaptureError,
    InstallError,
    LibbpfError,
    SysmonlxError,
    UsageError,
)
from sysmonlx.host import inherited
from sysmonlx.service import keeper
from sysmonlx.service.exit_status import CAPTURE_ERROR, OK
from sysmonlx.service.installed import Paths


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; `argv` without its name. Returns the exit status."""
    os.umask(0o077)
    inherited.put_right()
    words = list(sys.argv[1:] if argv is None else argv)
    _fit_streams()
    try:
        return _run_and_flush(words)
    except UsageError as error:
        print(_with_pointer(error), file=sys.stderr)
        return BAD_PARAMETERS
    except InstallError as error:
        print(f"Error: {error}", file=sys.stderr)
        return FILE_ERROR
    except (CaptureError, LibbpfError) as error:
        print(f"Telemetry failed to start: {error}", file=sys.stderr)
        return CAPTURE_ERROR
    except SysmonlxError as error:
        print(f"Error: {error}", file=sys.stderr)
        return BAD_PARAMETERS
    except KeyboardInterrupt as error:
        if error.args:  # a text that says what could not be undone
            print(f"Interrupted: {error}", file=sys.stderr)
        return INTERRUPTED


def _with_pointer(error: UsageError) -> str:
    """Return the reason, and how to go on where it does not say so itself."""
    text = str(error)
    if not error.show_usage or text.endswith("?"):
        return text
    return f"{text.rstrip('.')} (see 'sysmonlx -?')"


def _run_and_flush(words: list[str]) -> int:
    try:
        status = _run(words)
        sys.stdout.flush()
    except OSError as error:
        # Nothing more at exit: the same would happen again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            print(f"Error: {error.strerror}", file=sys.stderr)
            return FILE_ERROR
        return _after_a_broken_pipe(words)
    return status


def _after_a_broken_pipe(words: list[str]) -> int:
    """Tell what nobody read, where it was more than a text that was asked for."""
    from sysmonlx.cli.commands import only_prints

    if only_prints(words):
        return OK
    text = "nobody reads standard output; 'sysmonlx -c' shows what is in force"
    print(f"Error: {text}", file=sys.stderr)
    return FILE_ERROR


def _fit_streams() -> None:
    """Let any bytes of a configuration through, in any locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _run(words: list[str]) -> int:
    if words == ["-service"]:  # the daemon must be ready soon, and needs no more
        paths = Paths.from_environment(os.environ)
        if keeper.is_wanted():  # which stays small: it loads nothing else
            return keeper.keep(paths, lambda: _serve(paths))
        return _serve(paths)
    # The other program, where only one has a name. It has no banner.
    behind = itertools.dropwhile(lambda each: each.lower() == "-nologo", words)
    if next(behind, "").lower() == "-sigma":
        from sysmonlx.sigma_tool import main as sigma_tool

        return sigma_tool.main(list(behind))
    from sysmonlx.cli import commands

    return commands.run(words)


def _serve(paths: Paths) -> int:
    from sysmonlx.service import foreground

    return foreground.serve(paths)
