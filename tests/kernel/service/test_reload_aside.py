# SPDX-License-Identifier: MIT
"""Rules are compiled by a child of the daemon: events do not wait for it.

The child is stopped, killed and left over, where a test says so.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.installed import Installation, end_of
from support.manyrules import many_conditions, policy
from support.running import DEADLINE_S, wait_until

from sysmonlx.errors import ControlError

pytestmark = pytest.mark.kernel

KILLS = 12


class Update(Thread):
    """An update that somebody else asks for; `error` says why it was refused."""

    def __init__(self, place: Installation, text: str) -> None:
        super().__init__()
        self._place, self._text = place, text
        self.answer: dict[str, Any] = {}
        self.error = ""
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._place.request(do="reload", policy=self._text)
        except ControlError as error:
            self.error = str(error)


def large(place: Installation, seed: int) -> str:
    return policy(many_conditions(seed), place.log)


def children_of(pid: int) -> list[int]:
    """Return the children of a process that only its first thread makes."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def child_for(update: Update, pid: int) -> int:
    """Return the child that compiles for an update; 0: the update ended before."""
    while update.is_alive():
        if found := children_of(pid):
            return found[0]
    return 0


@contextmanager
def held_up(place: Installation, text: str) -> Iterator[tuple[Update, int]]:
    """Have an update under way whose child is stopped."""
    for _ in range(10):
        update = Update(place, text)
        child = child_for(update, place.pid)
        if child:
            os.kill(child, signal.SIGSTOP)
            if children_of(place.pid) == [child] and update.is_alive():
                break
        update.join()
    else:
        pytest.fail("every child was faster than this test")
    try:
        yield update, child
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)
        update.join(DEADLINE_S)


def rule_names(place: Installation) -> list[str]:
    _, events = place.run(["/bin/true"])
    return [each["RuleName"] for each in events if each["EventID"] == "1"]


def test_events_and_requests_are_not_kept_waiting(installed: Installation) -> None:
    installed.request(do="reload", policy=large(installed, 1))
    with held_up(installed, large(installed, 2)) as (update, child):
        for _ in range(3):
            assert rule_names(installed) == ["seed 1"]
        assert installed.request(do="pid")["pid"] == installed.pid
        with pytest.raises(ControlError, match=r"^Another update is under way"):
            installed.request(do="reload", policy=large(installed, 3))
        time.sleep(2.5)  # peers that wait for an update have more time than others
        assert not update.answer
        assert not update.error
        os.kill(child, signal.SIGCONT)
        update.join(DEADLINE_S)
    assert "missing" in update.answer, update.error
    assert rule_names(installed) == ["seed 2"]
    assert installed.stats()["gaps"] == []


def test_child_that_is_killed_leaves_the_rules_as_they_were(
    installed: Installation,
) -> None:
    policies = {f"seed {seed}": large(installed, seed) for seed in (1, 2)}
    installed.request(do="reload", policy=policies["seed 1"])
    now, refused = "seed 1", 0
    for number in range(KILLS):
        wanted = f"seed {2 - number % 2}"
        update = Update(installed, policies[wanted])
        child = child_for(update, installed.pid)
        time.sleep(random.Random(number).random() * 0.3)
        with suppress(ProcessLookupError):
            if child:
                os.kill(child, signal.SIGKILL)
        update.join(DEADLINE_S)
        if update.error:
            assert "was ended by SIGKILL: try again" in update.error
            refused += 1
        else:
            assert "missing" in update.answer
            now = wanted
        assert rule_names(installed) == [now]
        assert children_of(installed.pid) == []
    assert refused


def test_stop_ends_the_child_and_tells_who_asked(installed: Installation) -> None:
    with held_up(installed, large(installed, 1)) as (update, child):
        installed.terminate()
        assert end_of(child)
        update.join(DEADLINE_S)
    assert update.error.startswith("The daemon is being stopped; the rules before")


def test_child_ends_with_a_daemon_that_is_killed(installed: Installation) -> None:
    with held_up(installed, large(installed, 1)) as (update, child):
        daemon = installed.pid
        os.kill(daemon, signal.SIGKILL)
        assert end_of(child)
        update.join(DEADLINE_S)
    assert update.error == "The daemon ended before it answered"
    wait_until(lambda: installed.pid not in (0, daemon))
