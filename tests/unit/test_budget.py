# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.budget import KEEP_ONE_IN, Budget, Verdict

FLOOD = (11, "/usr/bin/flood")
QUIET = (11, "/usr/bin/quiet")


def flooded(budget: Budget, second: float, cpu_s: float) -> Verdict:
    budget.counts[FLOOD] += 100_000
    budget.counts[QUIET] += 10
    return budget.check(second, cpu_s, 0.0)


def test_a_flood_is_sampled_and_others_are_not() -> None:
    budget = Budget(20)
    assert flooded(budget, 0.0, 0.0) == Verdict()
    assert flooded(budget, 1.0, 1.0) == Verdict()
    verdict = flooded(budget, 3.0, 3.0)
    assert [each.pair for each in verdict.begun] == [FLOOD]
    assert verdict.reason == "30 % of a core over 10 s"
    assert list(budget.sampled) == [FLOOD]


def test_processor_time_below_the_limit_changes_nothing() -> None:
    budget = Budget(20)
    for second in range(30):
        assert flooded(budget, float(second), second * 0.19) == Verdict()


def test_without_a_limit_nothing_is_sampled() -> None:
    budget = Budget(0)
    for second in range(30):
        assert flooded(budget, float(second), float(second)) == Verdict()


def test_a_full_ring_is_reason_enough() -> None:
    budget = Budget(20)
    budget.counts[FLOOD] += 1000
    verdict = budget.check(0.0, 0.0, 0.8)
    assert [each.pair for each in verdict.begun] == [FLOOD]
    assert verdict.reason == "the ring buffer is 80 % full"


def test_one_event_in_a_hundred_passes_and_the_rest_is_counted() -> None:
    budget = Budget(20)
    budget.counts[FLOOD] += 1000
    budget.check(0.0, 0.0, 0.8)
    passed = [budget.drops(FLOOD) for _ in range(10 * KEEP_ONE_IN)].count(False)
    assert passed == 10
    assert budget.sampled[FLOOD].dropped == 10 * KEEP_ONE_IN - 10
    assert budget.dropped == 10 * KEEP_ONE_IN - 10


def test_sampling_ends_by_itself_and_lasts_longer_after_a_relapse() -> None:
    budget = Budget(20)
    for start, hold in ((0.0, 10.0), (20.0, 20.0), (50.0, 40.0)):
        budget.counts[FLOOD] += 1000
        (begun,) = budget.check(start, 0.0, 0.8).begun
        assert begun.hold_s == hold
        assert budget.check(start + hold - 1, 0.0, 0.0).ended == ()
        (ended,) = budget.check(start + hold, 0.0, 0.0).ended
        assert ended.pair == FLOOD
        assert not budget.sampled


def test_what_led_to_sampling_is_not_held_against_other_pairs() -> None:
    budget = Budget(20)
    flooded(budget, 0.0, 0.0)
    assert flooded(budget, 3.0, 3.0).begun
    budget.counts[QUIET] += 10
    assert budget.check(4.0, 3.0, 0.0) == Verdict()


def test_events_are_counted_only_where_a_limit_is_near() -> None:
    budget = Budget(20)
    seen = []
    for second, cpu_s in enumerate((0.0, 0.01, 0.02, 0.6, 0.61)):
        budget.check(float(second), cpu_s, 0.0)
        seen.append(budget.is_watching)
    assert seen == [False, False, False, True, True]
    budget.check(30.0, 0.7, 0.0)
    assert not budget.is_watching
    budget.check(31.0, 0.7, 0.3)
    assert budget.is_watching


def test_what_is_sampled_is_counted_until_it_ends() -> None:
    budget = Budget(20)
    budget.counts[FLOOD] += 1000
    budget.check(0.0, 0.0, 0.8)
    for second in (1.0, 9.0):
        budget.check(second, 0.0, 0.0)
        assert budget.is_watching
    budget.check(11.0, 0.0, 0.0)
    assert not budget.is_watching


def test_without_a_limit_nothing_is_counted() -> None:
    budget = Budget(0)
    budget.check(0.0, 100.0, 1.0)
    assert not budget.is_watching
