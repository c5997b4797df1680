# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.capture.floods import Pair, Sampled
from sysmonlx.pipeline.budget import LEAST_PER_S, Budget

SECOND = 1_000_000_000
FLOOD = Pair(image=7, type=10, uid=1000)
OTHER = Pair(image=8, type=11, uid=1000)


class Kernel:
    """Counts as the kernel does, a second after another."""

    def __init__(self, *, is_on: bool = True) -> None:
        self.budget = Budget()
        self.budget.is_on = is_on
        self.now_ns = SECOND
        self.records = 0
        self.sent: dict[Pair, int] = {}
        self.second()

    def second(self, others: int = 0, **floods: int) -> list[Sampled]:
        pairs = {"flood": FLOOD, "other": OTHER}
        for name, count in floods.items():
            self.sent[pairs[name]] = self.sent.get(pairs[name], 0) + count
        self.records += others + sum(floods.values())
        self.now_ns += SECOND
        return self.budget.begun(self.now_ns, self.records, self.sent)


def pairs_of(sampled: list[Sampled]) -> list[Pair]:
    return [each.pair for each in sampled]


def test_what_makes_most_of_a_full_ring_is_sampled_and_nothing_else() -> None:
    kernel = Kernel()
    assert pairs_of(kernel.second(others=10, flood=100_000, other=40_000)) == [FLOOD]
    assert list(kernel.budget.sampled) == [FLOOD]


def test_nothing_is_sampled_below_hundreds_a_second() -> None:
    kernel = Kernel()
    assert kernel.second(flood=LEAST_PER_S) == []
    assert pairs_of(kernel.second(flood=LEAST_PER_S + 1)) == [FLOOD]


def test_rate_counts_over_the_time_that_has_passed() -> None:
    kernel = Kernel()
    kernel.now_ns += 9 * SECOND
    assert kernel.second(flood=10 * LEAST_PER_S) == []


def test_what_is_not_the_most_is_not_sampled() -> None:
    kernel = Kernel()
    assert kernel.second(others=5_001, flood=5_000) == []


def test_what_was_sent_long_ago_does_not_count() -> None:
    kernel = Kernel()
    kernel.second(others=10_000, flood=5_000)
    assert kernel.second(flood=0) == []


def test_counts_from_before_the_first_look_do_not_count() -> None:
    budget = Budget()
    budget.is_on = True
    assert budget.begun(SECOND, 100_000, {FLOOD: 100_000}) == []


def test_nothing_is_sampled_unless_it_is_switched_on() -> None:
    kernel = Kernel(is_on=False)
    assert [kernel.second(flood=100_000) for _ in range(9)] == [[]] * 9
    assert kernel.budget.sampled == {}


def test_count_that_begins_anew_harms_nothing() -> None:
    kernel = Kernel()
    kernel.second(others=10_000, flood=5_000)
    kernel.sent = {}
    assert kernel.second(flood=100) == []


def test_sampling_ends_by_itself_and_lasts_longer_after_a_relapse() -> None:
    kernel = Kernel()
    for hold_s in (10, 20, 40, 80, 160, 300, 300):
        (begun,) = kernel.second(flood=1_000)
        assert begun.hold_s == hold_s
        assert begun.until_ns == kernel.now_ns + hold_s * SECOND
        assert kernel.budget.ended(begun.until_ns) == []
        assert kernel.second(flood=1_000) == []
        kernel.now_ns = begun.until_ns + SECOND
        assert kernel.budget.ended(kernel.now_ns) == [begun]
        assert kernel.budget.sampled == {}
        kernel.second()


def test_all_that_is_sampled_can_be_ended_at_once() -> None:
    kernel = Kernel()
    kernel.second(flood=1_000)
    assert pairs_of(kernel.budget.end_all()) == [FLOOD]
    assert kernel.budget.sampled == {}
