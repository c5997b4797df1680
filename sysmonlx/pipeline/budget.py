# SPDX-License-Identifier: MIT
"""Which floods are sampled, where the option Budget has switched that on.

The kernel leaves out records that repeat, and only while the ring buffer is nearly
full. This module says whose records: those of a pair of event and image that makes most
of all records, and hundreds in a second. Starts and ends of processes are never
sampled. How much processor time is used plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping

from sysmonlx.capture.floods import Pair, Sampled

#: A pair is sampled where it makes more records a second than this, and a larger share
#: of all records than this.
LEAST_PER_S = 200
LEAST_SHARE = 0.5
#: How long a pair is sampled at first, and at most; it is doubled each time.
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 300.0
#: The kernel may add to the count of a pair for a moment after its time is over.
_SETTLES_NS = 500_000_000
#: Pairs whose last time is remembered.
_REMEMBERED = 1000
_SECOND_NS = 1_000_000_000


class Budget:
    """Decides which pairs are sampled; none is unless `is_on`."""

    def __init__(self) -> None:
        self.is_on = False
        self.sampled: dict[Pair, Sampled] = {}
        self._sent: dict[Pair, int] = {}
        self._records = 0
        self._checked_ns = 0
        self._holds: dict[Pair, float] = {}

    def begun(
        self, now_ns: int, records: int, sent: Mapping[Pair, int]
    ) -> list[Sampled]:
        """Return the pairs to sample from now on; to be called once a second.

        `now_ns` is the time of the boot clock. `records` counts all records since the
        start that the kernel wanted to send, `sent` those of each pair that came while
        the ring buffer was nearly full.
        """
        interval_s = (now_ns - self._checked_ns) / _SECOND_NS
        new_records = records - self._records
        least = max(LEAST_PER_S * interval_s, LEAST_SHARE * new_records)
        floods = [
            pair
            for pair, count in sent.items()
            if pair not in self.sampled and count - self._sent.get(pair, 0) > least
        ]
        is_first = not self._checked_ns
        self._checked_ns, self._records, self._sent = now_ns, records, dict(sent)
        if is_first or not self.is_on:
            return []
        return [self._begin(pair, now_ns) for pair in floods]

    def _begin(self, pair: Pair, now_ns: int) -> Sampled:
        before = self._holds.pop(pair, FIRST_HOLD_S / 2)
        hold_s = min(2 * before, LONGEST_HOLD_S)
        until_ns = now_ns + int(hold_s * _SECOND_NS)
        self.sampled[pair] = Sampled(pair, until_ns, hold_s)
        return self.sampled[pair]

    def ended(self, now_ns: int) -> list[Sampled]:
        """Return the pairs whose time is over; their counts do not change any more."""
        due_ns = now_ns - _SETTLES_NS
        ended = [each for each in self.sampled.values() if each.until_ns <= due_ns]
        for each in ended:
            del self.sampled[each.pair]
            if len(self._holds) >= _REMEMBERED:
                self._holds.clear()
            self._holds[each.pair] = each.hold_s
        return ended

    def end_all(self) -> list[Sampled]:
        """Sample nothing any more; return the pairs that were sampled."""
        ended = [*self.sampled.values()]
        self.sampled.clear()
        return ended
