# SPDX-License-Identifier: MIT
"""The live view on a terminal: what events, keys and the clock make of its screen.

Nothing here reads or writes: each method returns what is to be written. There are three
modes: rows that scroll as they come; a list to walk in, while events are kept; lines of
text (details, help), which go away with the next key that has no meaning for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from sysmonlx.schema.event_types import EventType
from sysmonlx.viewer.board import Board
from sysmonlx.viewer.choice import Choice
from sysmonlx.viewer.kinship import Kinship
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.rows import Row, Rows, Style
from sysmonlx.viewer.screen import Screen
from sysmonlx.viewer.scroller import Scroller
from sysmonlx.viewer.status import Counts, Rates, status_line
from sysmonlx.viewer.width import columns, head

#: Events that are kept for redrawing and for the list.
HISTORY = 20_000
#: Events behind the last screen of rows: several may make one row.
_REDRAWN = 4
#: How long a message stands in the status row, in seconds.
_MESSAGE_S = 5.0

#: Keys that a newcomer wants first, and the widths from which all are named, and two.
HINTS, _WIDE, _MEDIUM = ["/ filter", "space pause", "d details", "? help"], 120, 76

HELP = """\
The live view of sysmonlx

  /           filter as you type: curl  image:sh,bash  pid:4242  event:1,3
              path:/etc/*  rule:  level:high  tree:4242  -word  "two words"
              Several: all must hold. Enter keeps it, Esc drops it, Up and
              Down bring back earlier ones
  space       pause: walk in what is kept with the arrow keys, PgUp, PgDn,
              Home, End; space goes on. Events are captured all the while
  d, Enter    all fields of the last row, or of the chosen one; and which
              rule decided
  t           only the tree of that row's process; once more: all
  r           only what is under a rule     l  its level: low, medium, high
  x           also ends of processes that were not shown to start
  c           clear                         s  save what is shown as JSON
  q, Ctrl-C   end; q leaves this text, or the details, as Esc does

Marks:  + program started   - ended     ~ connection     w file made
        x file deleted      ? name      p process access r disk opened
        b eBPF program      E error, loss      s c state, configuration
"""


class World(Protocol):
    """What a console asks the world for."""

    def kind(self, event: LiveEvent) -> EventType:
        """Return an event's type, with all fields that it has."""

    def explain(self, event: LiveEvent) -> list[str]:
        """Return lines that say which rule decided about an event."""

    def save(self, events: Iterable[LiveEvent]) -> str:
        """Write events to a file; return a message of one line."""


class Console:
    """The screen of a live view; `size` is in columns and rows."""

    def __init__(
        self,
        style: Style,
        size: tuple[int, int],
        words: Sequence[str],
        world: World,
        *,
        now_s: float,
        own_pid: str = "",
    ) -> None:
        self._style = replace(style, width=size[0], has_tree=True)
        self._screen = Screen(size)
        self._world = world
        self._kin = Kinship()
        self._choice = Choice(" ".join(words), [*words], self._kin, own_pid)
        self._history: deque[LiveEvent] = deque(maxlen=HISTORY)
        self._rates = Rates(now_s)
        self.counts = Counts()
        self.is_done = False
        """Whether a key asked for the end."""
        self._all_ends = False
        self._message, self._message_s = "", now_s
        self._now_s = now_s
        self._text: list[str] | None = None
        self._text_at = 0
        self._list: list[Row] | None = None
        self._at = self._top = 0
        self._rows = Rows(self._style)
        self._scroller = Scroller(self._screen, self._rows, self.counts)

    # --- what happens

    def enter(self) -> str:
        """Begin."""
        return self._screen.enter() + self._redraw()

    def leave(self) -> str:
        """End."""
        return self._screen.leave()

    def resume(self, size: tuple[int, int]) -> str:
        """Draw all anew: on a screen of this size, or one on which others wrote."""
        self._style = replace(self._style, width=size[0])
        return self._screen.resized(size) + self._redraw()

    @property
    def size(self) -> tuple[int, int]:
        """The size of the screen as it is known here."""
        return self._screen.width, self._screen.height

    def feed(
        self, events: Sequence[LiveEvent], now_s: float, *, may_draw: bool = True
    ) -> str:
        """Take events that happened; `may_draw` is off while the terminal is slow."""
        self._now_s = now_s
        self._rates.add(events, now_s)
        self._history.extend(events)
        self.counts.seen += len(events)
        for event in events:
            if event.event_id == 1:
                self._kin.note(event.values)
        shown = self._choice.taken(events)
        self.counts.shown += len(shown)
        if self._list is not None or self._text is not None:
            return ""
        if not may_draw:
            self._scroller.skip(len(shown))
            return ""
        return self._scroller.show(shown) if shown else ""

    def skip(self, count: int) -> None:
        """Note that `count` events never came here."""
        self.counts.seen += count
        self._scroller.skip(count)

    def key(self, key: str) -> str:
        """Take a key by its name, as `keys.keys_of` gives it."""
        if self._choice.typed is not None:
            before = self._choice.text
            self._choice.key(key)
            return self._filtered() if self._choice.text != before else ""
        if self._text is not None:
            return self._key_in_text(key)
        if self._list is not None and (move := _MOVES.get(key)):
            self._at += move(self._screen.room, len(self._list))
            return self._paint_list()
        do = _KEYS.get(key)
        return do(self) if do else ""

    def status(self, now_s: float) -> str:
        """Draw the status row."""
        self._now_s = now_s
        signs = self._style.signs
        rates = self._rates.text(now_s, signs)
        line = status_line(
            rates,
            self.counts,
            f" {signs.bar} ".join(self._notes()),
            signs,
            self._style.width,
            self._style.has_colour,
        )
        return self._screen.status(line)

    def _notes(self) -> list[str]:
        notes = []
        if self._text is not None:
            notes.append("Esc back")
        elif self._list is not None:
            place = f"{self._at + 1:,} of {len(self._list):,}" if self._list else "none"
            notes.append(f"PAUSED {place}")
            if self._style.width >= _MEDIUM:
                notes += ["d details", "space goes on"]
        notes += self._choice.notes(self._style.signs.cursor, self._style.width // 2)
        if self._message and self._now_s - self._message_s < _MESSAGE_S:
            notes.append(self._message)
        line = self._style.signs.line
        return [line(note) for note in notes] or self._hints()

    def _hints(self) -> list[str]:
        """Return which keys are there, as many as there is room for."""
        width = self._style.width
        if width >= _WIDE:
            return HINTS
        return HINTS[:: len(HINTS) - 1] if width >= _MEDIUM else HINTS[-1:]

    def _redraw(self) -> str:
        """Draw what the mode shows, from what is kept."""
        self._rows = Rows(self._style)
        if self._text is not None:
            return self._paint_text()
        if self._list is not None:
            return self._paint_list()
        self._scroller.begin(self._rows, all_ends=self._all_ends)
        return self._scroller.redraw(self._latest())

    def _latest(self) -> Iterable[LiveEvent]:
        """Yield the last events that are shown, enough for a screen, in order."""
        takes, enough = self._choice.takes, _REDRAWN * self._screen.room
        found = islice(filter(takes, reversed(self._history)), enough)
        return reversed([*found])

    def _filtered(self) -> str:
        """Draw what another filter chooses."""
        if self._list is not None:
            self._fill_list()
        return self._redraw()

    # --- the list

    def _fill_list(self) -> None:
        board, takes = Board(self._rows, all_ends=self._all_ends), self._choice.takes
        taken = [board.take(event) for event in self._history if takes(event)]
        self._list = [each.row for each, is_new in taken if each is not None and is_new]
        self._at = self._top = max(0, len(self._list) - 1)

    def _paint_list(self) -> str:
        found, room = self._list or [], self._screen.room
        self._at = min(max(self._at, 0), max(0, len(found) - 1))
        self._top = min(self._top, self._at, max(0, len(found) - room))
        self._top = max(self._top, self._at - room + 1, 0)
        plain = Rows(replace(self._style, has_colour=False))
        lines = [self._rows.line(row) for row in found[self._top : self._top + room]]
        if found:
            at = self._at - self._top
            lines[at] = self._chosen(plain.line(found[self._at]))
        return self._screen.paint(lines)

    def _chosen(self, text: str) -> str:
        if not self._style.has_colour:
            return head(f">{text[1:]}", self._style.width)
        return f"\x1b[7m{text}{' ' * (self._style.width - columns(text))}\x1b[0m"

    def _event(self) -> LiveEvent | None:
        """Return the event of the chosen row, or of the last one."""
        rows = self._scroller.rows()[-1:]
        if self._list is not None:
            rows = self._list[self._at : self._at + 1]
        return LiveEvent(rows[0].event_id, rows[0].values) if rows else None

    # --- lines of text

    def _key_in_text(self, key: str) -> str:
        if key in ("interrupt", "s", "c"):  # q leaves the text alone, as in less(1)
            return _KEYS[key](self)
        if move := _MOVES.get(key):
            self._text_at += move(self._screen.room, len(self._text or ()))
            return self._paint_text()
        self._text = None
        return self._redraw()

    def _paint_text(self) -> str:
        lines, room = self._text or [], self._screen.room
        self._text_at = min(max(self._text_at, 0), max(0, len(lines) - room))
        return self._screen.paint(lines[self._text_at : self._text_at + room])

    def _open(self, lines: Iterable[str]) -> str:
        self._text = [part for line in lines for part in _wrapped(line, self.size[0])]
        self._text_at = 0
        return self._paint_text()

    # --- what keys do

    def begin_filter(self) -> str:
        """Begin to type a filter."""
        self._choice.begin()
        return ""

    def pause(self) -> str:
        """Show the list, or go on."""
        if self._list is None:
            self._fill_list()
        else:
            self._list = None
        return self._redraw()

    def go_on(self) -> str:
        """Leave the list."""
        return self.pause() if self._list is not None else ""

    def details(self) -> str:
        """Show all fields of an event, and which rule decided."""
        event = self._event()
        return "" if event is None else self._open(self._lines_of(event))

    def _lines_of(self, event: LiveEvent) -> Iterable[str]:
        kind = self._world.kind(event)
        signs = self._style.signs
        yield f"Event {kind.id}: {kind.title}"
        yield from (signs.free(line) for line in self._world.explain(event))
        yield ""
        names = [field.name for field in kind.fields]
        # Of a configuration that has gone an event may have other fields at its end.
        fields = [*zip(names, event.values, strict=False)]
        room = max(len(name) for name in names)
        for name, value in fields:
            if value != "-":
                yield f"  {name:<{room}}  {signs.free(value)}"
        unknown = [name for name, value in fields if value == "-"]
        if unknown:
            yield ""
            yield f"  Not known: {', '.join(unknown)}"

    def tree(self) -> str:
        """Show the tree of an event's process alone; once more: everything."""
        event = self._event()
        if event is None:
            return ""
        row = Row(event.event_id, event.values, 0)
        word = f"tree:{row.guid}"
        self._choice.use("" if self._choice.text == word or row.guid == "-" else word)
        return self._filtered()

    def ends(self) -> str:
        """Show also ends of processes that were not shown to start, or not."""
        self._all_ends = not self._all_ends
        return self._filtered()

    def tagged(self) -> str:
        """Show only what is under a rule, or all."""
        self._choice.only_tagged = not self._choice.only_tagged
        return self._filtered()

    def level(self) -> str:
        """Ask for the next level."""
        self._choice.level_up()
        return self._filtered()

    def clear(self) -> str:
        """Forget what is kept."""
        self._history.clear()
        self._text = None
        return self._filtered()

    def save(self) -> str:
        """Save what is shown."""
        takes = self._choice.takes
        found = [event for event in self._history if takes(event)]
        self._message = self._world.save(found) if found else "nothing to save"
        self._message_s = self._now_s
        return ""

    def help(self) -> str:
        """Show the help."""
        return self._open(HELP.splitlines())

    def end(self) -> str:
        """Ask for the end."""
        self.is_done = True
        return ""

    def repaint(self) -> str:
        """Draw everything anew."""
        return self.resume(self.size)


#: What keys do, besides moving.
_KEYS: dict[str, Callable[[Console], str]] = {
    "/": Console.begin_filter,
    " ": Console.pause,
    "escape": Console.go_on,
    "d": Console.details,
    "enter": Console.details,
    "t": Console.tree,
    "x": Console.ends,
    "r": Console.tagged,
    "l": Console.level,
    "c": Console.clear,
    "s": Console.save,
    "?": Console.help,
    "q": Console.end,
    "interrupt": Console.end,
    "redraw": Console.repaint,
}
#: How far a key moves, by the room on the screen and the number of lines.
_MOVES: dict[str, Callable[[int, int], int]] = {
    "up": lambda room, count: -1,
    "down": lambda room, count: 1,
    "page up": lambda room, count: 1 - room,
    "page down": lambda room, count: room - 1,
    "home": lambda room, count: -count,
    "end": lambda room, count: count,
}


def _wrapped(line: str, width: int) -> Iterable[str]:
    """Yield the parts of a line that is longer than the screen is wide."""
    while columns(line) > width:
        part = head(line, width)
        yield part
        line = "    " + line[len(part) :]
    yield line
