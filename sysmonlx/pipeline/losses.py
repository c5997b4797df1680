# SPDX-License-Identifier: MIT
"""What was lost, for event 255: exact numbers by what and why, none told twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Loss = tuple[str, str]
"""(what was lost, why)"""


class LossLedger:
    """Turns running totals into reports of what was added since the last one.

    `wall_ns` is when counting began.
    """

    def __init__(self, wall_ns: int) -> None:
        self._totals: dict[Loss, int] = {}
        self._checked_ns = wall_ns

    def report(
        self, totals: Mapping[Loss, int], wall_ns: int, utc: Callable[[int], str]
    ) -> str:
        """Return the description of new losses, empty when there are none.

        `totals` are counts since the start. A loss happened after the previous check,
        which is the time named.
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
        """Take note that nothing was lost since the last check."""
        self._checked_ns = wall_ns

    def total(self) -> int:
        """Return how much was lost in all."""
        return sum(self._totals.values())
