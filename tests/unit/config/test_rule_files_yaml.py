# SPDX-License-Identifier: MIT
"""Rules in YAML that a configuration names: compiled, and stored as a pack."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from support.packs import asks, rule, text_of, write_pack

from sysmonlx.config import rule_files
from sysmonlx.config.child import Reading, read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.policy import Policy
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation

pytest.importorskip("sigma.rule", reason="pySigma is not installed")

CORRELATION = """\
title: Both
id: 00000000-0000-4000-8000-000000000003
correlation: {type: temporal_ordered, rules: [one, two], group-by: [User], timespan: 5m}
level: high
"""


def written(path: Path, name: str, image: str, more: str = "") -> Path:
    """Write a rule for a program, which nobody else may write."""
    path.parent.mkdir(exist_ok=True, mode=0o755)
    path.write_text(
        f"title: Rule {name}\nname: {name}\nlevel: high\n{more}"
        "logsource: {product: linux, category: process_creation}\n"
        f"detection:\n  s: {{Image|endswith: {image}}}\n  condition: s\n"
    )
    path.chmod(0o644)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with two rules and a correlation, some of it deeper."""
    top = tmp_path / "rules.d"
    written(top / "two.yml", "two", "/sudo")
    written(top / "deeper" / "one.yaml", "one", "/wget")
    (top / "a.yml").write_text(CORRELATION)
    (top / "a.yml").chmod(0o644)
    return top


def read(*paths: Path, strict: bool = False) -> Reading:
    rules = "".join(f"<sx:Rules>{each}</sx:Rules>" for each in paths)
    own = f'<sx:Settings xmlns:sx="urn:sysmonlx:settings">{rules}</sx:Settings>'
    data = f'<Sysmon schemaversion="4.90">{own}</Sysmon>'.encode()
    return read_data(data, "x.xml", CommandLineOptions(), strict=strict)


def policy(*paths: Path) -> Policy:
    found = read(*paths).policy
    assert found is not None
    return found


def test_directory_becomes_one_pack_that_needs_no_yaml(folder: Path) -> None:
    found = read(folder)
    assert found.policy is not None
    assert f"Rules {folder}: 2 of 2 rules and 1 of 1 correlations, action tag\n" in (
        found.text
    )
    (pack,) = found.policy.ruleset.packs
    assert pack.choice[0] == str(folder)
    for each in folder.rglob("*.y*ml"):
        each.unlink()
    again = policy_of(found.policy.to_json())
    assert again == found.policy
    compiled = compile_rules(again.ruleset)
    assert [each.correlation.title for each in compiled.correlations] == ["Both"]
    assert not rule_files.is_changed(again)  # what is gone is no change


def test_one_file_is_named_by_its_path(tmp_path: Path) -> None:
    file = written(tmp_path / "x.yml", "x", "/x")
    (pack,) = policy(file).ruleset.packs
    assert pack.choice[0] == str(file)


def test_every_change_of_the_files_is_noticed(folder: Path) -> None:
    found = policy(folder)
    assert not rule_files.is_changed(found)
    text = (folder / "two.yml").read_text()
    for spoil, mend in (
        (
            lambda: (folder / "two.yml").write_text(text + "# x\n"),
            lambda: (folder / "two.yml").write_text(text),
        ),
        (
            lambda: (folder / "two.yml").rename(folder / "three.yml"),
            lambda: (folder / "three.yml").rename(folder / "two.yml"),
        ),
        (
            lambda: written(folder / "deeper" / "new.yml", "new", "/new"),
            lambda: (folder / "deeper" / "new.yml").unlink(),
        ),
    ):
        spoil()
        assert rule_files.is_changed(found)
        mend()
        assert not rule_files.is_changed(found)


