# SPDX-License-Identifier: MIT
"""Event 8: records without a target, hostile names, its hooks, its example."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.enrichment import complete, encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.appended import with_appended
from sysmonlx.enrich.file import FILE_HOOKS
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.kernel_text import text
from sysmonlx.policy import Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID

ROOT = Path(__file__).resolve().parents[3]
RECORD = "process_write"


def made(layouts: Layouts, **members: object) -> dict[str, str]:
    context = make_context(layouts)
    maker = make_maker(layouts, context, RECORD, 8)
    data = encode(layouts, RECORD, tgid=2, **members)
    event = complete(maker, data, context.processes.acting(data))
    assert event is not None
    return named(8, event[0])


def test_of_a_target_that_has_ended_the_given_id_is_known(layouts: Layouts) -> None:
    values = made(layouts, given_pid=77, address=0x7F12AB)
    assert values["TargetProcessId"] == values["NewThreadId"] == "77"
    assert values["TargetProcessGuid"] == "{00000000-0000-0000-0000-000000000000}"
    assert values["TargetImage"] == values["TargetUser"] == "-"
    assert values["StartAddress"] == "0x00000000007F12AB"
    assert values["StartModule"] == values["StartFunction"] == "-"


def test_address_and_module_are_unknown_together(layouts: Layouts) -> None:
    values = made(layouts, target_tgid=7, target_tid=8)
    assert values["StartAddress"] == values["StartModule"] == "-"
    assert (values["TargetProcessId"], values["NewThreadId"]) == ("7", "8")


@given(name=st.binary(min_size=1, max_size=4096), address=st.integers(1, 2**64 - 1))
def test_any_name_of_a_module_is_told(
    layouts: Layouts, name: bytes, address: int
) -> None:
    values = made(layouts, module=name, address=address)
    assert values["StartModule"] == text(name)
    assert int(values["StartAddress"], 16) == address
    assert len(values["StartAddress"]) == 18


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("BY_MEMORY_COPY", "ProcessVmWrite"),
        ("BY_POKE", "PtraceMemory"),
        ("BY_REGISTERS", "PtraceRegisters"),
        ("BY_MEMORY_FILE PATH_TRUNCATED", "MemoryFile"),
    ],
)
def test_reason_is_the_way(layouts: Layouts, flag: str, reason: str) -> None:
    context = make_context(layouts)
    maker = make_maker(layouts, context, RECORD, 8)
    layout = layouts.by_name[RECORD]
    longer = with_appended(8, maker, ["Reason"], layout, context)
    data = encode(layouts, RECORD, tgid=2, flags=flag)
    assert longer.make(data, context.processes.acting(data))[-1] == reason


def test_hooks_are_there_for_the_event_alone() -> None:
    names = {each.name for each in hooks_for((8).__eq__, Settings())}
    by_ring = {"", " beyond its queue", " without completion"}
    assert names == {"system calls", *(f"files by io_uring{each}" for each in by_ring)}
    assert names == {each.name for each in FILE_HOOKS if 8 in each.events}
    assert not hooks_for((1).__eq__, Settings())


@pytest.mark.parametrize(
    ("reason", "image", "rule"),
    [
        ("PtraceMemory", "/tmp/x", "T1055.008"),
        ("PtraceRegisters", "/tmp/x", "T1055.008"),
        ("MemoryFile", "/tmp/x", "T1055.009"),
        ("ProcessVmWrite", "/tmp/x", "T1055"),
        ("MemoryFile", "/usr/bin/gdb", None),
    ],
)
def test_example_names_techniques_and_leaves_out_debuggers(
    reason: str, image: str, rule: str | None
) -> None:
    data = (ROOT / "config_schema/more.xml").read_bytes()
    policy, _ = read_policy(data, "more.xml")
    event = EVENT_BY_ID[8].with_appended(policy.settings.appended_fields)
    known = {"SourceImage": image, "Reason": reason}
    values = [known.get(field.name, "-") for field in event.fields]
    assert compile_rules(policy.ruleset).decide[8](values) == rule
