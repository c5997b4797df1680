# SPDX-License-Identifier: MIT
"""Event 25: its types, its hook, and the example that leaves out runc."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.enrichment import encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.enrich.tampering import TAMPERING_HOOKS
from sysmonlx.policy import Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.schema.field_values import MEMORY_WAYS, TAMPERINGS

ROOT = Path(__file__).resolve().parents[3]
RUNC = "/memfd:runc_cloned:/proc/self/exe (deleted)"
MEMFD = TAMPERINGS[0]


@pytest.mark.parametrize("number", [*range(len(TAMPERINGS)), 99])
def test_types_are_those_of_the_kernel_side(layouts: Layouts, number: int) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, "process_tampering", 25)
    data = encode(layouts, "process_tampering", tgid=2, kind=number)
    values = maker.make(data, context.processes.acting(data))
    known = [*TAMPERINGS, "-"][min(number, len(TAMPERINGS))]
    assert named(25, values)["Type"] == known


@pytest.mark.parametrize("number", [*range(len(MEMORY_WAYS)), 99])
def test_reason_is_the_way_of_the_kernel_side(layouts: Layouts, number: int) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, "process_tampering", 25)
    layout = layouts.by_name["process_tampering"]
    longer = with_appended(25, maker, ["Reason"], layout, context)
    data = encode(layouts, "process_tampering", tgid=2, way=number)
    values = longer.make(data, context.processes.acting(data))
    assert values[-1] == [*MEMORY_WAYS, "-"][min(number, len(MEMORY_WAYS))]


def test_numbers_of_the_kernel_side_are_those_of_the_texts(layouts: Layouts) -> None:
    btf = layouts._btf
    kinds, ways = btf.enumerators("tampering"), btf.enumerators("memory_way")
    assert [*kinds.values()] == [*range(len(TAMPERINGS) + 1)]
    assert [*ways.values()] == [*range(len(MEMORY_WAYS))]


def test_hook_is_there_for_the_event_alone() -> None:
    replaced, *others = TAMPERING_HOOKS
    assert hooks_for((25).__eq__, Settings()) == (replaced,)
    assert {each.needs_setting for each in others} == {
        "mass_change",
        "executable_memory",
    }
    changes = Settings(mass_change=True, executable_memory=True)
    assert hooks_for((25).__eq__, changes) == TAMPERING_HOOKS
    assert not {*TAMPERING_HOOKS} & {*hooks_for((1).__eq__, changes)}


@pytest.mark.parametrize(
    ("image", "parent", "user", "rule"),
    [
        (RUNC, "/usr/bin/runc", "root", None),
        (RUNC, "/usr/sbin/runc", "root", None),
        (RUNC, "/usr/bin/runc", "alice", "T1620"),
        (RUNC, "/home/alice/runc", "root", "T1620"),
        (RUNC, "-", "root", "T1620"),
        ("/memfd:x (deleted)", "/usr/bin/runc", "root", "T1620"),
    ],
)
def test_example_leaves_out_runc_by_who_started_it(
    image: str, parent: str, user: str, rule: str | None
) -> None:
    data = (ROOT / "config_schema/more.xml").read_bytes()
    policy, _ = read_policy(data, "more.xml")
    event = EVENT_BY_ID[25].with_appended(policy.settings.appended_fields)
    known = {"Image": image, "Type": MEMFD, "User": user, "ParentImage": parent}
    values = [known.get(field.name, "-") for field in event.fields]
    rules = compile_rules(policy.ruleset)
    assert rules.decide[25](values) == rule
    assert not any(rules.can_emit(number) for number in (3, 10, 11, 23))
