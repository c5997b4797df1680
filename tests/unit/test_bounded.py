# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.bounded import Answers, Bounded, Recent


class Doubled(Bounded[int, int]):
    def __missing__(self, number: int) -> int:
        self[number] = double = 2 * number
        return double


def test_one_too_many_makes_room_for_itself_alone() -> None:
    known = Doubled(limit=3)
    assert [known[number] for number in (1, 2, 3)] == [2, 4, 6]
    assert list(known) == [1, 2, 3]
    assert known[4] == 8
    assert list(known) == [4]


def test_value_of_a_known_key_can_change_when_it_is_full() -> None:
    known: Bounded[str, int] = Bounded(limit=2)
    known["a"] = known["b"] = 1
    known["a"] = 2
    assert known == {"a": 2, "b": 1}


def test_there_are_never_more_than_the_limit() -> None:
    known = Doubled(limit=7)
    sizes = set()
    for number in range(100):
        assert known[number % 31] == 2 * (number % 31)
        sizes.add(len(known))
    assert max(sizes) == 7


def test_answers_ask_again_for_what_was_forgotten() -> None:
    asked: list[str] = []

    def ask(name: str) -> int:
        asked.append(name)
        return len(name)

    answers = Answers(ask, limit=2)
    assert [answers[each] for each in ("a", "bb", "a", "ccc", "a")] == [1, 2, 1, 3, 1]
    assert asked == ["a", "bb", "ccc", "a"]


def test_recent_keeps_what_is_used_and_no_more_than_its_limit() -> None:
    made: Recent[int, str] = Recent(8)
    made[0] = "used"
    for number in range(1, 100):
        made[number] = "once"
        assert made.get(0) == "used"
        assert len(made) <= 8
    assert 98 in made
    assert 90 not in made
    assert made.get(1) is None
    made.clear()
    assert (made.get(0), len(made)) == (None, 0)


def test_recent_takes_a_new_value_for_an_old_key() -> None:
    made: Recent[int, str] = Recent(4)
    for number in (1, 2, 3, 1):
        made[number] = f"{number}"
    made[1] = "new"
    assert (made.get(1), made.get(2), made.get(3)) == ("new", "2", "3")
    assert len(made) == 3
