# SPDX-License-Identifier: MIT
"""Every action of the command line except the service itself."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from sysmonlx import __version__
from sysmonlx.cli import stats_report
from sysmonlx.cli.exit_status import (
    BAD_PARAMETERS,
    BANNER,
    DIFFERENT,
    FILE_ERROR,
    NOT_ROOT,
    WRITE_ERROR,
)
from sysmonlx.cli.listing import NO_RULES, listing, rule_lines
from sysmonlx.cli.usage import config_help, usage
from sysmonlx.config.child import EMPTY, Reading, read_file, read_options
from sysmonlx.config.command_line import (
    Action,
    CommandLine,
    check_before_action,
    check_before_root,
    check_company,
    parse,
)
from sysmonlx.errors import ControlError, NoAnswerError, UsageError
from sysmonlx.host.lock import exclusive
from sysmonlx.host.root_files import write_typed
from sysmonlx.policy import Policy
from sysmonlx.service import (
    configuration,
    control,
    edits,
    foreground,
    install,
    spawn,
)
from sysmonlx.service.configuration import read_installed, refusal_of
from sysmonlx.service.exit_status import OK
from sysmonlx.service.installed import Paths, command_line_bytes, load_command_line
from sysmonlx.service.messages import Question, Refusal
from sysmonlx.service.situation import (
    advice,
    destinations,
    how_to_see,
    limit_of_lines,
    why_it_is_silent,
    why_it_is_strange,
)

#: The reading of a command line without a file and without switches.
_DEFAULTS = Reading(Policy(), "", EMPTY)

_NO_TERMINAL_WIDTH = 80


def run(words: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    try:
        line = parse(words)
        check_company(line)
    except UsageError:
        _print_banner()
        raise
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
        return _test(line)
    return _run_checked(line, words)


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
    reading = _read(line, paths)
    if reading is not None:
        print(reading.text, end="", flush=True)
        if reading.policy is None:
            if _is_reread(line, paths):
                _tell_daemon(reading, paths)
            print("'sysmonlx -? config' explains the configuration.", file=sys.stderr)
            return BAD_PARAMETERS
        written = _write_developer_files(line, reading.policy)
        if written is not None:
            return written
    if line.action is Action.SCHEMA:
        from sysmonlx.schema.versions import (
            schema_text,  # needs the data of old versions
        )

        print(schema_text(line.values["PrintSchema"]), end="")
        return OK
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


def _read(line: CommandLine, paths: Paths) -> Reading | None:
    """Read the configuration that the command line names or makes."""
    if line.action not in (Action.INSTALL, Action.CONFIGURE):
        return None
    lax = line.has("Lax")
    if _is_reread(line, paths):
        return read_installed(paths)
    if line.config_file is not None:
        return read_file(Path(line.config_file), line.config_options, lax=lax)
    if line.config_options:
        return read_options(line.config_options, lax=lax)
    if line.action is Action.INSTALL and edits.is_installed(paths):
        return _read_installed_or_stored(paths, lax=lax)
    return None


def _read_installed_or_stored(paths: Paths, *, lax: bool) -> Reading:
    """Read what is installed, for an installation that names no other configuration.

    Where the file is refused the daemon runs what it ran before, and so does this.
    """
    reading = read_installed(paths, lax=lax)
    stored = configuration.stored_form(paths)
    if reading.policy is not None or stored is None:
        return reading
    on_disk = install.Installed.at(paths).config  # which stays, whatever it is
    return Reading(stored, reading.text, on_disk or b"")


def _is_reread(line: CommandLine, paths: Paths) -> bool:
    """Tell whether the file is the installed one: it is read with its own switches."""
    if line.config_file is None or line.config_options or line.has("Lax"):
        return False
    if line.action is Action.INSTALL and (line.has("DebugMode") or line.has("BTF")):
        return False
    try:
        return os.path.samefile(line.config_file, paths.config_file)
    except OSError:
        return False


def _write_developer_files(line: CommandLine, policy: Policy) -> int | None:
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
    except OSError:
        return WRITE_ERROR


def _write(name: str, data: bytes) -> int:
    try:
        write_typed(name, data)
    except OSError as error:
        print(f"Error: Cannot write {name}: {error.strerror}", file=sys.stderr)
        return WRITE_ERROR
    return OK


def _act(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading | None
) -> int:
    if line.action is Action.UNINSTALL:
        return _uninstall(line, paths)
    if line.action is Action.CONFIGURE:
        return _configure(line, words, paths, reading)
    if line.action is Action.INSTALL:
        return _install(line, words, paths, reading or _DEFAULTS)
    if line.action is Action.STATS:
        return _stats(line, paths)
    if line.action is Action.WATCH:
        from sysmonlx.cli import watching

        return watching.watch(line, paths)
    if line.action is Action.SELF_TEST:
        from sysmonlx.cli import self_testing  # only this action needs it

        return self_testing.self_test(paths, as_json=line.has_value("SelfTest"))
    print_usage()
    return BAD_PARAMETERS


def _uninstall(line: CommandLine, paths: Paths) -> int:
    how = (line.values["UnInstall"] or "").lower()
    removal = install.uninstall(paths, force=bool(how), purge=how == "purge")
    print("Sysmon stopped.")
    for text in removal.done:
        print(text)
    sys.stdout.flush()
    for text in removal.errors:
        print(f"Error: {text}", file=sys.stderr)
    return FILE_ERROR if removal.errors else OK


def _configure(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading | None
) -> int:
    if line.has("ConfigDefault"):
        print("Updating configuration to use all defaults.", flush=True)
        reading = _DEFAULTS
    if reading is None:
        return _list_rules(paths)
    with exclusive(paths.state_dir):
        if not _is_running(paths, sys.stdout, "Error: Sysmon is not installed."):
            return BAD_PARAMETERS
        if text := why_it_is_strange(paths):
            print(f"Error: {text}; the old rules stay in force.", file=sys.stderr)
            return BAD_PARAMETERS
        if not _is_reread(line, paths):
            kept = ("sysmonlx", *words, *_kept_btf(line, paths))
            if text := edits.keep_edited(paths, reading.data):
                print(f"{text}.", flush=True)
            return _reload(paths, _installed(reading, kept), _policy(reading))
        report = _reopened(paths)
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
            answer = control.request(paths.control_socket, message)
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


def _is_running(paths: Paths, out: TextIO, text: str) -> bool:
    """Tell whether the daemon answers; print why not, `text` where none is there."""
    if control.is_running(paths.control_socket):
        return True
    print(why_it_is_silent(paths) or text, file=out)
    return False


def _in_force(policy: Policy) -> str:
    count = len(policy.ruleset.elements)
    if not count and not policy.source:
        return "Now in force: the built-in defaults, every process start and end."
    name = policy.source or "the built-in defaults"
    return f"Now in force: {name} ({count} event {'rule' if count == 1 else 'rules'})."


def _list_rules(paths: Paths) -> int:
    if not _is_running(paths, sys.stdout, "Sysmon is not running"):
        return BAD_PARAMETERS
    policy = configuration.stored_form(paths)
    print(listing(policy) if policy else "No config to display\n", end="")
    return OK


def _policy(reading: Reading) -> Policy:
    assert reading.policy is not None, "a refused configuration ends the program"
    return reading.policy


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


def _install(
    line: CommandLine, words: list[str], paths: Paths, reading: Reading
) -> int:
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
    given = ("sysmonlx", *words)
    if not _is_bare(line) and not _is_reread(line, paths):
        return given
    kept = load_command_line(paths.command_line_file)
    if not kept or line.has("DebugMode"):
        return kept or given
    added = ("-lax",) if line.has("Lax") and "-lax" not in kept else ()
    if btf := line.values.get("BTF"):
        return (*_without_btf(kept), *added, "-btf", btf)
    return (*kept, *added)


def _stats(line: CommandLine, paths: Paths) -> int:
    if not _is_running(paths, sys.stderr, "Sysmon is not running"):
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


def _test(line: CommandLine) -> int:
    """Try events on a configuration; no root, no daemon."""
    from sysmonlx.cli import replay  # what only this action needs
    from sysmonlx.viewer.read import bounded_lines
    from sysmonlx.viewer.sources import STDIN, ReadingError, opened

    name = str(line.values["Test"])
    reading = read_file(Path(name), line.config_options, lax=line.has("Lax"))
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
    """Yield lines up to an error; what was read is judged all the same."""
    from sysmonlx.viewer.sources import ReadingError

    try:
        yield from lines
    except ReadingError as error:
        errors.append(str(error))
