# SPDX-License-Identifier: MIT
"""A busy machine may let a thread wait for long; tests of sinks wait for it."""

from __future__ import annotations

import pytest

from sysmonlx.output.sinks import streams


@pytest.fixture(autouse=True)
def disks_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "NEAR_WAIT_S", 20.0)
