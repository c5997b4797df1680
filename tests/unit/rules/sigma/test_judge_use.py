# SPDX-License-Identifier: MIT
"""What rules cost is known from one event in many, rule by rule."""

from __future__ import annotations

from support.packs import asks, rule, ruleset_with

from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.judge import MEASURED_EACH, SigmaJudge
from sysmonlx.schema.events import PROCESS_CREATE
from sysmonlx.service.statistics import sigma_terms

RULES = (
    rule("Seldom", asks("CommandLine", Operation.CONTAINS, "secret word"), level="low"),
    rule("Often", asks("CommandLine", Operation.CONTAINS, "number "), level="high"),
)


def judge() -> SigmaJudge:
    made = compile_rules(ruleset_with(RULES, "tag"))
    made.decide[1](values("-"))
    return made.judges[1]


def values(line: str) -> list[str]:
    fields = PROCESS_CREATE.with_appended(("RuleNames",)).fields
    return [line if each.name == "CommandLine" else "-" for each in fields]


def test_one_event_in_many_is_measured_and_has_the_same_answer() -> None:
    mine = judge()
    found = [mine.find(values(f"number {n}")) for n in range(2 * MEASURED_EACH)]
    assert {*found} == {1}
    assert (mine.use.asked, mine.use.measured) == (2 * MEASURED_EACH + 1, 2)
    assert mine.use.candidates == [2, 0]
    assert 0 < mine.use.rules_ns[0] <= mine.use.measured_ns


def test_it_is_told_rule_by_rule() -> None:
    mine = judge()
    for number in range(MEASURED_EACH):
        mine.find(values(f"number {number}"))
    terms = sigma_terms([mine])
    assert terms["asked"] == MEASURED_EACH + 1
    assert terms["us_asked"] > 0
    often, seldom = terms["rules"]
    assert (often["title"], often["candidates"]) == ("Often", MEASURED_EACH)
    assert often["us"] > 0
    assert (seldom["candidates"], seldom["us"], seldom["author"]) == (0, 0.0, "")


def test_nothing_is_told_before_something_was_measured() -> None:
    assert "us_asked" not in sigma_terms([judge()])
