# SPDX-License-Identifier: MIT
from __future__ import annotations

import time
from typing import Any

import pytest

from sysmonlx.errors import CaptureError, LibbpfError
from sysmonlx.service.guard import (
    HOOKS,
    HOOKS_EVERY,
    PROGRAMS_EVERY,
    RING,
    RULES,
    VARIABLES,
    Finding,
    Guard,
)


class FakeRing:
    moves = 0
    skipped_bytes = 0

    def restore(self) -> None:
        """Nobody has moved anything since."""


class FakeCapture:
    """Programs of which others take some off."""

    def __init__(self) -> None:
        self.ring = FakeRing()
        self.programs = {"one", "two"}
        self.off: set[str] = set()
        self.refusal: Exception | None = None
        self.changed: list[str] = []
        self.asked_for_programs: list[str] = []

    def wanted_programs(self) -> frozenset[str]:
        return frozenset(self.programs)

    def is_at_hook(self, name: str, *, by_link: bool) -> bool:
        if not by_link:
            self.asked_for_programs.append(name)
        return name not in self.off

    def attach_again(self, name: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.off.discard(name)

    def restore_variables(self) -> list[str]:
        changed, self.changed = self.changed, []
        return changed


class FakeRules:
    found = ""
    error: LibbpfError | None = None

    def restore(self) -> str:
        if self.error is not None:
            raise self.error
        found, self.found = self.found, ""
        return found


def looks(guard: Guard) -> list[Finding]:
    """Look until every program was looked at."""
    return [finding for _ in range(HOOKS_EVERY) for finding in guard.look()]


@pytest.fixture
def capture() -> FakeCapture:
    return FakeCapture()


@pytest.fixture
def rules() -> FakeRules:
    return FakeRules()


@pytest.fixture
def guard(capture: Any, rules: Any) -> Guard:
    return Guard(capture, rules, lambda wall_ns: "then")


def test_where_nobody_changed_anything_there_is_nothing_to_tell(guard: Guard) -> None:
    assert guard.look() == []
    assert guard.counts == {}
    assert guard.missing() == []


def test_a_program_that_was_taken_off_is_attached_again(
    guard: Guard, capture: FakeCapture
) -> None:
    capture.off.add("two")
    [(what, text)] = looks(guard)
    assert what == HOOKS
    assert text.startswith("two is attached to its hook again")
    assert text.endswith("since then")
    assert guard.counts == {"attached again": 1}
    assert looks(guard) == []


def test_links_are_looked_at_each_time_where_looks_are_rare(
    guard: Guard, capture: FakeCapture
) -> None:
    for _ in range(3):
        capture.off.add("two")
        assert len(guard.look(at_rest=True)) == 1
    assert guard.counts == {"attached again": 3}


def test_programs_are_asked_for_now_and_then_where_nothing_happens(
    guard: Guard, capture: FakeCapture
) -> None:
    for _ in range(PROGRAMS_EVERY):
        guard.look(at_rest=True)
    assert capture.asked_for_programs == ["one", "two"]
    looks(guard)
    assert capture.asked_for_programs == 2 * ["one", "two"]


@pytest.mark.parametrize(
    "error",
    [
        CaptureError("no cgroup"),
        OSError(2, "no cgroup"),
        LibbpfError("bpf_link_create", 12, "no memory"),
    ],
)
def test_one_that_stays_off_is_told_once_and_tried_again(
    guard: Guard, capture: FakeCapture, error: Exception
) -> None:
    capture.off.add("two")
    capture.refusal = error
    [(what, text)] = looks(guard)
    assert (what, text) == (
        HOOKS,
        f"two was taken off its hook since then and stays off: {error}",
    )
    assert looks(guard) == []
    assert guard.missing() == [f"two is off its hook: {error}"]
    capture.refusal = None
    assert looks(guard) == [(HOOKS, "two is attached to its hook again")]
    assert guard.missing() == []


def test_a_program_that_is_wanted_no_more_is_not_missing(
    guard: Guard, capture: FakeCapture
) -> None:
    capture.off.add("two")
    capture.refusal = CaptureError("no")
    looks(guard)
    capture.programs.discard("two")
    assert looks(guard) == []
    assert guard.missing() == []


def test_a_program_is_off_its_hook_since_the_programs_were_looked_at(
    capture: Any, rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(1, 100))
    monkeypatch.setattr(time, "time_ns", lambda: next(now))
    guard = Guard(capture, rules, lambda wall_ns: f"<{wall_ns}>")
    looks(guard)  # at 2 and at 3
    capture.off = {"one", "two"}
    texts = {text for _, text in looks(guard)}
    assert {text.rpartition(" ")[2] for text in texts} == {"<3>"}


def test_changed_rules_and_variables_are_told(
    guard: Guard, capture: FakeCapture, rules: FakeRules
) -> None:
    rules.found = "its rules were removed"
    capture.changed = ["own_tgid", "wanted_records"]
    (what, text), (other, names) = guard.look()
    assert what == RULES
    assert "its rules were removed, since then" in text
    assert other == VARIABLES
    assert names.startswith("own_tgid, wanted_records: changed by others since then")
    assert guard.look() == []


def test_maps_out_of_reach_are_told_once(guard: Guard, rules: FakeRules) -> None:
    rules.error = LibbpfError("bpf_map_lookup_elem", 9, "Bad file descriptor")
    [(what, text)] = guard.look()
    assert what == RULES
    assert "Bad file descriptor" in text
    assert guard.look() == []
    rules.error = None
    assert guard.look() == []


def test_a_moved_position_is_told_with_what_it_cost(
    guard: Guard, capture: FakeCapture
) -> None:
    capture.ring.moves, capture.ring.skipped_bytes = 1, 4096
    [(what, text)] = guard.look()
    assert what == RING
    assert "4096 bytes of records are lost" in text
    assert guard.look() == []
