# SPDX-License-Identifier: MIT
"""The command line of `sysmonlx-logview`, and of the same program as `sysmonLogView`.

The options of one letter are those of Sysmon for Linux's sysmonLogView, with the same
grammar. A wrong value that it takes in silence (a time that is none) is refused here by
name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from getopt import GetoptError, getopt, gnu_getopt
from itertools import chain

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import (
    DETAILS,
    canonical,
    is_field_test,
)
from sysmonlx.viewer.moments import NO_MOMENT, moment, written_moment
from sysmonlx.viewer.rows import LEAST_WIDTH
from sysmonlx.viewer.words import check

FORMS = ("rows", "sysmon", "json", "csv", "markdown")
VIEWS = ("tree", "timeline", "rules", "verify")

USAGE = """\
Usage: sysmonlx-logview [options] [FIELD=VALUE ...] [FILE | DIRECTORY | -] ...

Reads events of sysmonlx and of Sysmon for Linux: log files (plain, .gz, .xz, .bz2),
JSON of collectors, the journal. Without FILE: standard input if it is no terminal.

Which events
  -e LIST               these events: ids or names, 1,3 or ProcessCreate
  -r MIN,MAX            these record ids; either side may be empty
  -t START,END          written in this time, UTC, as "2026-01-05 10:00[:05[.201]]"
  -f FIELD=V1,V2        of those that have FIELD, the ones with one of these values
  --since, --until WHEN the same as -t: also 10:00, today, yesterday, -2h, -30m
  -w WORD               FIELD=VALUE, FIELD!=VALUE, FIELD~VALUE (contains),
                        "FIELD CONDITION VALUE" as in a configuration
                        ("Image end with /curl"), field:A,B with * and ?, rule:,
                        level:high, tree:PID, no:WORD as for sysmonlx -t, or a text
                        that any field contains
  FIELD=VALUE           the same as -w, if it begins with the name of a field

How they are shown
  --form FORM           rows (default), sysmon, json, csv, markdown
  --fields A,B          the columns of csv and markdown
  -E ID=F1,F2           form sysmon: of this event only these fields
  -X                    form sysmon: an empty line after each event
  --colour WHEN         auto (default), always, never
  --ascii               rows: signs of ASCII alone, all else spelt out
  --local               rows: times of this machine's zone (TZ), not UTC
  --width N             rows: cut at N columns; 0, or no terminal: not cut

Instead of a list
  --tree                the processes found, their ancestors, descendants and events
  --story WHO           one process as a report in Markdown: its pid, GUID or name
  --timeline            how many events when, by event and rule
  --rules               how often each rule hit
  --verify              missing and repeated record ids; 3 if any is not explained
  --html FILE           one page for a browser, in one file; --title TEXT, --limit N
  --full                shorten nothing in --tree and --story

  --journal             read the journal of this machine
  -T                    show the settings and end
  -h, --help            this text
  --version             the version of this program

