# SPDX-License-Identifier: MIT
"""Packs that a configuration names: read whole, and from whom one may trust."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.packs import asks, correlation, rule, text_of, write_pack

from sysmonlx.config import rule_files
from sysmonlx.config.child import Reading, read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.policy import SinkChoice
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import LEVELS, STATUSES
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.schema.options import RULE_LEVELS, RULE_STATUSES, RULES_LIMIT

WGET = rule("Download", asks("Image", Operation.END, "/wget"))
SUDO = rule("Sudo", asks("Image", Operation.END, "/sudo"), level="low")


def config(*rules: str) -> bytes:
    own = (
        f'<sx:Settings xmlns:sx="urn:sysmonlx:settings">{"".join(rules)}</sx:Settings>'
    )
    return f'<Sysmon schemaversion="4.90">{own}</Sysmon>'.encode()


def named(path: Path, attributes: str = "") -> str:
    return f"<sx:Rules {attributes}>{path}</sx:Rules>"


def read(*rules: str) -> Reading:
    return read_data(config(*rules), "x.xml", CommandLineOptions())


def test_pack_becomes_part_of_the_policy(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "a.sigma.json", WGET, SUDO)
    found = read(named(pack, 'action="include" level="medium"'))
    assert found.policy is not None
    assert found.policy.settings.rules == (
        (str(pack), "include", "medium", "experimental"),
    )
    assert found.policy.ruleset.packs[0].text == pack.read_text()
    assert f"Rules {pack}: 1 of 2 rules, action include" in found.text
    again = policy_of(found.policy.to_json())
    assert again == found.policy
    pack.unlink()  # what is stored is what runs
    assert [each.rule.title for each in compile_rules(again.ruleset).sigma] == [
        "Download"
    ]


def test_policy_without_the_packs_that_it_names_is_not_run(tmp_path: Path) -> None:
    found = read(named(write_pack(tmp_path / "a", WGET))).policy
    assert found is not None
    less = replace(found, ruleset=replace(found.ruleset, packs=()))
    with pytest.raises(ValueError, match="packs"):
        policy_of(less.to_json())
    assert policy_of(less.to_json(), is_whole=False) == less
    broken = found.to_json().replace("/wget", "/WGET")
    with pytest.raises(ValueError, match="operand"):
        policy_of(broken)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _foreign(path: Path) -> None:
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "cannot be read: No such file or directory"),
        (_fifo, "is no regular file"),
        (_directory, "has no *.yml, *.yaml, *.sigma.json"),
        (lambda path: path.chmod(0o664), "others may write it: chmod go-w"),
        (lambda path: path.chmod(0o646), "others may write it: chmod go-w"),
        (lambda path: path.write_text(""), "no JSON at line 1"),
        (lambda path: path.write_text(path.read_text()[:-9]), "no JSON at line 1"),
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8"),
        (lambda path: path.write_text("[" * 99_999), "nested too deeply"),
        (lambda path: path.write_text("[]"), "the pack is no object"),
        (
            lambda path: path.write_text(
                path.read_text().replace('"format": 2', '"format": 3')
            ),
            "format 3 is not known",
        ),
        (
            lambda path: path.write_text(path.read_text().replace("end with", "ends")),
            "operation 'ends' is not known",
        ),
        pytest.param(
            _foreign,
            "belongs to user 65534: chown root",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
        ),
    ],
)
def test_pack_that_cannot_be_used_refuses_the_configuration_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    pack = write_pack(tmp_path / "a.sigma.json", WGET)
    spoil(pack)
    found = read(named(pack))
    assert found.policy is None
    assert found.text.startswith(f"Error: Rules {pack}: ")
    assert reason in found.text
    assert found.text.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (
            "<sx:Rules>x.json</sx:Rules>",
            "the absolute path of rules of Sigma, or shipped",
        ),
        (
            "<sx:Rules/>",
            "the absolute path of rules of Sigma, or shipped, is expected",
        ),
        ('<sx:Rules action="drop">/x</sx:Rules>', "action must be one of tag, include"),
        (
            '<sx:Rules level="urgent">/x</sx:Rules>',
            "level must be one of informational",
        ),
        ('<sx:Rules status="new">/x</sx:Rules>', "status must be one of experimental"),
        ("<sx:Rules>/x</sx:Rules><sx:Rules>/x</sx:Rules>", "given twice"),
        (
            "".join(f"<sx:Rules>/{n}</sx:Rules>" for n in range(RULES_LIMIT + 1)),
            "16 of them at most",
        ),
        ('<sx:Sink kind="stdout" hits="some"/>', "hits must be one of all, only"),
    ],
)
def test_what_is_typed_wrong_says_what_is_allowed(text: str, advice: str) -> None:
    found = read(text)
    assert found.policy is None
    assert advice in found.text


def test_sinks_for_hits_are_kept_apart() -> None:
    found = read(
        '<sx:Sink kind="file" hits="only">/h</sx:Sink><sx:Sink kind="stdout"/>'
    )
    assert found.policy is not None
    assert found.policy.settings.sinks == (SinkChoice("stdout"),)
    assert found.policy.settings.hit_sinks == (SinkChoice("file", "xml", "/h"),)
    assert policy_of(found.policy.to_json()) == found.policy
    assert not found.policy.without_sinks().settings.hit_sinks


def test_pack_that_changed_since_is_noticed(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "a", WGET)
    found = read(named(pack)).policy
    assert found is not None
    assert not rule_files.is_changed(found)
    write_pack(pack, SUDO)
    assert rule_files.is_changed(found)
    pack.unlink()  # what cannot be read is no reason to judge otherwise
    assert not rule_files.is_changed(found)


def test_packs_of_a_directory_are_taken_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "rules.d"
    folder.mkdir(mode=0o755)
    for name, each in (("b", SUDO), ("a", WGET)):
        write_pack(folder / f"{name}.sigma.json", each)
    (folder / "a.txt").write_text("no file of rules")
    found = read(named(folder, 'action="always"')).policy
    assert found is not None
    names = [each.choice for each in found.ruleset.packs]
    assert [Path(each[0]).name for each in names] == ["a.sigma.json", "b.sigma.json"]
    assert {each[1] for each in names} == {"always"}
    assert policy_of(found.to_json()) == found
    assert not rule_files.is_changed(found)
    write_pack(folder / "c.sigma.json", rule("Third", SUDO.expression))
    assert rule_files.is_changed(found)
    (folder / "c.sigma.json").unlink()
    both = read(named(folder), named(folder / "a.sigma.json")).policy
    assert both is not None
    assert policy_of(both.to_json()) == both
    assert len(compile_rules(both.ruleset).sigma) == 2


def test_one_bad_pack_of_a_directory_refuses_the_configuration_by_name(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "rules.d"
    folder.mkdir(mode=0o755)
    write_pack(folder / "a.sigma.json", WGET)
    bad = write_pack(folder / "b.sigma.json", SUDO)
    for spoil, reason in (
        (lambda: bad.write_text("{"), "no JSON"),
        (lambda: bad.chmod(0o666), "others may write it"),
        (lambda: folder.chmod(0o777), "others may write it"),
    ):
        spoil()
        found = read(named(folder))
        assert found.policy is None
        assert reason in found.text
        where = folder if folder.stat().st_mode & 0o002 else bad
        assert found.text.startswith(f"Error: Rules {where}: ")
    folder.chmod(0o755)
    bad.chmod(0o644)
    for number in range(rule_files.PACKS_LIMIT):
        write_pack(folder / f"{number}.sigma.json")
    assert "has more than 64 packs" in read(named(folder)).text


def test_fields_that_events_lack_are_told_and_the_rule_is_not_used(
    tmp_path: Path,
) -> None:
    script = rule("Script", asks("ScriptPath", Operation.BEGIN, "/tmp/"))
    chain = correlation("Chain", WGET, script)
    pack = write_pack(tmp_path / "a", WGET, script, chain)
    found = read(named(pack))
    assert found.policy is not None
    advice = "it asks ScriptPath: add <sx:Fields>ScriptPath</sx:Fields>"
    assert f"Warning: {pack}: rule 'Script' is not used: {advice}\n" in found.text
    assert (
        f"Warning: {pack}: correlation 'Chain' is not used: its rule 'Script' is not"
        f" used: {advice}\n"
    ) in found.text
    compiled = compile_rules(found.policy.ruleset)
    assert not compiled.sigma  # of a correlation that is not used the other is no rule
    found = read("<sx:Fields>ScriptPath</sx:Fields>", named(pack))
    assert found.policy is not None
    assert "Warning" not in found.text
    assert "2 of 2 rules and 1 of 1 correlations, action tag" in found.text
    compiled = compile_rules(found.policy.ruleset)
    assert [each.is_named for each in compiled.sigma] == [False, False]
    values = ["-"] * len(
        EVENT_BY_ID[1].with_appended(found.policy.ruleset.appended).fields
    )
    values[-2] = "/tmp/x.sh"
    assert compiled.judges == {}
    assert compiled.decide[1](values) == "-"
    assert compiled.judges[1].find(values) == 2


def test_rules_that_cannot_be_judged_here_are_told(tmp_path: Path) -> None:
    slow = rule("Slow", asks("CommandLine", Operation.REGEX, "(a+)+$"))
    key = rule("Key", asks("TargetObject", Operation.IS, "x"), event_id=12)
    pack = write_pack(tmp_path / "a", slow, WGET, key)
    found = read(named(pack))
    assert found.policy is not None
    assert "rule 'Slow' is not used" in found.text or "3 of 3 rules" in found.text
    assert "rule 'Key' never matches: RegistryEvent does not occur here" in found.text


def test_pack_is_text_that_dump_wrote() -> None:
    assert json.loads(text_of([WGET]))["rules"][0]["title"] == "Download"


def test_levels_and_statuses_are_those_of_packs() -> None:
    assert RULE_LEVELS == LEVELS
    assert RULE_STATUSES == STATUSES
