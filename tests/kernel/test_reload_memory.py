# SPDX-License-Identifier: MIT
"""Memory depends on the rules in force, not on those that were before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kernel.installed import Installation
from kernel.running import EVERYTHING

from sysmonlx.arguments import CommandLineOptions
from sysmonlx.reading import read_data

pytestmark = pytest.mark.kernel

MIB = 1 << 20
CONDITIONS = 1500
UPDATES = 8


def policy(place: Installation, rules: str) -> str:
    place.write_config(rules)
    data = place.config.read_bytes()
    reading = read_data(data, "rules", CommandLineOptions())
    assert reading.policy is not None
    return reading.policy.to_json()


def many_conditions(seed: int) -> str:
    source = random.Random(seed)
    rows = "".join(
        f'<CommandLine condition="contains">{source.random()}</CommandLine>'
        for _ in range(CONDITIONS)
    )
    return f'<ProcessCreate onmatch="include">{rows}</ProcessCreate>'


def rss_bytes(place: Installation) -> int:
    for line in Path(f"/proc/{place.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(place.pid)


def test_memory_after_many_updates_is_that_after_one(installed: Installation) -> None:
    at_start = rss_bytes(installed)
    large = [policy(installed, many_conditions(seed)) for seed in (1, 2)]
    small = policy(installed, EVERYTHING)
    for each in large:
        installed.request(do="reload", policy=each)
    first = rss_bytes(installed)
    for number in range(UPDATES):
        installed.request(do="reload", policy=large[number % 2])
    assert rss_bytes(installed) < first + 4 * MIB
    installed.request(do="reload", policy=small)
    # Python keeps pages of which any part is in use: not all of it comes back.
    assert rss_bytes(installed) < at_start + 14 * MIB
    assert installed.run(["/bin/true"])[1]
