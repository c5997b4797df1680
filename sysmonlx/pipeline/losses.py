# SPDX-License-Identifier: MIT
"""Losses for event 255: exact numbers by object and reason, each told once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

Loss = tuple[str, str]
"""The name of a lost thing, for example "Hashes", and the reason."""

#: Pauses before lines are told of that were lost because they told of losses, in
#: seconds: the first one, how many times longer each next one is, and the longest.
_FIRST_PAUSE_S, _LONGER, _LONGEST_PAUSE_S = 1.0, 4, 3600.0


class LossLedger:
    """Turns totals since the start into reports of what is new since the last report.

    `wall_ns` is the time when counting began, in ns since the epoch.
    """

    def __init__(self, wall_ns: int) -> None:
        self._totals: dict[Loss, int] = {}
        self._checked_ns = wall_ns
        #: Since when those may have been lost that were put off.
        self._put_off_ns: dict[Loss, int] = {}

    def report(
        self, totals: Mapping[Loss, int], wall_ns: int, utc: Callable[[int], str]
    ) -> str:
        """Return the description of new losses, empty when there are none.

        `totals` are counts since the start, `wall_ns` is the present time. Losses that
        are not among them are as they were. A new loss happened after the previous
        check, whose time is named: `utc` makes its text.
        """
        parts = []
        checked_ns, self._checked_ns = self._checked_ns, wall_ns
        for loss, total in totals.items():
            new = total - self._totals.get(loss, 0)
            if new > 0:
                what, why = loss
                since = utc(self._put_off_ns.pop(loss, checked_ns))
                parts.append(f"{what}: {new} lost ({why}) since {since}")
            self._totals[loss] = total
        return "; ".join(parts)

    def put_off(self, losses: Iterable[Loss], wall_ns: int) -> None:
        """Note losses from `wall_ns` on that a later check is to tell."""
        for loss in losses:
            self._put_off_ns.setdefault(loss, wall_ns)

    def nothing_new(self, wall_ns: int) -> None:
        """Take note of a check at `wall_ns` that found no new loss."""
        self._checked_ns = wall_ns

    def total(self, whats: Container[str] | None = None) -> int:
        """Return the number of all losses reported until now, or of these things."""
        totals = self._totals.items()
        return sum(n for (what, _), n in totals if whats is None or what in whats)


class Echoes:
    """Says when to tell of lines that were lost because they told of losses.

    A sink that takes nothing loses the line of the report, too. That is one more loss,
    and its report is lost in the same way: as long as the sink is full, one report
    would follow the other. So there is a pause before each, longer than the one before.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._due_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        """Say whether the pause is over, of lines that have not been told of."""
        return self._due_s is not None and now_s >= self._due_s

    def told(self, *, is_echo: bool) -> None:
        """Take note of a report: `is_echo` says that it tells of such lines alone."""
        self._due_s = None
        longer_s = min(self._pause_s * _LONGER, _LONGEST_PAUSE_S)
        self._pause_s = longer_s if is_echo else _FIRST_PAUSE_S

    def put_off(self, now_s: float) -> None:
        """Begin the pause: the report before has cost lines."""
        self._due_s = now_s + self._pause_s
