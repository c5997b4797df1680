# SPDX-License-Identifier: MIT
"""Rows that change: ends folded into starts, repeats and files counted, the tree."""

from __future__ import annotations

import random

import pytest
from support.logview import values_of

from sysmonlx.viewer.board import Board, Placed
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.rows import Rows, Style


def event(event_id: int, at_s: float = 0.0, **values: str) -> LiveEvent:
    minute, second = divmod(at_s, 60)
    utc = f"2026-01-05 {10 + minute // 60:02.0f}:{minute % 60:02.0f}:{second:06.3f}"
    common = {"UtcTime": utc, "User": "alice", "ProcessId": "1", "Image": "/bin/x"}
    return LiveEvent(event_id, values_of(event_id, **(common | values)))


def start(guid: str, at_s: float = 0.0, parent: str = "-", **more: str) -> LiveEvent:
    own = {"ProcessGuid": guid, "ParentProcessGuid": parent, "CommandLine": f"x {guid}"}
    return event(1, at_s, ParentImage="/bin/sh", **(own | more))


class Shown:
    """A board and the rows that it made."""

    def __init__(self, **options: bool) -> None:
        self.rows = Rows(Style(width=100, has_tree=True))
        self.board = Board(self.rows, **options)
        self.placed: list[Placed] = []

    def take(self, *events: LiveEvent) -> list[str]:
        for each in events:
            placed, is_new = self.board.take(each)
            if placed is not None and is_new:
                self.placed.append(placed)
        return [self.rows.line(each.row)[32:] for each in self.placed]


def test_end_is_a_note_of_its_start() -> None:
    assert Shown().take(start("a"), event(5, 0.02, ProcessGuid="a")) == [
        "sh ─ x a  exit 0.02 s"
    ]


@pytest.mark.parametrize(
    ("after_s", "text"),
    [
        (0.003, "3 ms"),
        (0.0, "0 ms"),
        (12.5, "12.50 s"),
        (61.2, "1 min 1 s"),
        (3700, "1 h 1 min"),
    ],
)
def test_life_of_a_process_is_told_in_units_that_fit(after_s: float, text: str) -> None:
    end = event(5, after_s, ProcessGuid="a")
    assert Shown().take(start("a"), end) == [f"sh ─ x a  exit {text}"]


def test_start_that_scrolled_away_leaves_a_row_to_its_end() -> None:
    shown = Shown()
    shown.take(start("a"))
    shown.board.floor = shown.board.next
    assert shown.take(event(5, 2.0, ProcessGuid="a"))[1:] == ["x ended after 2.00 s"]


def test_child_of_what_scrolled_away_names_its_parent() -> None:
    shown = Shown()
    shown.take(start("a"))
    shown.board.floor = shown.board.next
    child = start("b", parent="a")
    assert shown.take(child)[-1] == "sh ─ x b"


def test_end_of_what_was_not_shown_is_hidden_unless_asked_for() -> None:
    end = event(5, ProcessGuid="a")
    shown = Shown()
    assert (shown.take(end), shown.board.hidden) == ([], 1)
    assert Shown(all_ends=True).take(end) == ["x ended"]


def test_end_under_a_rule_has_a_row() -> None:
    end = event(5, 1.0, ProcessGuid="a", RuleName="T1")
    assert len(Shown().take(start("a"), end)) == 2


def test_children_and_deeds_stand_below_their_process() -> None:
    assert Shown().take(
        start("a"),
        event(9, ProcessGuid="a", Device="/dev/sda"),
        start("b", parent="a"),
        event(9, ProcessGuid="b", Device="/dev/sdb"),
        start("c", parent="none"),
        event(9, ProcessGuid="none", Device="/dev/sdc"),
    ) == [
        "sh ─ x a",
        "└ x /dev/sda",
        "└ x b",
        "  └ x /dev/sdb",
        "sh ─ x c",
        "x /dev/sdc",
    ]


def test_equal_rows_of_a_second_are_one() -> None:
    repeats = [start(str(n), n * 0.2, CommandLine="sleep 10000") for n in range(5)]
    assert Shown().take(*repeats) == ["sh ─ (/bin/x) sleep 10000  ×5"]
    later = start("9", 1.5, CommandLine="sleep 10000")
    assert len(Shown().take(*repeats, later)) == 2
    other = start("9", 0.2, CommandLine="sleep 10000", User="root")
    assert len(Shown().take(*repeats, other)) == 2


def test_long_numbers_make_no_difference_and_short_ones_do() -> None:
    pair = [event(9, Device=f"/dev/x{n}") for n in (1111, 2222)]
    assert len(Shown().take(*pair)) == 1
    pair = [event(9, Device=f"/dev/x{n}") for n in (1, 2)]
    assert len(Shown().take(*pair)) == 2


def test_end_of_a_repeated_start_is_that_of_its_own_process() -> None:
    repeats = [start(str(n), n * 0.3, CommandLine="s") for n in range(3)]
    end = event(5, 0.7, ProcessGuid="2")
    assert Shown().take(*repeats, end) == ["sh ─ (/bin/x) s  exit 0.10 s  ×3"]


def test_files_of_a_directory_are_one_row_after_the_third() -> None:
    files = [
        event(11, n * 0.1, ProcessGuid="a", TargetFilename=f"/d/{n:03}")
        for n in range(40)
    ]
    assert Shown().take(*files) == ["x /d/000", "x /d/001", "x /d/002", "x /d/…  ×37"]
    files[20] = event(11, 2.0, ProcessGuid="b", TargetFilename="/d/1")
    assert Shown().take(*files)[-1] == "x /d/1"


def test_each_event_is_a_row_or_in_a_row_or_hidden() -> None:
    chance, shown, count = random.Random(3), Shown(), 0
    folded = 0
    for at in range(3000):
        guid, at_s = str(chance.randrange(40)), at / 50
        made = [
            start(guid, at_s, str(chance.randrange(40)), CommandLine="a"),
            event(5, at_s, ProcessGuid=guid),
            event(11, at_s, ProcessGuid=guid, TargetFilename=f"/d/{at % 7}"),
            event(3, at_s, ProcessGuid=guid, DestinationPort=str(at % 5)),
        ]
        one = chance.choice(made)
        before = len(shown.placed)
        placed, is_new = shown.board.take(one)
        if is_new and placed is not None:
            shown.placed.append(placed)
        elif placed is not None and one.event_id == 5 and placed.row.event_id == 1:
            folded += 1
        count += 1
        shown.board.floor = max(0, before - 20)
    rows = sum(each.row.count for each in shown.placed)
    assert rows + folded + shown.board.hidden == count