Exit status: 0; 1 something could not be read; 2 usage; 3 findings of --verify.
"""

_SHORT = "e:r:t:f:E:XThw:?"
_LONG = (
    *("since=", "until=", "form=", "fields=", "colour=", "tree", "story=", "timeline"),
    *("rules", "verify", "html=", "title=", "limit=", "full", "journal", "help"),
    *("ascii", "local", "width=", "version"),
)


class OptionError(Exception):
    """A command line that cannot be used: one line of text."""


@dataclass(slots=True)
class Options:
    """The options of one command line.

    Times are texts "YYYY-MM-DD HH:MM:SS.mmm" in UTC. They sort as texts.
    """

    event_ids: set[int] = field(default_factory=set)
    first_record: int = 0
    last_record: int | None = None
    start: str = NO_MOMENT
    end: str = NO_MOMENT
    equal: dict[str, set[str]] = field(default_factory=dict)
    shown: dict[int, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    has_blank_lines: bool = False
    form: str = ""
    columns: tuple[str, ...] = ()
    colour: str = "auto"
    is_ascii: bool = False
    is_local: bool = False
    width: int | None = None
    view: str = ""
    story: str = ""
    page: str = ""
    title: str = ""
    limit: int = 200_000
    is_full: bool = False
    is_journal: bool = False
    wants_help: bool = False
    wants_version: bool = False
    wants_settings: bool = False
    files: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str], now: datetime | None = None) -> Options:
    """Return what a command line asks for; `now` is in UTC.

    Raises:
        OptionError: it cannot be used.
    """
    try:
        pairs, rest = gnu_getopt(arguments, _SHORT, _LONG)
    except GetoptError as error:
        raise OptionError(f"{error.msg}, see --help") from None
    options = Options()
    for name, value in pairs:
        _take(options, name, value, now or datetime.now(UTC))
    for word in rest:
        if is_field_test(word):
            _word(options, word)
        else:
            options.files.append(word)
    for field_name in (*options.equal, *chain.from_iterable(options.shown.values())):
        _canonical(field_name)
    if not options.form:
        options.form = "sysmon" if options.shown or options.has_blank_lines else "rows"
    return options


def parse_as_sysmon(arguments: Sequence[str]) -> Options:
    """Return what a command line asks sysmonLogView for; unknown options ask for help.

    Times that cannot be read are no limit, numbers that cannot be read are 0.
    """
    options = Options(form="sysmon")
    try:
        pairs, _ = getopt(list(arguments), "e:r:t:f:E:XTh?")
    except GetoptError:
        options.wants_help = True
        return options
    for name, value in pairs:
        if name == "-t":
            start, _, end = value.partition(",")
            options.start = written_moment(start) or NO_MOMENT
            options.end = written_moment(end) or NO_MOMENT
            continue
        try:
            _take(options, name, value, datetime.now(UTC))
        except OptionError:
            options.wants_help = True
    return options


def _take(options: Options, name: str, value: str, now: datetime) -> None:
    """Take one option."""
    if name in ("-h", "-?", "--help"):
        options.wants_help = True
    elif name.removeprefix("--") in VIEWS:
        _view(options, name.removeprefix("--"))
    elif name in _FLAGS:
        setattr(options, _FLAGS[name], True)
    elif name in ("--since", "--until"):
        _set_time(options, name, value, now)
    else:
        _WITH_VALUE[name](options, value)


def _view(options: Options, view: str) -> None:
    if options.view not in ("", view):
        raise OptionError(f"--{options.view} and --{view} cannot be had in one run")
    options.view = view


_FLAGS = {
    "-X": "has_blank_lines",
    "-T": "wants_settings",
    "--full": "is_full",
    "--journal": "is_journal",
    "--ascii": "is_ascii",
    "--local": "is_local",
    "--version": "wants_version",
}


def _set_time(options: Options, name: str, value: str, now: datetime) -> None:
    found = moment(value, now)
    if found is None:
        raise OptionError(f"{name} {value}: not a time, see --help")
    setattr(options, "start" if name == "--since" else "end", found)


def _event_ids(options: Options, value: str) -> None:
    for word in value.split(","):
        found = _named(word)
        if not found:
            raise OptionError(f"-e {word}: neither an event's id nor its name")
        options.event_ids |= found


def _named(word: str) -> set[int]:
    """Return the ids that a number, or a name of events, stands for."""
    number = c_number(word)
    if number is not None:
        return {number}
    names = ((event.id, event) for event in EVENT_BY_ID.values())
    return {
        event_id
        for event_id, event in names
        if word.lower() in (str(event.tag).lower(), event.title.lower())
    }


def c_number(text: str) -> int | None:
    """Return a number as C writes it, in decimal, 0x.. or 0.., None if it is none."""
    text = text.strip()
    if re.fullmatch("0[xX][0-9a-fA-F]{1,16}", text):
        return int(text, 16)
    if re.fullmatch("0[0-7]{1,20}", text):
        return int(text, 8)
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else None


def _record_ids(options: Options, value: str) -> None:
    first, _, last = value.partition(",")
    for text in (first, last):
        if text and c_number(text) is None:
            raise OptionError(f"-r {value}: not MIN,MAX")
    if first:
        options.first_record = c_number(first) or 0
    if last:
        options.last_record = c_number(last)


def _times(options: Options, value: str) -> None:
    start, _, end = value.partition(",")
    for name, text in (("start", start), ("end", end)):
        found = written_moment(text)
        if text and found is None:
            raise OptionError(f"-t {text}: not a time like 2026-01-05 10:00")
        if found:
            setattr(options, name, found)


def _equal(options: Options, value: str) -> None:
    name, sign, values = value.partition("=")
    if not name or not sign:
        raise OptionError(f"-f {value}: not FIELD=VALUE,VALUE")
    options.equal.setdefault(name, set()).update(values.split(","))


def _shown(options: Options, value: str) -> None:
    number, _, names = value.partition("=")
    event_id = c_number(number)
    if event_id is None or not names:
        raise OptionError(f"-E {value}: not ID=FIELD,FIELD")
    options.shown.setdefault(event_id, []).extend(names.split(","))


def _canonical(name: str) -> str:
    try:
        return canonical(name)
    except ValueError as error:
        raise OptionError(str(error)) from None


def _word(options: Options, value: str) -> None:
    try:
        check([value])
    except ValueError as error:
        raise OptionError(str(error)) from None
    options.words.append(value)


def _form(options: Options, value: str) -> None:
    if value not in FORMS:
        raise OptionError(f"--form {value}: one of {', '.join(FORMS)}")
    options.form = value


def _columns(options: Options, value: str) -> None:
    names = filter(None, value.split(","))
    options.columns = tuple(n if n == DETAILS else _canonical(n) for n in names)


def _colour(options: Options, value: str) -> None:
    if value not in ("auto", "always", "never"):
        raise OptionError(f"--colour {value}: auto, always or never")
    options.colour = value


def _story(options: Options, value: str) -> None:
    _view(options, "story")
    options.story = value


def _page(options: Options, value: str) -> None:
    _view(options, "html")
    options.page = value


def _title(options: Options, value: str) -> None:
    options.title = value


def _limit(options: Options, value: str) -> None:
    number = c_number(value)
    if not number:
        raise OptionError(f"--limit {value}: not a number above 0")
    options.limit = number


def _width(options: Options, value: str) -> None:
    number = c_number(value)
    if number is None or 0 < number < LEAST_WIDTH:
        raise OptionError(f"--width {value}: 0, or a number from {LEAST_WIDTH} on")
    options.width = number


_WITH_VALUE: dict[str, Callable[[Options, str], None]] = {
    "-e": _event_ids,
    "-r": _record_ids,
    "-t": _times,
    "-f": _equal,
    "-E": _shown,
    "-w": _word,
    "--form": _form,
    "--fields": _columns,
    "--colour": _colour,
    "--story": _story,
    "--html": _page,
    "--title": _title,
    "--limit": _limit,
    "--width": _width,
}
