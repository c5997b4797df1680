# SPDX-License-Identifier: MIT
"""Memory that users share: whoever fills it loses entries of his own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.enrich.fair_share import FairShare

ALICE, BOB, CAROL = 1001, 1002, 1003


def test_who_has_too_much_loses_the_oldest_of_his_own() -> None:
    share: FairShare[str, int] = FairShare(of_user=2, of_all=9)
    assert share.add("b", 1, BOB) is None
    assert [share.add(name, at, ALICE) for at, name in enumerate("pqr")] == [
        *(None, None, 0)
    ]
    assert list(share.entries) == ["b", "q", "r"]


def test_where_all_is_full_the_one_who_adds_gives_way() -> None:
    share: FairShare[str, int] = FairShare(of_user=9, of_all=3)
    for at, (name, uid) in enumerate((("a", ALICE), ("b", BOB), ("p", ALICE))):
        share.add(name, at, uid)
    assert share.add("q", 3, BOB) == 1
    assert share.add("c", 4, CAROL) == 0  # who has nothing: the oldest of all
    assert list(share.entries) == ["p", "q", "c"]


def test_a_key_that_is_there_is_the_newest_then() -> None:
    share: FairShare[str, int] = FairShare(of_user=2, of_all=2)
    share.add("a", 1, ALICE)
    share.add("b", 2, ALICE)
    assert share.add("a", 3, BOB) is None
    assert list(share.entries) == ["b", "a"]
    assert share.add("c", 4, ALICE) == 2


def test_ids_of_one_block_are_one_user() -> None:
    share: FairShare[int, int] = FairShare(of_user=2, of_all=9)
    gone = [share.add(number, number, (5 << 16) + number) for number in range(4)]
    assert gone == [None, None, 0, 1]


def test_nothing_is_left_after_all_is_removed() -> None:
    share: FairShare[str, int] = FairShare(of_user=2, of_all=9)
    for name in "abc":
        share.add(name, 0, ALICE)
    assert share.clear() == [0, 0]
    assert share.add("a", 1, ALICE) is None
    assert share.pop("a") == 1
    assert share._of_user == {}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans())))
def test_it_is_bounded_whatever_is_done(steps: list[tuple[int, int, bool]]) -> None:
    share: FairShare[int, int] = FairShare(of_user=3, of_all=7)
    for key, uid, is_added in steps:
        if is_added:
            share.add(key, key, uid)
        elif key in share.entries:
            share.pop(key)
        owners = [user for user, _ in share.entries.values()]
        assert len(owners) <= 7
        assert all(owners.count(uid) <= 3 for uid in owners)
        assert {*share._of_user} == {*owners}
