# SPDX-License-Identifier: MIT
"""How long calls of others are waited for, in all and by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

#: Length of a first penalty, and of the longest one, in seconds.
_PENALTY_S, _PENALTY_LIMIT_S = 1.0, 64.0
#: Keys with a penalty that are remembered; the oldest is forgotten first.
_PENALTIES = 1024

Clock = Callable[[], float]


class WaitBudget:
    """Time that may be waited: `burst_s` at once, and `share` of the time in all."""

    def __init__(
        self, burst_s: float, share: float, clock: Clock = time.monotonic
    ) -> None:
        self._burst_s = burst_s
        self._share = share
        self._clock = clock
        self._left_s = burst_s
        self._counted = clock()

    def left_s(self) -> float:
        """Return for how long may be waited now."""
        now = self._clock()
        gained = (now - self._counted) * self._share
        self._left_s = min(self._burst_s, self._left_s + gained)
        self._counted = now
        return self._left_s

    def spend(self, waited_s: float) -> None:
        """Note that this time was waited."""
        self._left_s -= waited_s


class Penalties:
    """Keys whose calls hung lately, and when the penalty of each ends."""

    def __init__(self) -> None:
        self._until: dict[Hashable, tuple[float, float]] = {}

    def applies(self, key: Hashable, now: float) -> bool:
        """Say whether a key is not waited for at this time."""
        until, _ = self._until.get(key, (0.0, 0.0))
        return now < until

    def add(self, key: Hashable, now: float) -> None:
        """Begin a penalty, twice as long as the last one of the key."""
        _, before_s = self._until.pop(key, (0.0, 0.0))
        length_s = min(max(2 * before_s, _PENALTY_S), _PENALTY_LIMIT_S)
        if len(self._until) >= _PENALTIES:
            del self._until[next(iter(self._until))]
        self._until[key] = (now + length_s, length_s)

    def remove(self, key: Hashable) -> None:
        """Forget the penalties of a key: its call was answered."""
        self._until.pop(key, None)
