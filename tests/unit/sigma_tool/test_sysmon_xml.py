# SPDX-License-Identifier: MIT
"""Rules as a configuration of Sysmon: the same events match, or the rule is refused."""

from __future__ import annotations

from random import Random

import pytest
from support import sigma
from support.packs import asks, correlation, rule

from sysmonlx.config.reader import read_policy
from sysmonlx.rules import conditions
from sysmonlx.rules.clauses import Junction
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import Pack, SigmaRule
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.sigma_tool.sysmon_xml import xml_of


def names(event_id: int) -> list[str]:
    return [field.name for field in EVENT_BY_ID[event_id].fields]


@pytest.mark.parametrize("event_id", [1, 3, 11])
def test_what_is_written_matches_the_same_events(event_id: int) -> None:
    random = Random(event_id)
    written = 0
    for number in range(400):
        one = sigma.random_rule(random, number, event_id)
        text, refused = xml_of(Pack((one,)))
        if refused:
            continue
        written += 1
        policy, _ = read_policy(text.encode(), "x.xml")
        compiled = compile_rules(policy.ruleset)
        for _ in range(25):
            texts = sigma.random_texts(random, event_id)
            values = [texts.get(name, "-") for name in names(event_id)]
            found = compiled.match(event_id, values) is not None
            assert found is sigma.holds(one.expression, texts), text
    assert written > 20


def refusal(one: SigmaRule) -> str:
    _, refused = xml_of(Pack((one,)))
    return refused[0][1] if refused else ""


def test_what_sysmon_cannot_ask_is_refused_with_the_reason() -> None:
    for operation, operand, reason in (
        (Operation.REGEX, "x", "Sysmon has no regular expressions"),
        (Operation.GLOB, "a*b", "Sysmon has no wildcards within a value"),
        (Operation.SAME_AS, "User", "Sysmon has no comparisons of two fields"),
        (Operation.CASED_IS, "x", "Sysmon has no 'cased is'"),
        (Operation.CIDR, "fe80::/10", "Sysmon has no networks of IPv6"),
        (Operation.CONTAINS, "\x01", "characters that XML has not"),
    ):
        assert reason in refusal(rule("x", asks("Image", operation, operand)))
    ours = rule("x", asks("ScriptPath", Operation.IS, "x"))
    assert refusal(ours) == "ScriptPath is no field of Sysmon's"
    ends = [asks("Image", Operation.END, *(f"/{n}" for n in range(17)))] * 2
    many = Junction(True, (ends[0], asks("User", Operation.END, *map(str, range(17)))))
    assert "more than 256 Rules" in refusal(rule("x", many))
    assert refusal(rule("x", conditions.Test("Image", ()))) == "it can match no event"
    assert refusal(rule("x")) == "it matches every event"


def test_a_configuration_has_the_severest_last_and_names_authors() -> None:
    low = rule("Low -- <x>", asks("Hashes", Operation.CONTAINS, "a"), level="low")
    high = rule("High", asks("Image", Operation.END, "/a", "/b;c"), level="high")
    part = rule("Part", asks("Image", Operation.IS, "x"))
    joined = correlation("Joined", part, high)
    text, refused = xml_of(Pack((high, low, part), ()))
    assert text.index("Low - - <x>") < text.index("<!-- High")
    assert "<HashAlgorithms>*</HashAlgorithms>" in text
    assert "sigma=Low -- &lt;x&gt;,level=low" in text
    assert not refused
    _, refused = xml_of(Pack((high, low, part), (joined,)))
    assert [why for _, why in refused] == ["it is but a step of a correlation"] * 2