def test_pack_beside_the_files_that_it_was_made_from_changes_nothing(
    folder: Path,
) -> None:
    rules = compile_rules(policy(folder).ruleset)
    (pack,) = policy(folder).ruleset.packs
    made = folder / "deeper" / "all.sigma.json"
    made.write_text(pack.text)
    made.chmod(0o644)
    both = policy(folder)
    assert [each.choice[0] for each in both.ruleset.packs] == [str(made), str(folder)]
    assert policy_of(both.to_json()) == both
    named = [each.rule.title for each in compile_rules(both.ruleset).sigma]
    assert sorted(named) == sorted(each.rule.title for each in rules.sigma)


def test_refused_rule_stops_no_other_unless_that_is_wanted(folder: Path) -> None:
    bad = written(folder / "bad.yml", "bad", "/bad", "tags: []\n")
    bad.write_text(bad.read_text().replace("Image|", "Imagee|"))
    found = read(folder)
    assert found.policy is not None
    assert "2 of 2 rules and 1 of 1 correlations, 1 refused, action tag" in found.text
    reason = "rule 'Rule bad' is not used: unknown field 'Imagee'"
    assert f"Warning: {bad}:7: {reason}" in found.text
    assert found.policy.ruleset.packs[0].refused == 1
    assert policy_of(found.policy.to_json()) == found.policy
    refused = read(folder, strict=True)
    assert refused.policy is None
    assert refused.text.startswith(f"Error: {bad}:7: {reason}")
    assert refused.text.count("\n") == 1


def test_many_refused_rules_are_counted(folder: Path) -> None:
    for number in range(23):
        written(folder / f"bad{number}.yml", f"bad{number}", "[1, {}]")
    found = read(folder)
    assert found.text.count("is not used") == 20
    assert f"3 more rules are not used: sysmonlx-sigma check {folder}\n" in found.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: [", "has no rule that can be used: "),
        ("a: &a [*a]", "has no rule that can be used: "),
        ("", "has no rule that can be used"),
    ],
)
def test_file_without_a_rule_refuses_the_configuration_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "x.yml"
    file.write_text(text)
    file.chmod(0o644)
    found = read(file)
    assert found.policy is None
    assert found.text.startswith(f"Error: Rules {file}: {reason}")
    assert found.text.count("\n") == 1


def test_only_what_nobody_else_can_write_is_read(folder: Path) -> None:
    deeper = folder / "deeper"
    for path, right, wrong in (
        (deeper, 0o755, 0o775),
        (deeper / "one.yaml", 0o644, 0o666),
    ):
        path.chmod(wrong)
        found = read(folder)
        assert found.policy is None
        assert f"Error: Rules {path}: others may write it: chmod go-w\n" == found.text
        path.chmod(right)
    os.mkfifo(folder / "z.yml")
    assert "z.yml: is no regular file" in read(folder).text


def test_link_to_a_directory_is_not_followed(folder: Path, tmp_path: Path) -> None:
    written(tmp_path / "other" / "x.yml", "x", "/x")
    (folder / "link").symlink_to(tmp_path / "other")
    assert "2 of 2 rules" in read(folder).text


def test_where_nothing_reads_yaml_it_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack(folder / "x.sigma.json", rule("X", asks("Image", Operation.END, "/x")))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "sigma" else find(name),
    )
    found = read(folder)
    assert found.policy is None
    assert found.text == (
        f"Error: Rules {folder}: Sigma rules in YAML need pySigma: pip install"
        " 'sysmonlx[sigma]', or compile them elsewhere: sysmonlx-sigma pack\n"
    )


def test_what_is_stored_has_no_count_of_an_older_version(folder: Path) -> None:
    stored = json.loads(policy(folder).to_json())
    del stored["ruleset"]["packs"][0]["refused"]
    assert policy_of(json.dumps(stored)) == policy(folder)


def test_text_of_a_pack_is_what_its_files_say(tmp_path: Path) -> None:
    (pack,) = policy(written(tmp_path / "x.yml", "x", "/x")).ruleset.packs
    said = json.loads(pack.text)["rules"][0]
    wanted = json.loads(text_of([rule("X", asks("Image", Operation.END, "/x"))]))
    assert said["expression"] == [*wanted["rules"][0]["expression"][1], "s, line 6"]
