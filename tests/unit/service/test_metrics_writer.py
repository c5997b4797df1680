# SPDX-License-Identifier: MIT
"""How often the file of counters is written, and when its trouble is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.running import wait_until
from support.snapshots import SNAPSHOT

from sysmonlx.service.metrics_writer import MetricsWriter


class Service:
    """A service that has counted `signs`; `looks` is how often all were collected."""

    def __init__(self, path: Path) -> None:
        self.settings = SimpleNamespace(metrics_file=str(path))
        self.signs = (0, 0, 0)
        self.looks = 0
        self.told: list[str] = []
        self.now_s = 1000.0
        statistics: Any = SimpleNamespace(
            collect=self.collect, signs=lambda: self.signs
        )
        policy = SimpleNamespace(settings=self.settings)
        standing: Any = SimpleNamespace(policy=policy)
        events: Any = SimpleNamespace(error=lambda what, text: self.told.append(text))
        self.writer = MetricsWriter(statistics, standing, events)

    def collect(self, troubles: tuple[str, ...]) -> object:
        self.looks += 1
        return SNAPSHOT

    def rounds(self, count: int) -> int:
        """Do rounds of chores, 2 s apart; return how often all was collected."""
        before = self.looks
        for _ in range(count):
            self.writer.write()
            wait_until(lambda: not self.writer._file.is_busy())
            self.now_s += 2
        return self.looks - before


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service(tmp_path / "m.prom")
    clock = SimpleNamespace(monotonic=lambda: made.now_s)
    monkeypatch.setattr("sysmonlx.service.metrics_writer.time", clock)
    return made


def test_counters_are_collected_seldom_while_nothing_is_counted(
    service: Service, tmp_path: Path
) -> None:
    assert service.rounds(1) == 1
    assert (tmp_path / "m.prom").exists()
    assert service.rounds(50) == 10


def test_what_is_counted_is_written_in_the_next_round(service: Service) -> None:
    service.rounds(3)
    for number in range(1, 4):
        service.signs = (number, 0, 0)
        assert service.rounds(1) == 1
    assert service.rounds(3) == 0


def test_another_file_is_written_at_once(service: Service, tmp_path: Path) -> None:
    service.rounds(3)
    service.settings.metrics_file = str(tmp_path / "other.prom")
    assert service.rounds(1) == 1
    assert (tmp_path / "other.prom").exists()
    service.settings.metrics_file = ""
    assert service.rounds(2) == 0
    service.settings.metrics_file = str(tmp_path / "other.prom")
    assert service.rounds(1) == 1


def test_trouble_is_told_once_and_tried_again_each_round(
    service: Service, tmp_path: Path
) -> None:
    service.settings.metrics_file = str(tmp_path / "none" / "m.prom")
    service.rounds(2)
    assert service.rounds(5) == 5
    [text] = service.told
    assert str(tmp_path / "none") in text
    (tmp_path / "none").mkdir()
    service.rounds(2)
    assert service.writer.trouble == ""
    assert service.rounds(4) <= 1
