# SPDX-License-Identifier: MIT
"""The daemon's account of what was seen, lost, received and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from support.running import DEADLINE_S, Daemon

from sysmonlx.pipeline.books import gaps

Stats = dict[str, Any]


def steady(
    daemon: Daemon,
    *is_right: Callable[[Stats], bool],
    timeout_s: float = DEADLINE_S,
) -> Stats:
    """Return counters of which all of these hold.

    They are not read at one moment: other programs of the machine make records too,
    and one may be on its way.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        stats = daemon.stats()
        if all(each(stats) for each in is_right):
            return stats
        assert time.monotonic() < deadline, stats
        time.sleep(0.1)


def adds_up(stats: Stats) -> bool:
    """Tell whether everything is accounted for, and nothing is on its way."""
    is_still = all(
        counts["under_way"] == 0 and counts["in_ring"] == 0
        for counts in stats["records"].values()
    )
    return is_still and is_closed(stats)


def is_closed(stats: Stats) -> bool:
    """Tell whether nothing has two fates, or none on this side of the ring buffer."""
    assert stats["gaps"] == gaps(stats["records"], stats["events"], stats["lines"])
    return not stats["gaps"]


def lost_of(counts: Stats) -> int:
    """Return how many records of one type were lost, for whatever reason."""
    return sum(counts["lost"].values())
