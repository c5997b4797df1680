# SPDX-License-Identifier: MIT
"""Losses for event 255: exact numbers by object and reason, each told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Loss = tuple[str, str]
"""The name of a lost thing, for example "Hashes", and the reason."""


class LossLedger:
    """Turns totals since the start into reports of what is new since the last report.

    `wall_ns` is the time when counting began, in ns since the epoch.
    """

    def __init__(self, wall_ns: int) -> None:
        self._totals: dict[Loss, int] = {}
        self._checked_ns = wall_ns

    def report(
        self, totals: Mapping[Loss, int], wall_ns: int, utc: Callable[[int], str]
    ) -> str:
        """Return the description of new losses, empty when there are none.

        `totals` are counts since the start, `wall_ns` is the present time. A new loss
        happened after the previous check, whose time is named: `utc` makes its text.
        """
        parts = []
        since_ns, self._checked_ns = self._checked_ns, wall_ns
        for loss, total in totals.items():
            new = total - self._totals.get(loss, 0)
            if new > 0:
                what, why = loss
                parts.append(f"{what}: {new} lost ({why}) since {utc(since_ns)}")
            self._totals[loss] = total
        return "; ".join(parts)

    def nothing_new(self, wall_ns: int) -> None:
        """Take note of a check at `wall_ns` that found no new loss."""
        self._checked_ns = wall_ns

    def total(self) -> int:
        """Return the number of all losses reported until now."""
        return sum(self._totals.values())
