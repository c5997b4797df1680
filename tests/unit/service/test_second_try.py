# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

from sysmonlx.service.second_try import LEAST_S, SecondTry


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_file_is_tried_once_and_then_when_it_changes(tmp_path: Path) -> None:
    path, clock = tmp_path / "config.xml", Clock()
    path.write_text("one")
    again = SecondTry(path, clock)
    assert not again.is_due()
    clock.now_s += LEAST_S
    assert again.is_due()
    clock.now_s += 10 * LEAST_S
    assert not again.is_due()
    path.write_text("three")
    assert again.is_due()
    assert not again.is_due()


def test_file_that_changes_all_the_time_is_tried_seldom(tmp_path: Path) -> None:
    path, clock = tmp_path / "config.xml", Clock()
    again = SecondTry(path, clock)
    tries = 0
    for number in range(100):
        path.write_text("x" * number)
        clock.now_s += 1
        tries += again.is_due()
    assert tries == 100 / LEAST_S


def test_file_that_is_not_there_is_not_tried(tmp_path: Path) -> None:
    clock = Clock()
    again = SecondTry(tmp_path / "none", clock)
    clock.now_s += LEAST_S
    assert not again.is_due()
    (tmp_path / "none").touch()
    assert again.is_due()
