# SPDX-License-Identifier: MIT
"""The last row of the live view: how much happens, what makes it, what was lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sysmonlx.viewer.fields import PLACES, AnyEvent
from sysmonlx.viewer.signs import Signs
from sysmonlx.viewer.what import base_name, mark
from sysmonlx.viewer.width import columns, cut

#: Rates are means over this time in seconds.
_MEAN_S = 10
_IMAGES = {
    event_id: places.get("Image", places.get("SourceImage", -1))
    for event_id, places in PLACES.items()
}
#: Marks and images that are named.
_MARKS, _TOP = 5, 2
#: Columns of what stands at the ends of the row.
_EDGES = 6
_COLOUR = 36


@dataclass(slots=True)
class _Second:
    number: int
    events: Counter[int] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)


class Rates:
    """Events of the last seconds, by event and by the program that made them."""

    def __init__(self, now_s: float) -> None:
        self._begun_s = now_s
        self._seconds: deque[_Second] = deque()
        self._told_s, self._told = -1, ["0/s"]

    def add(self, events: Iterable[AnyEvent], now_s: float) -> None:
        """Count events that happened just now."""
        if not self._seconds or self._seconds[-1].number != int(now_s):
            self._seconds.append(_Second(int(now_s)))
        second = self._seconds[-1]
        for event in events:
            second.events[event.event_id] += 1
            at = _IMAGES[event.event_id]
            if at >= 0:
                second.images[event.values[at]] += 1

    def text(self, now_s: float, signs: Signs) -> list[str]:
        """Return events a second, also by mark, and the programs that make most."""
        if int(now_s) != self._told_s:
            self._told_s, self._told = int(now_s), self._made(now_s, signs)
        return self._told

    def _made(self, now_s: float, signs: Signs) -> list[str]:
        while self._seconds and self._seconds[0].number < int(now_s) - _MEAN_S:
            self._seconds.popleft()
        span_s = max(1.0, min(_MEAN_S, now_s - self._begun_s))
        by_mark: Counter[str] = Counter()
        images: Counter[str] = Counter()
        for second in self._seconds:
            images.update(second.images)
            for event_id, count in second.events.items():
                by_mark[mark(event_id)] += count
        total = by_mark.total()
        parts = [f"{_rate(total, span_s)}/s"]
        if not total:
            return parts
        marks = by_mark.most_common(_MARKS)
        parts.append(" ".join(f"{each} {_rate(n, span_s)}" for each, n in marks))
        top = (
            f"{signs.name(base_name(image))} {100 * count // total} %"
            for image, count in images.most_common(_TOP)
        )
        return [*parts, f"top {' '.join(top)}"] if images else parts


def _rate(count: int, span_s: float) -> str:
    rate = count / span_s
    return f"{rate:,.0f}" if rate >= 9.5 or rate == 0 else f"{rate:.1f}"


@dataclass(slots=True)
class Counts:
    """What the status row tells besides rates; `cpu_percent` is of one processor."""

    seen: int = 0
    shown: int = 0
    lost: int = 0
    skipped: int = 0
    cpu_percent: float = 0.0


def status_line(
    rates: list[str],
    counts: Counts,
    note: str,
    signs: Signs,
    width: int,
    has_colour: bool,
) -> str:
    """Return the status row, exactly `width` columns; parts without room are left out.

    `note` says what the keys do now, or what is typed: it goes last, like losses.
    """
    lost = f"{counts.lost:,} lost"
    shown = f"{counts.shown:,} of {counts.seen:,} shown"
    skipped = f"{counts.skipped:,} skipped" if counts.skipped else ""
    cpu = f"{counts.cpu_percent:.1f} % CPU"
    parts = [each for each in (*rates, shown, lost, skipped, cpu, note) if each]
    bar, edge = f" {signs.bar} ", signs.rule * 2
    for spare in (*rates[:0:-1], cpu, *rates[:1], shown, skipped):
        if columns(bar.join(parts)) + _EDGES <= width:
            break
        if spare:
            parts.remove(spare)
    text = cut(f"{edge} {bar.join(parts)} ", width, signs.dots)
    text += signs.rule * (width - columns(text))
    if not has_colour:
        return text
    if counts.lost:
        text = text.replace(lost, f"\x1b[1;31m{lost}\x1b[0;{_COLOUR}m", 1)
    return f"\x1b[{_COLOUR}m{text}\x1b[0m"
