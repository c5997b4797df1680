# SPDX-License-Identifier: MIT
"""What programs have missed is known, also of those that nobody looks at any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.bpf.object_info import ProgramInfo
from sysmonlx.capture import sensor
from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.sensor import Capture
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.policy import Settings


def capture_of(hook: Hook, detached: list[str]) -> Capture:
    """Return a capture that serves a hook, and no part more than that needs."""
    found = SimpleNamespace(detach=detached.append, program_fd=lambda name: 7)
    made = Capture.__new__(Capture)
    made._serving = {hook: hook.alternatives[0]}
    made.misses = {}
    nothing: Any = SimpleNamespace(load=lambda *_: None)
    loaded: Any = SimpleNamespace(holder=lambda name: found)
    made._loader, made._loaded = nothing, loaded
    return made


def test_what_a_program_has_missed_is_taken_when_it_is_detached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooks = hooks_for(lambda event_id: True, Settings())
    hook = next(each for each in hooks if not each.has_side_band)
    detached: list[str] = []
    capture = capture_of(hook, detached)
    monkeypatch.setattr(sensor, "program_info", lambda fd: ProgramInfo(1, 0, 0, 5))
    monkeypatch.setattr(Capture, "_attach_all", lambda self, hooks: None)
    monkeypatch.setattr(Capture, "_prove_names", lambda self: None)
    capture.want(())
    assert {*detached} == {*hook.alternatives[0]}
    assert {*capture.misses.values()} == {5}
