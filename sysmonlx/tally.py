# SPDX-License-Identifier: MIT
"""Counting small numbers, many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def tally(counts: Counter[int], numbers: Iterable[int]) -> None:
    """Add how often each of these numbers is there; all are below 256."""
    found = bytes(numbers)
    for number in {*found}:
        counts[number] += found.count(number)
