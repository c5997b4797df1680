# SPDX-License-Identifier: MIT
"""Foreign text for a terminal.

Names of files and arguments are chosen by other programs. They must not reach the
terminal as commands: control characters, bytes that are no UTF-8, and characters that
reorder or hide text are printed as escapes (`safe`). They must not look like another
field of the line either (`word`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sysmonlx.output.escape import spelt_out, visible
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


def all_fields(event_id: int, values: Sequence[str]) -> str:
    """Return an event as Sysmon's debug mode does: its name, a line a field."""
    event = EVENT_BY_ID[event_id]
    lines = [f"Event {event.name}"]
    for field, value in zip(event.fields, values, strict=False):
        lines.append(f"\t{field.name}: {safe(value)}")
    return "\n".join(lines)


def summary(counts: Mapping[int, int], lost: int, cpu_s: float, wall_s: float) -> str:
    """Return the number of events by type, most first, the losses, and the CPU time.

    `counts` is by event id. `cpu_s` is the processor time that was used, and `wall_s`
    the time that went by, both in seconds since the start.
    """
    total = sum(counts.values())
    named = [(EVENT_BY_ID[number].title, n) for number, n in counts.items()]
    lines = ["", f"{total} events in {wall_s:.1f} s"]
    for name, count in sorted(named, key=lambda item: (-item[1], item[0])):
        lines.append(f"{count:>10}  {name}")
    lines.append(f"{lost} lost")
    share = 100 * cpu_s / wall_s if wall_s > 0 else 0.0
    lines.append(f"CPU used: {cpu_s:.2f} s ({share:.1f} % of one CPU)")
    return "\n".join(lines)


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
