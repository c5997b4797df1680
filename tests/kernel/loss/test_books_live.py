# SPDX-License-Identifier: MIT
"""The books close at every moment of a storm, whatever else happens to the daemon.

SYSMONLX_STORM_S makes it longer, SYSMONLX_STORM_SEED repeats one: its work and faults
follow from the seed, but not the times at which the daemon and they meet.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest
from support.accounts import Stats, adds_up, steady
from support.installed import Installation
from support.running import wait_until
from support.storms import (
    Weather,
    check,
    counted_losses,
    emitted,
    in_log,
    told_losses,
)

pytestmark = pytest.mark.kernel

STORM_S = float(os.environ.get("SYSMONLX_STORM_S", "12"))
SEED = int(os.environ.get("SYSMONLX_STORM_SEED", str(time.time_ns() % 1_000_000)))


def test_books_close_at_every_moment_of_a_storm(
    place: Installation, tmp_path: Path
) -> None:
    print(f"SYSMONLX_STORM_SEED={SEED}")
    chance = Random(SEED)
    weather = Weather(place, tmp_path, chance)
    with weather.begun():
        storms = [weather.storm(STORM_S) for _ in range(2)]
        before: Stats | None = None
        while any(each.poll() is None for each in storms):
            chance.choice(weather.faults)()
            for _ in range(chance.randint(1, 4)):
                stats = place.stats()
                check(stats, before)
                before = stats
        assert [each.returncode for each in storms] == [0, 0]
        check_the_end(place)


def check_the_end(place: Installation) -> None:
    """Compare the counters with the log, which is the one sink that loses nothing."""
    stats = steady(place, adds_up)
    assert not [*filter(_is_error, stats["events"].values())]
    wait_until(lambda: in_log(place.events()) >= emitted(stats))
    wait_until(lambda: told_losses(place.events()) >= counted_losses(stats))
    events = place.events()
    now = place.stats()
    assert in_log(events) <= emitted(now)
    assert told_losses(events) <= counted_losses(now)
    # It was a storm: something was lost, in the ring or behind it.
    in_ring = sum(sum(each["lost"].values()) for each in stats["records"].values())
    assert in_ring + stats["lines"]["lost"].get("spool full", 0) > 0


def _is_error(event: Stats) -> bool:
    return bool(event.get("lost"))
