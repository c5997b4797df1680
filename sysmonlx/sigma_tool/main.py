# SPDX-License-Identifier: MIT
"""`sysmonlx-sigma`: Sigma rules checked, listed, tried, explained and compiled."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from sysmonlx import __version__
from sysmonlx.config.sigma import files
from sysmonlx.config.sigma.child import Reading, read
from sysmonlx.config.sigma.notes import Kind
from sysmonlx.errors import SysmonlxError
from sysmonlx.host import inherited, root_files
from sysmonlx.output.escape import visible
from sysmonlx.rules.sigma.pack import dump
from sysmonlx.schema.options import SHIPPED
from sysmonlx.sigma_tool import listing, trying
from sysmonlx.sigma_tool.sysmon_xml import xml_of

NAME = "sysmonlx-sigma"
OK, SOME_REFUSED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    inherited.put_right()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # help, or what _Parser has refused
        return int(end.code or OK)
    try:
        status = _run(options)
        sys.stdout.flush()
    except SysmonlxError as error:
        _say(str(error))
        return UNUSABLE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        _say(f"{error.filename or 'output'}: {error.strerror}")
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as those of everything else here."""

    def error(self, message: str) -> NoReturn:
        _say(f"{message} (see '{self.prog} --help')")
        raise SystemExit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        NAME,
        description="Sigma rules for sysmonlx: in YAML, or compiled as *.sigma.json.",
        epilog="Exit status: 0 all rules can be used, 1 some are refused, 2 none can"
        " be used, or the command line is wrong. See sysmonlx-sigma(1).",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = {
        "check": "say which rules cannot be used, and why",
        "list": "a line a rule",
        "test": "judge recorded events",
        "xml": "write rules as a configuration of Sysmon",
        "pack": "compile rules into one file that hosts load",
        "explain": "why a rule does or does not match an event",
    }
    made = {each: commands.add_parser(each, help=text) for each, text in words.items()}
    for name, each in made.items():
        if name != "explain":
            each.add_argument(
                "paths",
                nargs="*" if name in ("list", "test") else "+",
                default=[SHIPPED],
                metavar="PATH",
                help=_PATHS,
            )
    made["list"].add_argument("--json", action="store_true", help="as JSON")
    made["test"].add_argument("-e", "--events", default="-", help=_EVENTS)
    made["pack"].add_argument("-o", "--output", required=True, help="file to write")
    made["xml"].add_argument("-o", "--output", default="-", help="file to write")
    made["explain"].add_argument("rule", help="a file of rules, or FILE:TITLE-OR-ID")
    made["explain"].add_argument("events", nargs="?", default="-", help=_EVENTS)
    return parser


_PATHS = f"a file of rules, or a directory of them; {SHIPPED}: those of this program"
_EVENTS = "file of recorded events, - is standard input (default)"


def _run(options: argparse.Namespace) -> int:
    if options.command == "explain":
        return _explain(options)
    reading = _read(options.paths)
    if options.command == "check":
        _summary(reading)
    elif options.command == "list":
        lines = listing.as_json(reading) if options.json else listing.lines(reading)
        sys.stdout.writelines(f"{each}\n" for each in lines)
    elif options.command == "pack":
        _write_pack(reading, options.output)
    elif options.command == "xml":
        return _write_xml(reading, options.output)
    elif reading.pack.rules:
        return trying.test(reading.pack, options.events, sys.stdout)
    return _status(reading)


def _read(paths: Sequence[str]) -> Reading:
    """Return the rules of some paths; say what there is to say about them."""
    found = files.fetch(paths)
    if not found:
        raise SysmonlxError(f"{paths[0]}: there is no *.yml, *.yaml or *.sigma.json")
    reading = read(found)
    for note in reading.notes:
        print(visible(note.text), file=sys.stderr)
    return reading


def _status(reading: Reading) -> int:
    if not reading.pack.rules:
        return UNUSABLE
    refused = any(each.kind is Kind.REFUSED for each in reading.notes)
    return SOME_REFUSED if refused else OK


def _summary(reading: Reading) -> None:
    counts = Counter(each.kind for each in reading.notes)
    rules, others = len(reading.pack.rules), reading.others
    print(
        f"{rules} rules and {len(reading.pack.correlations)} correlations can be used,"
        f" {counts[Kind.REFUSED]} are refused, {counts[Kind.LEFT_OUT]} left out,"
        f" {others} are for other logs"
    )


def _write_pack(reading: Reading, path: str) -> None:
    """Write a pack."""
    if not reading.pack.rules:
        raise SysmonlxError(f"{path} is not written: there is no rule to use")
    _write(path, json.dumps(dump(reading.pack), indent=1, ensure_ascii=False) + "\n")


def _write_xml(reading: Reading, path: str) -> int:
    """Write what Sysmon can ask, name the other rules; return the exit status."""
    text, refused = xml_of(reading.pack)
    for rule, reason in refused:
        title = visible(f"{rule.file}:{rule.line}: rule '{rule.title}'")
        print(f"{title} is not written: {reason}", file=sys.stderr)
    for each in reading.pack.correlations:
        title = visible(f"{each.file}:{each.line}: correlation '{each.title}'")
        print(f"{title} is not written: Sysmon joins no events", file=sys.stderr)
    if len(refused) == len(reading.pack.rules):
        raise SysmonlxError(f"{path} is not written: there is no rule to use")
    _write(path, text)
    is_partial = bool(refused or reading.pack.correlations)
    return max(_status(reading), SOME_REFUSED if is_partial else OK)


def _write(path: str, text: str) -> None:
    """Write a file as a whole, or to standard output; a device stays a device."""
    if path in ("-", "/dev/stdout"):
        sys.stdout.write(text)
        return
    data = text.encode("utf-8", "surrogateescape")
    try:
        if _is_replaced(path):
            _replace(path, data)
        else:
            root_files.write_typed(path, data)
    except OSError as error:
        raise SysmonlxError(f"{path} is not written: {error.strerror}") from error


def _is_replaced(path: str) -> bool:
    """Tell whether no more than a file stands there; a link is its target."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _replace(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.new"
    file = open(temporary, "xb")  # noqa: SIM115 (removed only where it was made here)
    try:
        with file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _explain(options: argparse.Namespace) -> int:
    path, wanted = options.rule, ""
    if not os.path.lexists(path):
        path, _, wanted = path.partition(":")
    reading = _read([path])
    found = [
        (at, each)
        for at, each in enumerate(reading.pack.rules)
        if not wanted or wanted in (each.id, each.title, each.name)
    ]
    if not found:
        raise SysmonlxError(f"{path}: there is no rule {wanted!r} to use")
    return trying.explain(found, reading.outlines, options.events, sys.stdout)


def _say(text: str) -> None:
    print(f"{NAME}: {visible(text)}", file=sys.stderr)
