# SPDX-License-Identifier: MIT
"""Lines for people about what correlations have forgotten, and why."""

from __future__ import annotations

from collections.abc import Iterator

from sysmonlx.rules.sigma.correlator import Correlator

#: Shortest time between two texts about one thing, in seconds.
INTERVAL_S = 60.0
_SECOND_NS = 1_000_000_000


class CorrelationNews:
    """Puts into words what is new; to be asked every second or so."""

    def __init__(self) -> None:
        self._correlator = Correlator()
        self._told: dict[str, int] = {}
        self._unasked = 0
        self._due_s = -INTERVAL_S

    def texts(self, correlator: Correlator, boot_ns: int) -> Iterator[str]:
        """Yield what is new, a line each; have groups expire that are over.

        `boot_ns` is the present time of the boot clock.
        """
        if correlator is not self._correlator:
            self._correlator = correlator
            self._unasked = 0
            for title, count in correlator.changed.items():
                yield (
                    f"Correlation '{title}' is another or gone: {count} unfinished"
                    " sequences are forgotten"
                )
        now_s = boot_ns / _SECOND_NS
        if not correlator.forms or now_s < self._due_s:
            return
        self._due_s = now_s + INTERVAL_S
        correlator.expire(boot_ns)
        for title, (count, payer) in correlator.forgotten().items():
            new = count - self._told.get(title, 0)
            self._told[title] = count
            if new > 0:
                yield (
                    f"Correlation '{title}' has no room: {new} unfinished sequences"
                    f" are forgotten, the last one of user {payer}; what completes"
                    " them is not named"
                )
        new, self._unasked = correlator.unasked - self._unasked, correlator.unasked
        if new:
            yield (
                f"Correlations have no room: {new} events that waited are not asked"
                f" again, the last one of user {correlator.unasked_payer}; what they"
                " complete is not named"
            )
