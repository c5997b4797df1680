# SPDX-License-Identifier: MIT
"""One row an event: time, mark, pid, user, who did what, and the rule behind it.

    12:01:07.301 ~    4242 alice    └ curl tcp 10.0.0.5:50122 → 93.184.216.34:443

`Rows.row` makes the parts of a row of an event, `Rows.line` the text of it: cut to a
width, or whole. Both the live view and `sysmonlx-logview` show these. `bodies` has what
differs between events.

Text that a row adds behind that of an event begins with two blanks, and no text of an
event holds two blanks in sequence (`signs.Signs.free`): no name can forge an addition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.bodies import BODIES, Body
from sysmonlx.viewer.fields import PLACES
from sysmonlx.viewer.signs import UNICODE, Signs
from sysmonlx.viewer.what import mark, short_rule
from sysmonlx.viewer.width import columns, cut, cut_middle, padded
from sysmonlx.viewer.width import head as beginning

#: Levels of a rule, the least first; "" is a rule that says none.
LEVELS = ("", "low", "medium", "high", "critical")

_TIME, _USER, _PID, _TAG = 12, 8, 7, 40
#: Columns that the name of a rule keeps where the main part wants them.
_LEAST_TAG = 16
#: The characters around the name of a rule.
_AROUND = "  []"
#: Names of rules and users whose texts are kept.
_KEPT = 1000
#: From this width on the rule stands at the right edge.
_WIDE = 100
#: From these widths on a row has the user and milliseconds, and the pid.
_MEDIUM, _NARROW = 60, 40
#: From this width on a start without a row above it has its parent.
_PARENT = 72
#: Columns of a time without milliseconds.
_SHORT_TIME = 8
#: Levels of the tree that are indented, and the columns of a row for each.
_DEPTH, _LEVEL_COLUMNS = 8, 10
#: Rows are cut at no less than this: time and mark have room.
LEAST_WIDTH = 20
_LEVEL = re.compile(r"(?:^|,)level=(low|medium|high|critical)(?:,| \+|$)")
_TITLE = re.compile(r"(?:^|,)sigma=([^,]*)")
_is_time = re.compile(r"[0-9:.]{12}").fullmatch
_is_pid = re.compile(r"[0-9]{1,10}").fullmatch
_MORE = re.compile(r"(?: \+(\d+))$")

_GREY, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = 90, 31, 32, 33, 34, 35, 36
#: Colours by event, as numbers of ECMA-48; those of all others is blue.
_COLOURS = {
    **{1: _GREEN, 5: _GREY, 3: _CYAN, 22: _CYAN, 11: _YELLOW, 2: _YELLOW, 15: _YELLOW},
    **{23: _MAGENTA, 26: _MAGENTA, 25: _RED, 255: _RED},
}
_LEVEL_COLOURS = {"critical": "1;7;31", "high": "7;31", "medium": "33", "low": ""}


@dataclass(frozen=True, slots=True)
class Style:
    """How rows look. `width` is in columns, 0: rows are never cut.

    `clock` makes a local time of a UtcTime; None: times stay in UTC.
    """

    width: int = 0
    has_colour: bool = False
    has_tree: bool = False
    signs: Signs = UNICODE
    clock: Callable[[str], str] | None = None


class Row:
    """The parts of a row; `notes` and `count` may still change."""

    __slots__ = (
        *("body", "count", "depth", "event_id", "guid", "is_start", "mark"),
        *("note", "pid", "rule", "time", "user", "values"),
    )

    def __init__(self, event_id: int, values: Sequence[str], depth: int) -> None:
        rule, time, guid, pid, user = _COMMON[event_id](values)
        self.event_id = event_id
        self.values = values
        self.depth = depth
        self.is_start = event_id == 1
        self.mark = mark(event_id)
        self.time, self.guid, self.pid = time, guid, pid
        self.user, self.rule = user, rule
        self.body = Body("", "")
        self.note = ""
        self.count = 1


def _common(event_id: int) -> Callable[[Sequence[str]], tuple[str, ...]]:
    """Return the picker of rule, time, GUID, pid and user of an event."""
    places = PLACES[event_id]
    wanted = [
        ("RuleName",),
        ("UtcTime",),
        ("ProcessGuid", "SourceProcessGuid", "SourceProcessGUID"),
        ("ProcessId", "SourceProcessId"),
        ("User", "SourceUser"),
    ]
    found = [next((places[n] for n in names if n in places), None) for names in wanted]
    if None not in found:
        return itemgetter(*found)
    return lambda values: tuple("-" if at is None else values[at] for at in found)


_COMMON = {event_id: _common(event_id) for event_id in EVENT_BY_ID}


def level_of(rule: str) -> str:
    """Return the level that the name of a rule says, else an empty text."""
    found = _LEVEL.search(rule) if "level=" in rule else None
    return found[1] if found else ""


def title_of(rule: str) -> str:
    """Return the short name of a rule."""
    found = _TITLE.search(rule) if "sigma=" in rule else None
    if found is None:
        return short_rule(rule)
    more = _MORE.search(rule)
    return found[1] + (more[0] if more and not found[1].endswith(more[0]) else "")


class Rows:
    """Makes rows, all in one style."""

    def __init__(self, style: Style) -> None:
        self.style = style
        width = style.width
        self._has_user = not 0 < width < _MEDIUM
        self._has_pid = not 0 < width < _NARROW
        self._time_room = _TIME if self._has_user else _SHORT_TIME
        self._levels = min(_DEPTH, width // _LEVEL_COLUMNS) if width else _DEPTH
        self._tags: dict[str, tuple[str, str, str]] = {}
        self._users: dict[str, str] = {}

    def row(self, event_id: int, values: Sequence[str], depth: int = 0) -> Row:
        """Return the parts of the row of an event.

        `depth` counts the shown ancestors of the process, itself included unless the
        row tells its start; it is 0 where the tree shows none.
        """
        row = Row(event_id, values, depth)
        signs = self.style.signs
        is_told = not depth and not 0 < self.style.width < _PARENT
        has_parent = is_told or not self.style.has_tree or signs.is_ascii
        row.body = BODIES[event_id](values, signs, has_parent)
        return row

    def files(self, row: Row, folder: str) -> Body:
        """Return the body of the row of an event for many files of a folder."""
        signs = self.style.signs
        return Body(row.body.head, f"{signs.free(folder)}/{signs.dots}")

    def rule(self, text: str) -> str:
        """Return a line between rows that says what is new from here on."""
        signs, style = self.style.signs, self.style
        text = f"{signs.rule * 2} {signs.free(text)} {signs.rule * 2}"
        text = cut(text, style.width, signs.dots) if style.width else text
        return f"\x1b[2m{text}\x1b[0m" if style.has_colour else text

    def line(self, row: Row) -> str:
        """Return the text of a row, without line feed."""
        style = self.style
        time, fixed, user = self._fixed(row)
        sign, title, level = self._tag(row.rule)
        head, main, _ = row.body
        if row.depth > 0 and style.has_tree:
            head = self._indent(row.depth) + head
        note = self._note(row) if row.note or row.count > 1 else ""
        tag = f"  [{sign}{title}]" if title else ""
        if style.width:
            room = style.width - columns(time) - columns(fixed) - columns(user)
            if (
                note
                and row.count == 1
                and self._is_tight(room, head, main, note, title)
            ):
                note = ""
            head, main, note, tag = self._fitted(
                room, (head, main, note), sign + title if title else ""
            )
        if style.has_colour:
            return self._painted(row, (time, fixed, user, head, main, note, tag), level)
        return f"{time}{fixed}{user}{head}{main}{note}{tag}".rstrip(" ")

    def _is_tight(self, room: int, head: str, main: str, *others: str) -> bool:
        """Return whether the other parts of a row leave too little to its main part.

        Too little is less than half of `room` columns, and less than it needs. A wide
        row always has room for a note.
        """
        if self.style.width >= _WIDE:
            return False
        wide = columns(main)
        left = room - columns(head) - sum(map(columns, others))
        return left < min(wide, room // 2)

    def _fitted(
        self, room: int, parts: tuple[str, str, str], title: str
    ) -> tuple[str, str, str, str]:
        """Return head, main part, note and tag within `room` columns."""
        head, main, note = parts
        dots, is_wide = self.style.signs.dots, self.style.width >= _WIDE
        tag = ""
        if title:
            around = len(_AROUND) - 2 * is_wide
            left = room - columns(head) - min(columns(main), room // 2) - len(note)
            least = min(_LEAST_TAG, room // 2 - around)
            title = cut(title, min(_TAG, max(least, left - around)), dots)
            tag = f"  {title}" if is_wide else f"  [{title}]" if title else ""
            room -= columns(tag)
        wide, noted = columns(head), len(note)
        left = room - wide - columns(main) - noted
        if left < 0:  # something has no room
            head = cut(head, room, dots)
            note = cut(note, room - columns(head), "")
            main = cut_middle(main, room - columns(head) - columns(note), dots)
        elif is_wide and tag:
            note += " " * left
        if left < 0 and is_wide and tag:
            used = columns(head) + columns(main) + columns(note)
            note += " " * (room - used)
        return head, main, note, tag

    def _fixed(self, row: Row) -> tuple[str, str, str]:
        """Return the time, mark and pid, and the user, with blanks around them."""
        signs, clock, is_cut = self.style.signs, self.style.clock, self.style.width > 0
        text = clock(row.time) if clock else row.time
        time, pid = text[11:23], "" if row.pid == "-" else row.pid
        if _is_time(time) is None:
            time = signs.name(time) if time else " " * _TIME
            time = padded(beginning(time, _TIME), _TIME) if is_cut else time
        if not self._has_user:
            time = padded(beginning(time, self._time_room), self._time_room)
        if not self._has_pid:
            return time, f" {row.mark} ", ""
        if pid and _is_pid(pid) is None:
            pid = signs.name(pid)
            pid = beginning(pid, 10) if is_cut else pid
        user = self._user(row.user) if self._has_user else ""
        return time, f" {row.mark} {pid:>{_PID}} ", user

    def _user(self, user: str) -> str:
        """Return the name of a user as a column, and a blank."""
        found = self._users.get(user)
        if found is None:
            if len(self._users) > _KEPT:
                self._users.clear()
            text = "" if user == "-" else self.style.signs.name(user)
            if self.style.width:
                text = cut(text, _USER, self.style.signs.dots)
            found = self._users[user] = padded(text, _USER) + " "
        return found

    def _indent(self, depth: int) -> str:
        signs = self.style.signs
        levels = self._levels
        deep = signs.deep if depth > levels else ""
        return "  " * (min(depth, levels) - 1) + deep + signs.branch

    def _note(self, row: Row) -> str:
        note = f"  {row.note}" if row.note else ""
        times = self.style.signs.times
        return f"{note}  {times}{row.count:,}" if row.count > 1 else note

    def _tag(self, rule: str) -> tuple[str, str, str]:
        """Return level sign, short name and level of a rule."""
        if rule == "-":
            return "", "", ""
        found = self._tags.get(rule)
        if found is None:
            if len(self._tags) > _KEPT:
                self._tags.clear()
            signs, level = self.style.signs, level_of(rule)
            sign = {"critical": signs.critical, "high": signs.high}.get(level, "")
            title = signs.free(title_of(rule))
            found = self._tags[rule] = sign and f"{sign} ", title, level
        return found

    def _painted(self, row: Row, parts: tuple[str, ...], level: str) -> str:
        """Return the parts of a row one behind the other, in colours."""
        time, fixed, user, head, main, note, tag = parts
        colour = _COLOURS.get(row.event_id, _BLUE)
        if user and row.user == "root":
            user = f"\x1b[1m{user}\x1b[0m"
        if row.is_start:
            program, blank, rest = main.partition(" ")
            main = f"\x1b[1m{program}\x1b[0m{blank}{rest}"
        elif main:
            main = f"\x1b[{colour}m{main}\x1b[0m"
        if note and not note.isspace():
            note = f"\x1b[2m{note}\x1b[0m"
        if tag and (sgr := _LEVEL_COLOURS.get(level, "33")):
            tag = f"  \x1b[{sgr}m{tag[2:]}\x1b[0m"
        return (
            f"\x1b[2m{time}\x1b[0m\x1b[{colour}m{fixed[:2]}\x1b[0m{fixed[2:]}{user}"
            f"{head}{main}{note}{tag}"
        )
