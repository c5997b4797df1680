# SPDX-License-Identifier: MIT
"""The example on top of `rules.kernel.compiler` is what the compiler makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from support.configurations import document, read

from sysmonlx.policy import Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.kernel import compiler
from sysmonlx.rules.kernel.compiler import compile_kernel_rules
from sysmonlx.schema.events import EVENT_BY_ID, FILE_CREATE

HEADER = Path(__file__).parents[4] / "ebpf" / "filter" / "rules.bpf.h"
TEXT = compiler.__doc__ or ""


def enumerators() -> dict[str, int]:
    known: dict[str, int] = {}
    for body in re.findall(r"enum \w+ \{(.*?)\};", HEADER.read_text(), re.DOTALL):
        items = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(",")
        last = -1
        for name, _, value in (item.strip().partition(" = ") for item in items):
            last = eval(value, {}, known) if value else last + 1
            known[name] = last
    return known


def test_terms_of_the_example() -> None:
    (rules,) = re.findall(r"(?ms)^    <FileCreate.*?^    </FileCreate>", TEXT)
    group = f'<RuleGroup groupRelation="or">{dedent(rules)}</RuleGroup>'
    policy, warnings = read(document(group))
    assert warnings == ()
    compiled = compile_rules(policy.ruleset)
    decisions = {event_id: compiled.decision(event_id) for event_id in EVENT_BY_ID}
    kernel = compile_kernel_rules(decisions, enumerators())
    assert kernel is not None
    shown = [
        (
            *(number, term.word, term.mask, "yes" if term.negated else "no"),
            "group clause" if term.ends_clause else "group",
            term.next_clause,
        )
        for number, term in enumerate(kernel.terms)
    ]
    row = r"(?m)^    (\d+) +(\d+) +(\d+) +(yes|no) +(group(?: clause)?) +(\d+)$"
    table = re.findall(row, TEXT)
    assert [tuple(map(str, each)) for each in shown] == table
    (event,) = (each for each in kernel.events if each.event_id == FILE_CREATE.id)
    assert (event.exclude, event.include, event.end) == (0, 4, 4)
    assert event.default_include
    assert event.by_image


def test_events_can_be_left_to_user_space_whatever_the_rules_are() -> None:
    compiled = compile_rules(Ruleset())
    decisions = {event_id: compiled.decision(event_id) for event_id in EVENT_BY_ID}
    kernel = compile_kernel_rules(decisions, enumerators(), {22: "all are needed"})
    assert kernel is not None
    reasons = {each.event_id: each.reason for each in kernel.events}
    assert reasons.pop(22) == "all are needed"
    assert {*reasons.values()} == {""}
    assert [each.event_id for each in kernel.events if not each.never] == [22]
