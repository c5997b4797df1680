# SPDX-License-Identifier: MIT
"""When a flood is sampled, where the administrator has switched that on: `Budget`.

The kernel leaves out what repeats, and only while the ring buffer is nearly full. This
module says whose flood it is: that of one pair of event and image that makes most of
the records, hundreds in a second. Starts and ends of processes are never sampled.
Processor time is no reason, whatever it was used for.
"""

from __future__ import annotations

from collections.abc import Mapping

from sysmonlx.capture.floods import Pair, Sampled

#: A pair is sampled from this rate on, and where it makes this share of all records.
LEAST_PER_S = 200
LEAST_SHARE = 0.5
#: First and longest time that a pair is sampled; each relapse doubles it.
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 300.0
#: The kernel adds to a number until the time is over, and maybe a moment longer.
_SETTLES_NS = 500_000_000
_REMEMBERED = 1000
_SECOND_NS = 1_000_000_000


class Budget:
    """Decides which pairs are sampled. Nothing is, unless `is_on`."""

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
        """Return what is to be sampled from now on; ask it once a second.

        `now_ns` is the boot clock. `records` are all records since the start that the
        kernel wanted to send, `sent` those of each pair while the ring was nearly full.
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
        """Return what was sampled and is no more: nothing is added to its number."""
        due_ns = now_ns - _SETTLES_NS
        ended = [each for each in self.sampled.values() if each.until_ns <= due_ns]
        for each in ended:
            del self.sampled[each.pair]
            if len(self._holds) >= _REMEMBERED:
                self._holds.clear()
            self._holds[each.pair] = each.hold_s
        return ended

    def end_all(self) -> list[Sampled]:
        """Let everything be reported again; return what was sampled."""
        ended = [*self.sampled.values()]
        self.sampled.clear()
        return ended
