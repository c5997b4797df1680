# SPDX-License-Identifier: MIT
"""`sysmonlx-logview`: shows what logs of events say.

Called by the name sysmonLogView, or with --sysmonLogView before all else, it is that
program of Sysmon for Linux.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from sysmonlx import __version__
from sysmonlx.host import inherited
from sysmonlx.viewer import html, sources, story, sysmon_form, tree_text
from sysmonlx.viewer.forms import form_of
from sysmonlx.viewer.moments import local_clock
from sysmonlx.viewer.options import (
    USAGE,
    OptionError,
    Options,
    parse,
    parse_as_sysmon,
)
from sysmonlx.viewer.read import EventLine, bounded_lines, read_events
from sysmonlx.viewer.rows import LEAST_WIDTH, Style
from sysmonlx.viewer.rules_found import RuleCounts
from sysmonlx.viewer.select import Selection
from sysmonlx.viewer.signs import ASCII, UNICODE
from sysmonlx.viewer.terminal import safe
from sysmonlx.viewer.timeline import Timeline
from sysmonlx.viewer.tree import EVENT_LIMIT, Forest, TooManyEventsError
from sysmonlx.viewer.verify import Verifier

OK, UNREADABLE, USAGE_ERROR, FINDINGS, INTERRUPTED = 0, 1, 2, 3, 130

NAME = "sysmonlx-logview"
SYSMON_NAME = "sysmonLogView"

#: Unreadable lines that are told one by one; the others are counted.
_TOLD = 100


class Problems:
    """Tells on standard error what could not be read, a line each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0
        self.has_events = self.has_text = False

    def tell(self, where: str, reason: str) -> None:
        """Tell one, unless there were many."""
        self._count += 1
        if self._count <= _TOLD:
            self._say(f"{where}: {reason}")

    def _say(self, text: str) -> None:
        self._stream.write(f"{NAME}: {safe(text)}\n")

    def status(self) -> int:
        """Tell what is left to tell; return the exit status."""
        if self.has_text and not self.has_events and not self._count:
            self._say("there is no event in what was read; the form ecs is not read")
        if self._count > _TOLD:
            self._say(f"{self._count - _TOLD} more could not be read")
        return UNREADABLE if self._count else OK


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    inherited.put_right()
    for stream in (sys.stdout, sys.stderr):
        # At the start of an interpreter both are io.TextIOWrapper.
        how = "backslashreplace"
        stream.reconfigure(errors=how)  # type: ignore[union-attr]  # see above
    given = sys.argv[1:] if arguments is None else arguments
    is_sysmon = os.path.basename(sys.argv[0]) == SYSMON_NAME
    if given[:1] == [f"--{SYSMON_NAME}"]:
        is_sysmon, given = True, given[1:]
    try:
        status = _as_sysmon(given) if is_sysmon else _run(parse(given))
        sys.stdout.flush()
    except OptionError as error:
        print(f"{NAME}: {safe(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        print(f"{NAME}: {safe(_reason(error))}", file=sys.stderr)
        return UNREADABLE
    return status


def _reason(error: OSError) -> str:
    name = error.filename
    text = os.fsdecode(name) if isinstance(name, str | bytes) else "output"
    return f"{text}: {error.strerror or error}"


def _as_sysmon(arguments: list[str]) -> int:
    options = parse_as_sysmon(arguments)
    if options.wants_help or options.wants_settings:
        print(USAGE if options.wants_help else sysmon_form.settings(options), end="")
        return OK
    with sources.opened(sources.STDIN, sys.stdout.flush) as file:
        for event in sysmon_form.read_lines(bounded_lines(file)):
            if event is None:
                print(sysmon_form.NOT_PARSED, file=sys.stderr)
            elif sysmon_form.takes(options, event):
                text = sysmon_form.printed(options, event.event_id, event.fields)
                sys.stdout.write(text)
    return OK


def _run(options: Options) -> int:
    if options.wants_version:
        print(f"{NAME} {__version__}")
        return OK
    if options.wants_help or options.wants_settings:
        print(USAGE if options.wants_help else sysmon_form.settings(options), end="")
        return OK
    problems = Problems(sys.stderr)
    problems.has_text = bool(options.files)  # what somebody names is not expected empty
    events = _events(options, problems)
    show = _VIEWS.get(options.view, _list)
    status = show(options, events)
    return problems.status() or status


def _list(options: Options, events: Iterator[EventLine]) -> int:
    """Print the events that are asked for, one after the other."""
    head, text_of = form_of(options, _style(options))
    takes = Selection(options).takes
    write = sys.stdout.write
    write(head)
    for event in events:
        if takes(event):
            write(text_of(event))
    return OK


def _tree(options: Options, events: Iterator[EventLine]) -> int:
    """Print the processes of the events that are asked for."""
    forest = _forest(events, Selection(options).takes)
    lines = tree_text.lines(forest, full=options.is_full)
    _print(map(tree_text.painted, lines) if _has_colour(options) else lines)
    return OK


def _story(options: Options, events: Iterator[EventLine]) -> int:
    """Print a report of each process with a GUID, a pid, or a name."""
    takes = Selection(options).takes
    forest = _forest((each for each in events if takes(each)), lambda event: True)
    try:
        found = story.matching(forest, options.story)
    except story.ManyProcessesError as error:
        raise OptionError(f"--story {options.story}: {error}") from None
    if not found:
        text = "no process has this GUID, pid or name; --tree shows all"
        raise OptionError(f"--story {options.story}: {text}")
    for process in found:
        _print(story.lines(forest, process, full=options.is_full))
    return OK


def _page(options: Options, events: Iterator[EventLine]) -> int:
    """Write the page, which its owner alone may read."""
    forest = _forest(events, Selection(options).takes)
    text = html.page(forest, options.title, options.limit)
    if options.page == sources.STDIN:
        sys.stdout.write(text)
        return OK
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(options.page, flags, 0o600), "w", encoding="utf-8") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fchmod(file.fileno(), 0o600)
        file.write(text)
    return OK


