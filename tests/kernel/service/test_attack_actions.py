# SPDX-License-Identifier: MIT
"""Kinds of attacks: every rule that is true of what strace(1) saw is named.

`make test-rules` does them, with the rules that come along, and with those of the
folder that SYSMONLX_SIGMA_RULES names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support import rule_actions, traced
from support.rule_actions import actions, run_scripts
from support.running import Event, tree
from support.shipped import PACK
from support.sigma import holds
from support.watch import watching

from sysmonlx.config.sigma import child, files
from sysmonlx.rules import clauses
from sysmonlx.rules.sigma.forms import why_not
from sysmonlx.rules.sigma.pack import SigmaRule, load
from sysmonlx.schema.options import SHIPPED

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        os.environ.get("RULES") != "all", reason="make test-rules does them"
    ),
]

TABLE = rule_actions.TABLE.with_name("attack_actions.txt")
ACTIONS = {name: each for name, each in actions(TABLE).items() if name != "setup"}
PUBLIC = os.environ.get("SYSMONLX_SIGMA_RULES", "")
#: Of events other than 1 nothing but hits is reported.
ELEMENTS = '<ProcessCreate onmatch="exclude"/>'
_NAME = re.compile(r"sigma=(.*?),level=")


class Seen(NamedTuple):
    """Of each action what strace saw, and the events of its processes."""

    truth: dict[str, list[traced.Fields]]
    events: dict[str, list[Event]]


@cache
def rules() -> dict[int, list[tuple[SigmaRule, set[str]]]]:
    """Return by event the rules in force that name some, and the fields they ask."""
    pack = load(json.loads(PACK.read_text("utf-8")))
    found = [each for each in pack.rules if not _is_step(each)]
    if PUBLIC:
        found += child.read(files.fetch([PUBLIC])).pack.rules
    by_event: dict[int, list[tuple[SigmaRule, set[str]]]] = {}
    for each in found:
        if not why_not(each):
            asked = {test.field for test in clauses.tests_of([each.expression])}
            for event_id in each.event_ids:
                by_event.setdefault(event_id, []).append((each, asked))
    return by_event


def _is_step(rule: SigmaRule) -> bool:
    return Path(rule.file).name.startswith("step_")


def _settings() -> str:
    names = [SHIPPED, *([PUBLIC] if PUBLIC else [])]
    return "".join(
        f'<Rules action="include" level="informational">{each}</Rules>'
        for each in names
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    top = tmp_path_factory.mktemp("attacks")
    setup = actions()["setup"].setup + actions(TABLE)["setup"].setup
    work = [
        (name, "fires", traced.script_for(each.fires)) for name, each in ACTIONS.items()
    ]
    with watching(top / "root", ELEMENTS, _settings()) as daemon:
        done = run_scripts(top, setup, work)
        events = [*daemon.settle()]
        assert not any(
            sum(each["lost"].values()) for each in daemon.stats()["records"].values()
        )
    reader = traced.Reader()
    return Seen(
        {each.rule: reader.events_of(each.complaint) for each in done},
        {each.rule: tree(events, each.pid) for each in done},
    )


def expected(truth: list[traced.Fields]) -> set[str]:
    """Return the titles of the rules that are true of one of the events.

    A rule that asks what strace does not tell is not expected.
    """
    found: set[str] = set()
    for event in truth:
        for rule, asked in rules().get(int(event["EventID"]), ()):
            if asked <= event.keys() and holds(rule.expression, event):
                found.add(rule.title.replace(",", ";").replace("|", "/"))
    return found


@pytest.mark.parametrize("name", ACTIONS)
def test_every_rule_that_is_true_of_the_action_is_named(seen: Seen, name: str) -> None:
    wanted = expected(seen.truth[name])
    lines = [each.get("RuleNames", "") for each in seen.events[name]]
    named = {title for line in lines for title in _NAME.findall(line)}
    assert wanted - named == set()


def test_actions_are_what_rules_ask_for(seen: Seen) -> None:
    hit = [name for name in ACTIONS if expected(seen.truth[name])]
    assert len(ACTIONS) >= 40
    assert len(hit) >= (len(ACTIONS) * 3 // 4 if PUBLIC else len(ACTIONS) // 2)
