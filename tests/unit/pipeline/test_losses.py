# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.pipeline.losses import LossLedger

FULL = ("ProcessCreate", "ring full")
BAD = ("Records", "bad record")


def clock(wall_ns: int) -> str:
    return f"<{wall_ns}>"


def test_nothing_new_says_nothing() -> None:
    ledger = LossLedger(1)
    assert ledger.report({FULL: 0}, 2, clock) == ""
    assert ledger.total() == 0


def test_first_loss_is_since_counting_began() -> None:
    ledger = LossLedger(1)
    text = ledger.report({FULL: 123}, 2, clock)
    assert text == "ProcessCreate: 123 lost (ring full) since <1>"


def test_later_loss_is_since_the_check_before_and_told_once() -> None:
    ledger = LossLedger(1)
    ledger.report({FULL: 123}, 2, clock)
    assert ledger.report({FULL: 123}, 3, clock) == ""
    text = ledger.report({FULL: 130, BAD: 1}, 4, clock)
    assert text == (
        "ProcessCreate: 7 lost (ring full) since <3>; "
        "Records: 1 lost (bad record) since <3>"
    )
    assert ledger.total() == 131


def test_a_check_that_found_nothing_moves_the_time_of_the_next_loss() -> None:
    ledger = LossLedger(1)
    ledger.nothing_new(5)
    text = ledger.report({FULL: 1}, 6, clock)
    assert text == "ProcessCreate: 1 lost (ring full) since <5>"