def _forest(
    events: Iterator[EventLine], is_asked: Callable[[EventLine], bool]
) -> Forest:
    forest = Forest()
    try:
        for event in events:
            forest.add(event, is_asked(event))
    except TooManyEventsError:
        raise OptionError(
            f"more than {EVENT_LIMIT:,} events: take a shorter time, or fewer of them"
        ) from None
    forest.link()
    return forest


def _timeline(options: Options, events: Iterator[EventLine]) -> int:
    return _counted(options, events, Timeline())


def _rules(options: Options, events: Iterator[EventLine]) -> int:
    return _counted(options, events, RuleCounts())


def _counted(
    options: Options, events: Iterator[EventLine], counts: Timeline | RuleCounts
) -> int:
    takes = Selection(options).takes
    for event in events:
        if takes(event):
            counts.add(event)
    _print(counts.lines())
    return OK


def _verify(options: Options, events: Iterator[EventLine]) -> int:
    """Print gaps in the record ids."""
    if not Selection(options).is_all():
        raise OptionError("--verify looks at all lines: give it no conditions")
    verifier = Verifier()
    for event in events:
        verifier.add(event)
    _print(verifier.lines())
    return FINDINGS if verifier.has_findings else OK


_VIEWS = {
    "tree": _tree,
    "story": _story,
    "timeline": _timeline,
    "rules": _rules,
    "verify": _verify,
    "html": _page,
}


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _style(options: Options) -> Style:
    """Return how rows look: cut at the width of a terminal, whole elsewhere."""
    width = options.width
    if width is None:
        width = _terminal_width() if sys.stdout.isatty() else 0
    return Style(
        width=max(width, LEAST_WIDTH) if width else 0,
        has_colour=_has_colour(options),
        signs=ASCII if options.is_ascii or not _has_unicode() else UNICODE,
        clock=local_clock() if options.is_local else None,
    )


def _has_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0


def _has_colour(options: Options) -> bool:
    if options.colour == "auto":
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return sys.stdout.isatty() and not plain
    return options.colour == "always"


def _events(options: Options, problems: Problems) -> Iterator[EventLine]:
    """Yield all events of what is to be read; tell what is not readable."""
    flush: Callable[[], None] = sys.stdout.flush
    if options.is_journal:
        try:
            with sources.journal(flush) as file:
                yield from _events_in("the journal", bounded_lines(file), problems)
        except sources.ReadingError as error:
            problems.tell("the journal", str(error))
    for name in sources.named(_names(options)):
        try:
            with sources.opened(name, flush) as file:
                yield from _events_in(name, bounded_lines(file), problems)
        except sources.ReadingError as error:
            problems.tell(name, f"{error}{_hint(name)}")


def _hint(name: str) -> str:
    """Return how to search for a word that was given in the place of a file."""
    is_word = "/" not in name and "." not in name and not os.path.lexists(name)
    return f"; to look for this text: -w {name}" if is_word else ""


def _names(options: Options) -> list[str]:
    """Return what is to be read beside the journal."""
    if options.files or options.is_journal:
        return options.files
    found = sources.usual()
    if found is None:
        raise OptionError("name a file, or --journal; see --help")
    if found != sources.STDIN:
        print(f"{NAME}: reading {found}", file=sys.stderr)
    return [found]


def _events_in(
    name: str, lines: Iterator[bytes], problems: Problems
) -> Iterator[EventLine]:
    for item in read_events(lines):
        if isinstance(item, EventLine):
            problems.has_events = True
            yield item
        elif item.is_event:
            problems.tell(f"{name}:{item.line}", item.reason)
        else:
            problems.has_text = True
