# SPDX-License-Identifier: MIT
"""Events for a person to read: one line each, coloured, in the foreground mode.

Names of files and arguments are chosen by other programs. They must not reach the
terminal as commands: control characters, bytes that are no UTF-8, and characters that
reorder or hide text are printed as escapes (`safe`). They must not look like another
field of the line either (`word`). The schema says which fields of an event are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TextIO

from sysmonlx.output.escape import spelt_out, visible
from sysmonlx.schema.event_types import EventType, FieldType, PathOf
from sysmonlx.schema.events import EVENT_BY_ID

#: Bidirectional controls, invisible characters and tags: they make text look otherwise.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
#: Characters that look like the quote that ends a value.
_LIKE_QUOTE = re.compile(
    "[\u02ba\u02dd\u02ee\u05f4\u1cd3\u201c-\u201f\u2033\u2036\u275d\u275e\u301d-\u301f"
    "\uff02\U0001f676-\U0001f678]"
)
#: ASCII characters for which a value is put in quotes.
_SPECIAL = frozenset(' "\\=[]')
_BREAKS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

#: Characters of a value; the middle of a longer one is left out.
_WIDTH = 400


class TerminalView:
    """Prints events to `stream`; `colour` only where that is a terminal."""

    def __init__(self, stream: TextIO, colour: bool) -> None:
        self._stream = stream
        self._colour = colour

    def show(self, event_id: int, values: Sequence[str]) -> None:
        """Print one event as one line: time, name, process, what it did."""
        event = EVENT_BY_ID[event_id]
        names = (field.name for field in event.fields)
        texts = dict(zip(names, values, strict=False))  # fields of ours may follow
        clock = safe(texts["UtcTime"][11:] or texts["UtcTime"])
        name = self._painted(f"{event.title:<18}", event.colour)
        pid, subject = texts.get(_pid_of(event), ""), texts.get(_subject_of(event), "")
        process = (f"{safe(pid):>7}", self._painted(word(subject), 1))
        self._print(" ".join([clock, name, *process, *self._details(event, texts)]))

    def show_all(self, event_id: int, values: Sequence[str]) -> None:
        """Print one event as Sysmon's debug mode does: its name, a line a field."""
        event = EVENT_BY_ID[event_id]
        lines = [f"Event {event.name}"]
        for field, value in zip(event.fields, values, strict=False):
            lines.append(f"\t{field.name}: {safe(value)}")
        self._print("\n".join(lines))

    def summary(
        self, counts: Mapping[int, int], lost: int, cpu_s: float, wall_s: float
    ) -> None:
        """Print the number of events by type, most first, the losses, and the CPU time.

        `counts` is by event id. `cpu_s` is the processor time that was used, and
        `wall_s` the time that went by, both in seconds since the start.
        """
        total = sum(counts.values())
        named = [(EVENT_BY_ID[number].title, n) for number, n in counts.items()]
        lines = ["", self._painted(f"{total} events in {wall_s:.1f} s", 1)]
        for name, count in sorted(named, key=lambda item: (-item[1], item[0])):
            lines.append(f"{count:>10}  {name}")
        text = f"{lost} lost"
        lines.append(self._painted(text, 31) if lost else text)
        share = 100 * cpu_s / wall_s if wall_s > 0 else 0.0
        lines.append(f"CPU used: {cpu_s:.2f} s ({share:.1f} % of one CPU)")
        self._print("\n".join(lines))

    def _print(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text + "\n")
        self._stream.flush()

    def _details(self, event: EventType, texts: Mapping[str, str]) -> list[str]:
        known = ("UtcTime", "RuleName", _pid_of(event), _subject_of(event))
        shown = event.shown or tuple(name for name in texts if name not in known)
        words = [
            self._painted(f"{name}=", 2) + word(texts[name])
            for name in shown
            if texts.get(name, "-") != "-"
        ]
        rule = texts.get("RuleName", "-")
        if rule != "-":
            words.append(self._painted(f"[{word(rule)}]", 33))
        return words

    def _painted(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text


def _pid_of(event: EventType) -> str:
    """Return the field with the pid of the process that acts; empty: there is none."""
    pids = (each.name for each in event.fields if each.type is FieldType.PID)
    return next(pids, "")


def _subject_of(event: EventType) -> str:
    """Return the field with the program that acts, or with the event's subject."""
    programs = (each.name for each in event.fields if each.path is PathOf.PROGRAM)
    return event.subject or next(programs, "")


def safe(text: str) -> str:
    r"""Return `text` for a terminal.

    Bytes that a terminal could take as a command are `\xNN`, characters that one does
    not see are `\uNNNN`.
    """
    return _seen(visible(text))


def word(text: str) -> str:
    r"""Return a value as one word of a line, in double quotes where it needs them.

    Letters and digits of any script need none, nor does any ASCII but blanks and
    `"\=[]`. In quotes a backslash begins an escape: `\\`, `\"`, `\n`, `\r`, `\t`,
    `\xNN` for any other byte, `\uNNNN` for a character that one does not see or that
    looks like a quote. A longer value is shown as its head and its tail, two words with
    three dots between them.
    """
    if len(text) > _WIDTH:
        half = _WIDTH // 2
        return f"{_quoted(text[:half])}...{_quoted(text[-half:])}"
    return text if _is_plain(text) else _quoted(text)


def _is_plain(text: str) -> bool:
    if not text or not text.isprintable() or _UNSEEN.search(text):
        return False
    return not any(
        each in _SPECIAL if each.isascii() else not each.isalnum() for each in text
    )


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_LIKE_QUOTE.sub(_code_point, _seen(spelt_out(text)))}"'


def _seen(text: str) -> str:
    """Return text in which one sees every character, and none breaks the line."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    for old, new in _BREAKS.items():
        text = text.replace(old, new)
    return _UNSEEN.sub(_code_point, text)


def _code_point(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
