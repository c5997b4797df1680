# SPDX-License-Identifier: MIT
"""The one line at the end: what was asked, and what was told."""

from __future__ import annotations

import pytest

SCORE: dict[str, tuple[int, int]] = {}
"""By client, how many questions there were, and how many events."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SCORE:
        parts = (f"{name} {told} of {asked}" for name, (asked, told) in SCORE.items())
        terminalreporter.write_line(f"DnsQuery: {', '.join(parts)}")


@pytest.fixture
def score() -> dict[str, tuple[int, int]]:
    return SCORE
