# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.hashing.share import Share


def test_no_limit_never_waits() -> None:
    share = Share(0, 100.0)
    share.spend(100.0, 1e6)
    assert share.wait_s(100.0, reserve=1.0) == 0


def test_what_was_saved_may_be_spent_at_once() -> None:
    share = Share(25, 100.0)  # 2.5 s can be saved
    share.spend(100.0, 2.4)
    assert share.wait_s(100.0) == 0
    share.spend(100.0, 0.2)
    assert share.wait_s(100.0) == pytest.approx(0.101 / 0.25)


def test_it_grows_with_time_up_to_the_limit() -> None:
    share = Share(50, 0.0)
    share.spend(0.0, 5.0)
    share.spend(2.0, 0.0)
    assert share.wait_s(2.0) == 0
    assert share.wait_s(2.0, reserve=0.5) == pytest.approx(1.501 / 0.5)
    assert share.wait_s(1000.0, reserve=0.9) == 0
    share.spend(1000.0, 5.1)
    assert share.wait_s(1000.0) > 0


def test_over_a_long_time_no_more_than_the_share_is_spent() -> None:
    share, now_s, spent_s = Share(10, 0.0), 0.0, 0.0
    while now_s < 1000:
        wait_s = share.wait_s(now_s)
        now_s += wait_s
        if not wait_s:
            share.spend(now_s, 0.004)
            spent_s += 0.004
            now_s += 0.004
    assert spent_s == pytest.approx(0.1 * 1000 + 1, rel=0.01)


def test_who_waits_as_long_as_told_need_not_wait_again() -> None:
    share = Share(1, 0.0)
    share.spend(0.0, 0.5)
    now_s = share.wait_s(0.0)
    assert share.wait_s(now_s) == 0


@pytest.mark.parametrize(("percent", "may_spend_s"), [(5, 0.5), (80, 2.5)])
def test_another_part_keeps_what_was_saved(percent: int, may_spend_s: float) -> None:
    share = Share(25, 0.0)
    share.change(percent, 0.0)
    share.spend(0.0, may_spend_s - 0.001)
    assert share.wait_s(0.0) == 0
    share.spend(0.0, 0.002)
    assert share.wait_s(0.0) > 0


def test_a_limit_after_none_begins_with_all_of_it() -> None:
    share = Share(0, 0.0)
    share.change(10, 50.0)
    share.spend(50.0, 0.9)
    assert share.wait_s(50.0) == 0


def test_light_work_does_not_wait_for_what_other_work_owes() -> None:
    share = Share(1, 0.0)
    share.spend(0.0, 0.15)
    assert share.wait_s(0.0) == pytest.approx(5.1)
    assert share.wait_s(0.0, is_light=True) == 0


def test_light_work_waits_for_what_it_owes_itself_and_not_long() -> None:
    share = Share(1, 0.0)
    share.spend(0.0, 0.1)
    share.spend(0.0, 0.05, is_light=True)
    wait_s = share.wait_s(0.0, is_light=True)
    assert wait_s == pytest.approx(0.6)
    share.spend(wait_s, 0.0)
    assert share.wait_s(wait_s, is_light=True) == 0


def test_light_work_that_costs_much_waits_like_any_other() -> None:
    share = Share(1, 0.0)
    share.spend(0.0, 0.1)
    share.spend(0.0, 10.0, is_light=True)
    wait_s = share.wait_s(0.0, is_light=True)
    assert wait_s > 900
    assert share.wait_s(wait_s, is_light=True) == 0


@pytest.mark.parametrize("cost_s", [0.0003, 0.004, 0.1])
def test_light_and_other_work_together_keep_to_the_share(cost_s: float) -> None:
    share, now_s, spent_s = Share(5, 0.0), 0.0, 0.0
    while now_s < 200:
        waits_s = [share.wait_s(now_s, is_light=light) for light in (True, False)]
        for is_light, wait_s in zip((True, False), waits_s, strict=True):
            if not wait_s:
                share.spend(now_s, cost_s, is_light=is_light)
                spent_s += cost_s
                now_s += cost_s
        now_s += min(waits_s)
    assert spent_s == pytest.approx(0.05 * 200, abs=0.05 * 22 + 0.2)


def test_who_waits_for_what_grows_last_need_not_wait_again() -> None:
    share = Share(5, 0.0)
    share.spend(0.0, 0.6)
    share.spend(0.0, 0.03, is_light=True)
    now_s = share.wait_s(0.0)
    assert share.wait_s(now_s) == 0
    assert now_s > 2.6
