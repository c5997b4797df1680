# SPDX-License-Identifier: MIT
from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from sysmonlx.rules import conditions
from sysmonlx.rules.clauses import Junction
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.sigma.pack import (
    DEPTH_LIMIT,
    Correlation,
    Pack,
    PackError,
    SigmaRule,
    dump,
    load,
)

OPERANDS = {
    Operation.CIDR: "fe80::/10",
    Operation.SAME_AS: "*User*",
    Operation.MISSING: "",
    Operation.CASED_IS: "X",
    Operation.REGEX: "(?i)X",
    **dict.fromkeys(
        (
            *(Operation.NUMBER_LT, Operation.NUMBER_LTE),
            *(Operation.NUMBER_GT, Operation.NUMBER_GTE),
        ),
        "-1.5",
    ),
}
EVERY_OPERATION = tuple(
    conditions.Test("Image", (Atom(each, OPERANDS.get(each, "x")),), negated=True)
    for each in Operation
    if each not in (Operation.LESS, Operation.MORE)
)
FIRST = SigmaRule(
    id="1",
    title="first",
    level="high",
    tags=("attack.t1105",),
    event_ids=(1,),
    expression=Junction(True, (Junction(False, EVERY_OPERATION),)),
)
SECOND = SigmaRule(
    id="2", title="second", event_ids=(23, 26), expression=conditions.Test("Image", ())
)
BOTH = Correlation(
    id="3",
    title="both",
    type="temporal_ordered",
    rules=("1", "2"),
    group_by=("File", "Lineage"),
    aliases=(("File", (("1", "Program"), ("2", "TargetFilename"))),),
    timespan_s=600,
)
PACK = Pack((FIRST, SECOND), (BOTH,))


def plain() -> Any:
    return copy.deepcopy(json.loads(json.dumps(dump(PACK))))


def test_pack_survives_json() -> None:
    assert load(plain()) == PACK
    assert load(json.loads(json.dumps(dump(Pack())))) == Pack()


def test_a_pack_of_the_first_format_means_the_same() -> None:
    raw = plain()
    raw["format"] = 1
    assert load(raw) == PACK


def test_rules_may_ask_fields_that_events_have_on_request() -> None:
    raw = plain()
    raw["rules"][0]["expression"] = [*TEST[:1], "ScriptPath", *TEST[2:]]
    asked = load(raw).rules[0].expression
    assert isinstance(asked, conditions.Test)
    assert asked.field == "ScriptPath"


def nested(pack: Any) -> None:
    for _ in range(DEPTH_LIMIT + 1):
        pack["rules"][0]["expression"] = ["all", pack["rules"][0]["expression"]]


TEST = ["test", "Image", False, False, [["is", "x"]]]


def expression(value: object) -> Callable[[Any], None]:
    return lambda pack: pack["rules"][0].update(expression=value)


def of_rule(**values: object) -> Callable[[Any], None]:
    return lambda pack: pack["rules"][0].update(values)


def of_both(**values: object) -> Callable[[Any], None]:
    return lambda pack: pack["correlations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pack: pack.update(format=3), "format 3"),
        (lambda pack: pack.update(format=True), "format True"),
        (lambda pack: pack.update(more=1), "unknown in the pack: 'more'"),
        (lambda pack: pack.pop("rules"), "missing in the pack: 'rules'"),
        (lambda pack: pack.update(rules={}), "a list"),
        (lambda pack: pack.update(rules=[1]), "a rule is no object"),
        (lambda pack: pack.update(rules=pack["rules"] * 2049), "more than 4096"),
        (lambda pack: pack.update(rules=pack["rules"] * 2), "an id is given twice"),
        (nested, "nested deeper"),
        (expression([]), "no expression"),
        (expression(["some", TEST]), "'some' is no expression"),
        (expression([*TEST, 1]), "no expression"),
        (expression(["test", "Imagee", False, False, []]), "field 'Imagee'"),
        (expression(["test", "Image", 0, False, []]), "true or false"),
        (expression([*TEST[:4], [["less than", "x"]]]), "operation 'less than'"),
        (expression([*TEST[:4], [["same as", "x"]]]), "field 'x'"),
        (expression([*TEST[:4], [["same as", "**User"]]]), "field '*User'"),
        (expression([*TEST[:4], [["contains", "X"]]]), "no operand of 'contains'"),
        (expression([*TEST[:4], [["cidr", "10.0.0.1/8"]]]), "no operand of 'cidr'"),
        (expression([*TEST[:4], [["number less than", "0x1"]]]), "no operand of"),
        (expression([*TEST[:4], [["missing", "x"]]]), "no operand of 'missing'"),
        (expression([*TEST[:4], [["is", 1]]]), "a text"),
        (expression([*TEST[:4], [["is"]]]), "no pair"),
        (expression([*TEST[:4], [["is", "\ud800"]]]), "half a character"),
        (expression([*TEST[:4], [["is", "x" * 65_537]]]), "longer"),
        (expression(["any", *[TEST] * 65_537]), "more than"),
        (expression([*TEST[:4], [["is", "x"]] * 262_145]), "more than"),
        (of_rule(level="worst"), "level 'worst'"),
        (of_rule(status="deprecated"), "status 'deprecated'"),
        (of_rule(line=-1), "line: a number"),
        (of_rule(event_ids=[]), "at least one"),
        (of_rule(event_ids=[1, 1]), "each event once"),
        (of_rule(event_ids=[99]), "event 99"),
        (of_both(type="event_count"), "type 'event_count'"),
        (of_both(rules=["1"]), "2 to 4"),
        (of_both(rules=["1", "1"]), "2 to 4 different"),
        (of_both(rules=["1", "9"]), "not there"),
        (of_both(timespan_s=0), "timespan_s: a number"),
        (of_both(group_by=["Imagee"]), "'Imagee' is no field"),
        (of_both(group_by=["RuleName"]), "'RuleName' is no field"),
        (
            of_both(aliases={"File": {"1": "Ancestry", "2": "Ancestry"}}),
            "Ancestry has no alias",
        ),
        (of_both(aliases=[]), "aliases"),
    ],
)
def test_pack_is_refused_as_a_whole(change: Callable[[Any], None], reason: str) -> None:
    raw = plain()
    change(raw)
    with pytest.raises(PackError) as caught:
        load(raw)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
