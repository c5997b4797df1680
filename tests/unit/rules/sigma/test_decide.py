# SPDX-License-Identifier: MIT
"""How Sysmon's rules and Sigma's decide together, against the definition."""

from __future__ import annotations

import json
from itertools import product
from random import Random

import pytest
from support import sigma
from support.packs import ruleset_with

from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import FORMAT, LEVELS, SigmaRule
from sysmonlx.rules.verdicts import PlainRules, rules_of
from sysmonlx.schema.events import EVENT_BY_ID


def element(onmatch: str, value: str, name: str = "") -> Element:
    item = Filter("Image", "contains", value, name)
    return Element("FileCreate", (11,), onmatch, "or", (item,), bound_id=11)


EXCLUDE, INCLUDE = element("exclude", "curl"), element("include", "wget", "named")


def expected(
    elements: tuple[Element, ...],
    rules: list[SigmaRule],
    action: str,
    texts: dict[str, str],
) -> tuple[str | None, str]:
    """Return RuleName or None, and RuleNames, by the definition of the actions."""
    low = texts["Image"].lower()
    hits = [each for each in rules if sigma.holds(each.expression, texts)]
    hits.sort(key=lambda each: (-LEVELS.index(each.level), each.title))
    is_excluded = EXCLUDE in elements and "curl" in low
    is_included = INCLUDE in elements and "wget" in low
    by_default = elements == (EXCLUDE,)
    name = "named" if is_included else "-"
    reported = not is_excluded and (is_included or by_default)
    if action == "include" and hits and not is_excluded:
        reported = True
    if action == "always" and hits:
        reported = True
        name = "-" if is_excluded else name
    if not reported:
        return None, "-"
    names = [name_of(each) for each in hits]
    if not names:
        return name, "-"
    return names[0], " | ".join([*names, *([name] if name != "-" else [])])


@pytest.mark.parametrize("action", ["tag", "include", "always"])
@pytest.mark.parametrize("seed", range(3))
def test_actions_combine_as_they_are_defined(action: str, seed: int) -> None:
    random = Random(seed)
    rules = [sigma.random_rule(random, number, 11) for number in range(8)]
    for elements in ((), (EXCLUDE,), (INCLUDE,), (EXCLUDE, INCLUDE)):
        ruleset = ruleset_with(rules, action, elements)
        compiled = compile_rules(ruleset)
        judge = rules_of(json_free(compiled.plain()))
        names = [f.name for f in EVENT_BY_ID[11].with_appended(("RuleNames",)).fields]
        for _ in range(40):
            texts = sigma.random_texts(random, 11)
            values = [texts.get(name, "-") for name in names]
            found = judge.match(11, values)
            assert (found, values[-1]) == expected(elements, rules, action, texts)


def json_free(plain: PlainRules) -> PlainRules:
    """Return the rules as they come out of another process."""
    import marshal

    found: PlainRules = marshal.loads(marshal.dumps(plain))
    return found


def test_rules_switch_on_the_events_that_they_report_and_no_others() -> None:
    random = Random(1)
    rules = [sigma.random_rule(random, number, 3) for number in range(8)]
    for action, event_id in product(("tag", "include", "always"), (3, 11)):
        compiled = compile_rules(ruleset_with(rules, action))
        expects = event_id == 3 and action != "tag"
        assert compiled.can_emit(event_id) is expects
        assert compiled.kernel_decision(event_id).can_include is expects
        assert compiled.can_emit(1)


def test_rules_without_packs_are_judged_by_what_they_were_before() -> None:
    compiled = compile_rules(Ruleset("4.90", (EXCLUDE,)))
    assert compiled.kernel_decision(11) is compiled.decision(11)
    assert compiled.match(11, ["-"] * 8) == "-"
    assert not compiled.judges


def test_level_and_status_choose_rules() -> None:
    expression = sigma.random_expression(Random(1), 11, 0)
    rules = [
        SigmaRule(
            id=f"{level} {status}",
            title="x",
            level=level,
            status=status,
            event_ids=(11,),
            expression=expression,
        )
        for level in LEVELS
        for status in ("experimental", "test", "stable")
    ]
    ruleset = ruleset_with(rules, "tag", level="medium", status="test")
    assert len(compile_rules(ruleset).sigma) == 6
    assert json.loads(ruleset.packs[0].text)["format"] == FORMAT
