# SPDX-License-Identifier: MIT
"""Event 15: its values, its hooks, and the example."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.enrichment import encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.enrich.attribute import ATTRIBUTE_HOOKS, contents_of
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.policy import Settings
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID

ROOT = Path(__file__).resolve().parents[3]
RECORD = "attribute_set"


def values_of(layouts: Layouts, value: bytes, size: int) -> dict[str, str]:
    context = make_context(layouts)
    maker = make_maker(layouts, context, RECORD, 15)
    data = encode(
        layouts,
        RECORD,
        tgid=2,
        path=b"/srv/file",
        name=b"user.note",
        value=value,
        value_size=size,
    )
    return named(15, maker.make(data, context.processes.acting(data)))


def test_value_that_is_there_whole_is_hashed_and_shown(layouts: Layouts) -> None:
    values = values_of(layouts, b"abc", 3)
    assert values["TargetFilename"] == "/srv/file:user.note"
    assert values["Contents"] == "abc"
    assert values["Hash"] == (
        "SHA256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_value_that_is_longer_is_neither(layouts: Layouts) -> None:
    values = values_of(layouts, b"", 1025)
    assert (values["Hash"], values["Contents"]) == ("-", "-")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"text", "text"),
        (b"text\0", "text"),
        ("Grüße".encode(), "Grüße"),
        (b"a\nb", "-"),
        (b"\xff", "-"),
        (b"", "-"),
        (b"\0", "-"),
    ],
)
def test_contents_are_text_that_can_be_printed(value: bytes, shown: str) -> None:
    assert contents_of(b"user.note", value) == shown


def test_capabilities_that_are_none_are_unknown() -> None:
    assert contents_of(b"security.capability", b"text") == "-"


def test_hooks_are_there_for_the_event_alone() -> None:
    assert hooks_for((15).__eq__, Settings()) == ATTRIBUTE_HOOKS
    assert not {*ATTRIBUTE_HOOKS} & {*hooks_for((11).__eq__, Settings())}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("/tmp/python3:security.capability", "T1548.001"),
        ("/home/a/x.sh:user.xdg.origin.url", "T1105"),
        ("/home/a/x.sh:user.note", None),
    ],
)
def test_example_names_the_technique(name: str, rule: str | None) -> None:
    data = (ROOT / "config_schema/more.xml").read_bytes()
    policy, _ = read_policy(data, "more.xml")
    event = EVENT_BY_ID[15].with_appended(policy.settings.appended_fields)
    values = [{"TargetFilename": name}.get(f.name, "-") for f in event.fields]
    assert compile_rules(policy.ruleset).decide[15](values) == rule
