# SPDX-License-Identifier: MIT
"""Moments of lines that anybody may have written, and of options."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from sysmonlx.viewer.moments import local_clock, moment

FIRST, LAST = "0001-01-01 00:00:00.000", "9999-12-31 23:59:59.999"


@pytest.fixture(params=["Etc/GMT+12", "Etc/GMT-14"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """A zone whose clocks are hours from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize("text", [FIRST, LAST, "0000-00-00 00:00:00.000", "-", ""])
def test_moment_that_no_clock_shows_stays_as_it_is(text: str) -> None:
    found = local_clock()(text)
    assert found == text or found[16:] == text[16:]


def test_time_before_all_times_is_none() -> None:
    assert moment("-999999d", datetime(2026, 1, 5)) is None
