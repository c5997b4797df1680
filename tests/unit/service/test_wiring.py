# SPDX-License-Identifier: MIT
"""Parts that are made are given back: at the end, and when a later one cannot be made.

`tests/kernel/service/test_start_whole.py` does the same with the real parts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.policy import Policy
from sysmonlx.service import wiring
from sysmonlx.service.installed import Paths
from sysmonlx.service.wiring import Options, Parts, wire

#: What `wire` makes, in this order, and how it is given back.
MADE = {
    "Procfs": "",
    "load_capture": "close",
    "boot_offset": "",
    "machine_id": "",
    "Identity": "",
    "ProcessTable": "",
    "CommandLines": "",
    "Census": "close",
    "Aside": "end",
    "Users": "",
    "ProgramOpener": "",
    "Hasher": "close",
    "Resolver": "close",
    "Services": "",
    "measure_boot_offset": "",
    "Context": "",
    "RecordIds": "",
    "Output": "close",
    "Pipeline": "",
    "KernelFilter": "",
    "Health": "",
    "Guard": "",
}
GIVEN_BACK = [name for name, how in MADE.items() if how]


class InjectedError(Exception):
    """A part that cannot be made."""


class Fake:
    """Any part: has every attribute, and notes how it is given back."""

    warning = ""

    def __init__(self, note: Callable[[], object], how: str) -> None:
        self._note, self._how = note, how

    def __class_getitem__(cls, _: object) -> type[Fake]:
        return cls

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: self._note()) if name == self._how else lambda *_: None


class World:
    """Stands in for all that `wire` calls; `fails` is the one that raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> None:
        self.made: list[str] = []
        self.given_back: list[str] = []
        self._fails = fails
        for name in MADE:
            monkeypatch.setattr(wiring, name, self._maker(name))

    def _maker(self, name: str) -> Any:
        def make(*_: object, **__: object) -> Fake:
            if name == self._fails:
                raise InjectedError(name)
            self.made.append(name)
            return Fake(lambda: self.given_back.append(name), MADE[name])

        return make

    def wire(self) -> Parts:
        return wire(Policy(), Options(Paths(Path("/nowhere"))))


def test_all_parts_are_made_and_given_back_in_reverse_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    parts = world.wire()
    assert world.made == [*MADE]
    assert world.given_back == []
    parts.close()
    parts.close()
    assert world.given_back == GIVEN_BACK[::-1]


@pytest.mark.parametrize("fails", MADE)
def test_part_that_cannot_be_made_gives_those_before_back(
    monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    world = World(monkeypatch, fails)
    with pytest.raises(InjectedError, match=fails):
        world.wire()
    before = [*MADE][: [*MADE].index(fails)]
    assert world.given_back == [name for name in before if MADE[name]][::-1]
