# SPDX-License-Identifier: MIT
"""How much of a core the daemon may take, and what is left out when a flood takes more.

The noisiest (event, image) pairs are sampled until the flood is over; nothing else is
touched, every event left out is counted, and the begin and end are reported.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

Pair = tuple[int, str]
"""(event id, image)"""

WINDOW_S = 10.0
RING_LIMIT = 0.75
#: Events are counted from this share of a limit on: counting costs, and most machines
#: never come near.
_NEAR = 0.25
#: Of a sampled pair, one event in so many is still reported.
KEEP_ONE_IN = 100
#: A pair is sampled when it makes at least this share of all events of a second.
NOISY_SHARE = 0.1
PAIRS_LIMIT = 8
#: First and longest time that a pair is sampled; each relapse doubles it.
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 300.0


@dataclass(slots=True)
class Sampled:
    """A pair that is sampled: until when, and how many events were left out."""

    pair: Pair
    until_s: float
    hold_s: float
    seen: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What changes now: pairs to sample, pairs to report again, and why."""

    begun: tuple[Sampled, ...] = ()
    ended: tuple[Sampled, ...] = ()
    reason: str = ""


class Budget:
    """Watches processor time and the ring. `percent` is of one core; 0 is no limit."""

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self.is_watching = False
        """Whether events are to be counted: the work comes near a limit."""
        self.counts: Counter[Pair] = Counter()
        """Events of the present second, by pair; whoever handles one counts it."""
        self.sampled: dict[Pair, Sampled] = {}
        self._used = 0.0  # percent of a core
        self._samples: deque[tuple[float, float]] = deque()
        self._holds: dict[Pair, float] = {}
        self.dropped = 0

    def drops(self, pair: Pair) -> bool:
        """Say whether this event of a sampled pair is left out, and count it."""
        sampled = self.sampled[pair]
        sampled.seen += 1
        if sampled.seen % KEEP_ONE_IN == 1:
            return False
        sampled.dropped += 1
        self.dropped += 1
        return True

    def check(self, now_s: float, cpu_s: float, ring_fill: float) -> Verdict:
        """Decide, once a second; the times are monotonic, in seconds.

        `ring_fill` is 0 to 1: how full the ring buffer was when it was read.
        """
        counts, self.counts = self.counts, Counter()
        ended = self._ended(now_s)
        reason = self._reason(now_s, cpu_s, ring_fill) if self.percent else ""
        near = self._used > self.percent * _NEAR or ring_fill > RING_LIMIT * _NEAR
        self.is_watching = bool(self.sampled) or (near and self.percent > 0)
        begun = self._begun(now_s, counts) if reason else ()
        if begun:
            self._samples.clear()  # what led here must not count twice
        return Verdict(begun, ended, reason if begun else "")

    def end_all(self) -> tuple[Sampled, ...]:
        """Report everything again; return what was sampled."""
        ended = tuple(self.sampled.values())
        self.sampled.clear()
        self.is_watching = False
        return ended

    def _ended(self, now_s: float) -> tuple[Sampled, ...]:
        ended = tuple(s for s in self.sampled.values() if s.until_s <= now_s)
        for each in ended:
            del self.sampled[each.pair]
            self._holds[each.pair] = each.hold_s
        if len(self._holds) > 1000:
            self._holds.clear()
        return ended

    def _reason(self, now_s: float, cpu_s: float, ring_fill: float) -> str:
        self._samples.append((now_s, cpu_s))
        while now_s - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        self._used = used = 100 * (cpu_s - self._samples[0][1]) / WINDOW_S
        if used > self.percent:
            return f"{used:.0f} % of a core over {WINDOW_S:.0f} s"
        if ring_fill > RING_LIMIT:
            return f"the ring buffer is {100 * ring_fill:.0f} % full"
        return ""

    def _begun(self, now_s: float, counts: Counter[Pair]) -> tuple[Sampled, ...]:
        total = counts.total()
        begun = []
        for pair, count in counts.most_common(PAIRS_LIMIT):
            if count < NOISY_SHARE * total or pair in self.sampled:
                continue
            before = self._holds.pop(pair, FIRST_HOLD_S / 2)
            hold_s = min(2 * before, LONGEST_HOLD_S)
            self.sampled[pair] = Sampled(pair, now_s + hold_s, hold_s)
            begun.append(self.sampled[pair])
        return tuple(begun)
