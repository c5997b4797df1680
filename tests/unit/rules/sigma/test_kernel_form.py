# SPDX-License-Identifier: MIT
"""The kernel's form of a rule holds wherever the rule does."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest
from support import sigma

from sysmonlx.enrich.network import address_text
from sysmonlx.rules import conditions
from sysmonlx.rules.clauses import FALSE, TRUE, Clause, Decision, Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, fold, passes
from sysmonlx.rules.sigma.forms import RuleInForce
from sysmonlx.rules.sigma.kernel_form import opposite, wider, with_rules
from sysmonlx.rules.sigma.pack import SigmaRule


def sysmon(part: Expression, values: dict[str, str]) -> bool:
    """Return whether an expression of Sysmon's words is true of an event."""
    if isinstance(part, Junction):
        answers = [sysmon(each, values) for each in part.parts]
        return all(answers) if part.need_all else any(answers)
    return passes(part, fold(values[part.field]))


@pytest.mark.parametrize("seed", range(40))
def test_kernel_form_is_never_too_narrow(seed: int) -> None:
    random = Random(seed)
    for _ in range(10):
        event_id = random.choice((3, 11))
        expression = sigma.random_expression(random, event_id, 3)
        wide = wider(expression)
        for _ in range(20):
            texts = sigma.random_texts(random, event_id)
            assert sysmon(opposite(wide), texts) is not sysmon(wide, texts)
            if sigma.holds(expression, texts):
                assert sysmon(wide, texts), (expression, texts)


def cidr(operand: str, *, negated: bool = False) -> conditions.Test:
    return conditions.Test(
        "DestinationIp", (Atom(Operation.CIDR, operand),), False, negated
    )


@pytest.mark.parametrize("negated", [False, True])
def test_networks_are_told_by_how_their_addresses_begin(negated: bool) -> None:
    for operand, inside, outside in (
        ("10.0.0.0/8", "10.9.8.7", "100.1.1.1"),
        ("172.16.0.0/12", "172.31.255.255", "172.32.0.1"),
        ("8.8.8.8/32", "8.8.8.8", "8.8.8.80"),
        ("::1/128", "0:0:0:0:0:0:0:1", "0:0:0:0:0:0:0:11"),
        ("fe80::/10", "febf:1:2:3:4:5:6:7", "fec0:1:2:3:4:5:6:7"),
        ("2001:db8::/32", "2001:db8:1:2:3:4:5:6", "2001:db80:1:2:3:4:5:6"),
    ):
        wide = wider(cidr(operand, negated=negated))
        assert sysmon(wide, {"DestinationIp": inside}) is not negated
        assert sysmon(wide, {"DestinationIp": outside}) is negated
    assert wider(cidr("fc00::/7")) == TRUE
    assert wider(cidr("0.0.0.0/0")) == TRUE
    assert wider(cidr("10.0.0.0/25")) == TRUE
    assert wider(cidr("::/0")) == TRUE


def by(operation: Operation, operand: str) -> conditions.Test:
    return conditions.Test("Image", (Atom(operation, operand),))


def decision(*clauses: Clause, default: bool) -> Decision:
    return Decision(11, clauses, default)


def rule(action: str) -> RuleInForce:
    expression = by(Operation.END, "/wget")
    return RuleInForce(
        SigmaRule(title="x", event_ids=(11,), expression=expression), action
    )


def test_rules_that_report_are_reasons_to_include() -> None:
    apt = Clause(by(Operation.IS, "/usr/bin/apt"), include=False)
    before = decision(default=False)
    assert with_rules(before, [apt], []) is before
    widened = with_rules(before, [apt], [rule("include")])
    assert [each.include for each in widened.clauses] == [False, True]
    assert widened.can_include
    assert not widened.include_by_default


def test_rules_add_nothing_to_an_event_that_is_reported_anyhow() -> None:
    before = decision(default=True)
    assert with_rules(before, [], [rule("include"), rule("always")]) is before


def test_kernel_never_excludes_what_is_always_reported() -> None:
    wget = Clause(by(Operation.END, "wget"), include=False)
    kept = with_rules(decision(wget, default=True), [wget], [rule("always")])
    for image, is_excluded in (("/bin/wget", False), ("/bin/xwget", True)):
        values = {"Image": image}
        assert sysmon(kept.clauses[0].condition, values) is is_excluded
    all_of_them = Clause(TRUE, include=False)
    kept = with_rules(decision(default=False), [all_of_them], [rule("always")])
    assert sysmon(kept.clauses[-1].condition, {"Image": "/bin/wget"})
    assert kept.clauses[0].condition not in (TRUE, FALSE)


def test_addresses_are_told_as_events_show_them() -> None:
    assert address_text(ip_address("fe80::a:1").packed, True) == "fe80:0:0:0:0:0:a:1"
    test = wider(cidr("fe80::a:1/128"))
    assert isinstance(test, conditions.Test)
    (atom,) = test.atoms
    assert atom == Atom(Operation.IS, "fe80:0:0:0:0:0:a:1")
