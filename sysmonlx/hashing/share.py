# SPDX-License-Identifier: MIT
"""How much processor time hashing may take: a part of one core, saved for a while.

A little of it is kept for light work: small files of users who have used little. Large
files are never paid from that part, so that light work need not wait for them.
"""

from __future__ import annotations

#: Time that is not used is saved: as much as grows in this many seconds.
_SAVED_S = 10.0
#: Besides, as much as grows in this many seconds is kept for light work.
_KEPT_S = 1.0
#: Light work may owe as much as grows in this many seconds. All work owes the rest.
_OWED_S = 0.5
#: A wait lasts until this many seconds may be spent: else waits would be many and
#: short.
_LEAST_S = 0.001


class Share:
    """Processor time to spend, in seconds; it grows by arithmetic, nothing ticks.

    `now_s` is monotonic everywhere.
    """

    def __init__(self, percent: int, now_s: float) -> None:
        self._percent = percent
        self._level_s = self._limit_s
        self._kept_s = self.little_s
        self._since_s = now_s

    @property
    def percent(self) -> int:
        """Percent of one core; 0 is no limit."""
        return self._percent

    @property
    def little_s(self) -> float:
        """Seconds kept for light work: that of users who have used less lately."""
        return self._percent / 100 * _KEPT_S

    def change(self, percent: int, now_s: float) -> None:
        """Let another part be spent from now on; time that was saved is kept."""
        self._grow(now_s)
        was_limited, self._percent = bool(self._percent), percent
        if not was_limited:
            self._level_s, self._kept_s = self._limit_s, self.little_s
        self._level_s = min(self._level_s, self._limit_s)
        self._kept_s = min(self._kept_s, self.little_s)

    def wait_s(
        self, now_s: float, reserve: float = 0.0, *, is_light: bool = False
    ) -> float:
        """Return how long nothing may be spent yet; 0: it may be now.

        `reserve`, from 0 to 1, is the part of what can be saved that must stay.
        """
        if not self._percent:
            return 0.0
        self._grow(now_s)
        missing_s = reserve * self._limit_s - self._level_s
        may_use_kept = is_light and self._level_s > -self._limit_s
        if missing_s < 0 or (may_use_kept and self._kept_s > 0):
            return 0.0
        # The part kept for light work grows first.
        missing_s += self.little_s - self._kept_s
        if may_use_kept:
            missing_s = min(missing_s, -self._kept_s)
        elif is_light:
            missing_s -= (1 + reserve) * self._limit_s
        return (missing_s + _LEAST_S) * 100 / self._percent

    def spend(self, now_s: float, cpu_s: float, *, is_light: bool = False) -> None:
        """Take off what a piece of work has cost."""
        self._grow(now_s)
        if is_light and self._level_s < cpu_s:
            owed_s = self._percent / 100 * _OWED_S
            from_kept_s = min(cpu_s, max(self._kept_s + owed_s, 0.0))
            self._kept_s -= from_kept_s
            cpu_s -= from_kept_s
        self._level_s -= cpu_s

    @property
    def _limit_s(self) -> float:
        return self._percent / 100 * _SAVED_S

    def _grow(self, now_s: float) -> None:
        grown_s = (now_s - self._since_s) * self._percent / 100
        kept_s = min(self._kept_s + grown_s, self.little_s)
        grown_s -= kept_s - self._kept_s
        self._level_s = min(self._level_s + grown_s, self._limit_s)
        self._kept_s, self._since_s = kept_s, now_s
