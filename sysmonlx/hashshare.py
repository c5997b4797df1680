# SPDX-License-Identifier: MIT
"""How much processor time hashing may take: a part of one core, saved for a while."""

from __future__ import annotations

#: What is not used is saved for so long.
_SAVED_S = 10.0
#: Who has to wait does so until this much is there, or waits would be many and short.
_LEAST_S = 0.001


class Share:
    """Processor time to spend, in seconds; it grows by arithmetic, nothing ticks.

    `now_s` is monotonic everywhere.
    """

    def __init__(self, percent: int, now_s: float) -> None:
        self._percent = percent
        self._level_s = self._limit_s
        self._since_s = now_s

    @property
    def percent(self) -> int:
        """Percent of one core; 0 is no limit."""
        return self._percent

    def change(self, percent: int, now_s: float) -> None:
        """Let another part be spent from now on; what was saved is kept."""
        self._grow(now_s)
        if not self._percent:
            self._level_s = percent / 100 * _SAVED_S
        self._percent = percent
        self._level_s = min(self._level_s, self._limit_s)

    def wait_s(self, now_s: float, reserve: float = 0.0) -> float:
        """Return how long nothing may be spent yet; 0: it may be now.

        `reserve`, from 0 to 1, is the part of what can be saved that must stay.
        """
        if not self._percent:
            return 0.0
        self._grow(now_s)
        missing_s = reserve * self._limit_s - self._level_s
        if missing_s < 0:
            return 0.0
        return (missing_s + _LEAST_S) * 100 / self._percent

    def spend(self, now_s: float, cpu_s: float) -> None:
        """Take off what a piece of work has cost."""
        self._grow(now_s)
        self._level_s -= cpu_s

    @property
    def _limit_s(self) -> float:
        return self._percent / 100 * _SAVED_S

    def _grow(self, now_s: float) -> None:
        grown_s = self._level_s + (now_s - self._since_s) * self._percent / 100
        self._level_s, self._since_s = min(grown_s, self._limit_s), now_s
