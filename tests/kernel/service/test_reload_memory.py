# SPDX-License-Identifier: MIT
"""Memory depends on the rules in force, not on those that were before."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.installed import Installation
from support.manyrules import many_conditions, policy
from support.running import EVERYTHING, wait_until

pytestmark = pytest.mark.kernel

MIB = 1 << 20
UPDATES = 40
#: The daemon gives memory back once a minute.
GIVEN_BACK_S = 70.0
#: What a daemon with a small configuration may take.
SMALL = 30 * MIB


def rss_bytes(place: Installation) -> int:
    for line in Path(f"/proc/{place.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(place.pid)


def test_memory_after_many_updates_is_that_after_one(installed: Installation) -> None:
    at_start = rss_bytes(installed)
    large = [policy(many_conditions(seed), installed.log) for seed in (1, 2)]
    small = policy(EVERYTHING, installed.log)
    installed.request(do="reload", policy=large[0])
    first = rss_bytes(installed)
    for number in range(UPDATES):
        installed.request(do="reload", policy=large[number % 2])
    assert rss_bytes(installed) < first + 4 * MIB
    installed.request(do="reload", policy=small)
    limit = max(SMALL, at_start + 4 * MIB)
    wait_until(lambda: rss_bytes(installed) < limit, GIVEN_BACK_S)
    assert installed.run(["/bin/true"])[1]
