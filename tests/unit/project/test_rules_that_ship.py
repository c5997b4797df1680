# SPDX-License-Identifier: MIT
"""Rules that come with the program: whole, true to their YAML, and tried.

What the kernel says to the same actions is asked by `make test-rules`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from support.configurations import read
from support.rule_actions import actions
from support.shipped import (
    PACK,
    RECORDED,
    ROOT,
    RULES,
    correlations,
    is_hit,
    shipped,
    whole,
)

from sysmonlx.config import rule_files
from sysmonlx.config.sigma.reader import read_rules
from sysmonlx.rules.sigma.forms import RuleInForce, judge_form, ordered, why_not
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import dump
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED
from sysmonlx.sigma_tool import main as sigma_tool

NAMES = sorted(shipped())
FILES = sorted(each.stem for each in RULES.glob("*.yml"))
EVENTS = json.loads(RECORDED.read_text("utf-8"))
EXAMPLES = sorted((ROOT / "config_schema" / "examples").glob("*.xml"))
#: Techniques for which there is at least one rule.
TECHNIQUES = (
    *("T1059", "T1203", "T1071", "T1543", "T1489", "T1548", "T1105", "T1014"),
    *("T1620", "T1055", "T1070", "T1053", "T1136", "T1098", "T1486", "T1574"),
    *("T1611", "T1041", "T1048", "T1068"),
)
KEYS = (
    *("title", "id", "status", "description", "author", "license", "date", "tags"),
    *("logsource", "detection", "falsepositives", "level"),
)


def test_pack_is_what_the_files_say() -> None:
    """Else: make generate."""
    files = [
        (f"rules/{each}.yml", (RULES / f"{each}.yml").read_bytes()) for each in FILES
    ]
    found = read_rules(files)
    assert found.notes == []
    assert dump(found.pack) == json.loads(PACK.read_text("utf-8"))
    assert len(found.pack.rules) >= 60


@pytest.mark.parametrize("name", FILES)
def test_rule_is_described(name: str) -> None:
    text = (RULES / f"{name}.yml").read_text("utf-8")
    rule = yaml.safe_load(text)
    keys = KEYS if name in NAMES else (*KEYS[:8], "correlation", *KEYS[10:])
    assert [each for each in rule if each in keys] == list(keys)
    assert UUID(rule["id"]).version == 4
    assert rule["author"] == "sysmonlx"
    assert rule["description"].endswith(".")
    assert 10 < len(rule["title"]) < 90
    assert rule["falsepositives"]
    both = {**shipped(), **correlations()}
    assert re.search("technique_id=T[0-9.]+,technique_name=.", name_of(both[name]))


def test_ids_and_titles_are_given_once() -> None:
    rules = shipped().values()
    assert len({each.id for each in rules}) == len(NAMES)
    assert len({each.title for each in rules}) == len(NAMES)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_technique_has_a_rule(technique: str) -> None:
    pattern = re.compile(rf"attack\.{technique}(\.\d+)?", re.IGNORECASE)
    assert any(
        pattern.fullmatch(tag) for each in shipped().values() for tag in each.tags
    )


def test_every_rule_is_used_where_google_re2_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert [each.title for each in shipped().values() if why_not(each)] == []


def test_every_rule_asks_of_events_that_occur() -> None:
    assert all(PRODUCED.issuperset(each.event_ids) for each in shipped().values())


# --- what was recorded


def test_every_rule_has_its_actions_and_its_events() -> None:
    assert sorted({*NAMES, *correlations()}) == FILES
    assert sorted(actions().keys() - {"setup"}) == FILES
    assert sorted(EVENTS) == NAMES
    assert all(
        each.fires and each.quiet for each in actions().values() if not each.setup
    )


@pytest.mark.parametrize("name", NAMES)
def test_rule_fires_by_the_event_and_not_by_a_near_miss(name: str) -> None:
    rule, fires, quiet = shipped()[name], EVENTS[name]["fires"], EVENTS[name]["quiet"]
    assert is_hit(rule, fires)
    assert int(quiet["EventID"]) in rule.event_ids
    assert not is_hit(rule, quiet)


def test_rules_are_told_apart_by_one_judge_of_all() -> None:
    rules = [RuleInForce(each, "tag") for each in shipped().values()]
    mine = {each: ordered(rules, each) for each in sorted(PRODUCED)}
    judges = {
        event_id: SigmaJudge(judge_form(found, EVENT_BY_ID[event_id].fields))
        for event_id, found in mine.items()
        if found
    }
    for name, events in EVENTS.items():
        for kind, values in events.items():
            event_id = int(values["EventID"])
            bits = judges[event_id].find([*whole(values).values()])
            places = [each.rule for each in mine[event_id]]
            at = places.index(shipped()[name])
            assert (bits >> at & 1) == (kind == "fires"), name


# --- what an attacker may try


def fires(name: str, **changed: str) -> bool:
    """Tell whether a rule hits its event with other values."""
    return is_hit(shipped()[name], {**EVENTS[name]["fires"], **changed})


def test_name_of_the_copy_of_runc_hides_nothing() -> None:
    name = "/memfd:runc_cloned:/proc/self/exe (deleted)"
    assert fires("process_false_runc", Image=name, ParentImage="/usr/bin/bash")
    assert fires("process_false_runc", Image=name, ParentImage="/tmp/runc")
    assert not fires("process_false_runc", Image=name, ParentImage="/usr/bin/runc")
    assert fires("process_runs_from_memory_file", Image=name, User="alice")


def test_program_called_dpkg_elsewhere_is_no_package_manager() -> None:
    for name in ("file_unit_written", "file_sudoers_written", "file_cron_written"):
        assert fires(name, Image="/tmp/dpkg")
        assert fires(name, Image="/usr/bin/dpkg2")
        assert not fires(name, Image="/usr/bin/dpkg")


def test_user_whose_command_line_names_the_package_manager_is_none() -> None:
    line = "sh -c true /var/lib/dpkg/info/x.postinst"
    for name in ("process_set_user_id_bit", "process_guard_stopped"):
        assert fires(name, ParentCommandLine=line, ParentUser="alice")
        assert not fires(name, ParentCommandLine=line, ParentUser="root")


def test_program_under_another_name_is_not_known() -> None:
    assert not fires("file_program_downloaded", Image="/tmp/w")
    assert fires("network_from_writable_place", Image="/tmp/w")


# --- where they are


def test_list_shows_them_where_nothing_reads_yaml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("sigma", "yaml"):
        monkeypatch.setitem(sys.modules, module, None)
    assert sigma_tool.main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FILES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_read_without_a_warning(path: Path) -> None:
    policy, findings = read(path.read_bytes())
    assert findings == ()
    policy, remarks = rule_files.with_packs(policy)
    assert "Warning" not in remarks
    for choice in policy.settings.rules:
        assert choice[0] == "shipped"


def test_examples_are_those_that_the_manual_names() -> None:
    names = {each.stem for each in EXAMPLES}
    assert names == {"server", "container-host", "desktop", "minimal", "everything"}
    manual = (ROOT / "man" / "sysmonlx.5").read_text("utf-8")
    assert all(f"examples/{each}.xml" in manual for each in names)
