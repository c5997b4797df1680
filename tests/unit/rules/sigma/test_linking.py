# SPDX-License-Identifier: MIT
"""What an event is called after rules and correlations; which rule is which step."""

from __future__ import annotations

from support.packs import asks, correlation, rule

from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.correlator import (
    ANCESTRY,
    LINEAGE,
    PROGRAM,
    Correlator,
    Fired,
)
from sysmonlx.rules.sigma.forms import RuleInForce, judge_form, ordered
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.sigma.linking import named
from sysmonlx.rules.sigma.steps import (
    CorrelationInForce,
    correlation_forms,
    grouped_by,
    links_of,
)
from sysmonlx.schema.events import EVENT_BY_ID

ANY = asks("Image", Operation.CONTAINS, "x")
LOW, HIGH = rule("B", ANY, level="low"), rule("C", ANY, level="high")
STEP = rule("Step", ANY, event_id=11)
FIELDS = EVENT_BY_ID[1].fields


def joined(title: str, level: str, **more: object) -> CorrelationInForce:
    of = correlation(title, STEP, LOW, level=level, **more)  # type: ignore[arg-type]  # any of its fields
    return CorrelationInForce(of, (STEP, LOW))


def judge_of(*correlations: CorrelationInForce) -> SigmaJudge:
    rules = [RuleInForce(LOW, "tag", is_named=False), RuleInForce(HIGH, "tag")]
    mine = ordered(rules, 1)
    return SigmaJudge(judge_form(mine, FIELDS, correlations))


def test_the_severest_comes_first_and_correlations_before_rules() -> None:
    each = [joined("Z", "high"), joined("A", "medium"), joined("|", "critical")]
    correlator, judge = Correlator(correlation_forms(each)), judge_of(*each)
    fired = [Fired(0, ("t1 {1}", "t2 {2}")), Fired(1, ("t3 {3}",))]
    found = named(judge, correlator, (0b11, "mine"), fired)
    assert found.rule_name == "sigma=Z,level=high"
    assert found.rule_names.split(" | ") == [
        "sigma=Z,level=high,after=t1 {1},after=t2 {2}",
        "sigma=C,level=high",
        "sigma=A,level=medium,after=t3 {3}",
        "mine",
    ]
    found = named(judge, correlator, (0, "-"), [Fired(2, ("t {1}",))])
    assert found.rule_name == "sigma=|,level=critical"
    assert found.rule_names == "sigma=/,level=critical,after=t {1}"


def test_names_of_a_correlation_keep_the_bounds_of_all_names() -> None:
    each = [joined("x" * 400 + f"{n}", "high") for n in range(20)]
    correlator, judge = Correlator(correlation_forms(each)), judge_of(*each)
    fired = [Fired(n, ("2026-01-01 00:00:00.000 {1}",) * 3) for n in range(20)]
    found = named(judge, correlator, (0b11, "-"), fired)
    assert len(found.rule_names) <= 4096
    assert found.rule_names.split(" | ")[-1].startswith("+")


def test_links_tell_the_step_and_where_its_group_is() -> None:
    aliases = {"File": {"B": PROGRAM, "Step": "TargetFilename"}}
    by = (LINEAGE, ANCESTRY, "File", "User")
    each = joined("A", "high", by=by, aliases=aliases)
    names = [field.name for field in FIELDS]
    (link,) = links_of([HIGH, LOW], FIELDS, [each])
    program = (PROGRAM, names.index("CurrentDirectory"))
    assert link == (0b10, 0, 1, (LINEAGE, program, names.index("User")))
    assert grouped_by([STEP], [each]) == {"TargetFilename", "User"}
    (form,) = correlation_forms([each])
    assert (form.has_ancestry, form.has_lineage, form.steps) == (True, True, 2)


def test_a_correlation_means_the_same_as_long_as_its_rules_do() -> None:
    (first,) = correlation_forms([joined("A", "high")])
    (again,) = correlation_forms([joined("A", "low")])
    (other,) = correlation_forms([joined("A", "high", span_s=61)])
    low = rule("B", asks("Image", Operation.CONTAINS, "y"), level="low")
    changed = CorrelationInForce(joined("A", "high").correlation, (STEP, low))
    (third,) = correlation_forms([changed])
    assert first.meaning == again.meaning
    assert len({each.meaning for each in (first, other, third)}) == 3
