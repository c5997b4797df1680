# SPDX-License-Identifier: MIT
"""`sysmonlx-sigma` as people call it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("sigma.rule", reason="pySigma is not installed")

from sysmonlx.rules.sigma.pack import load
from sysmonlx.sigma_tool.main import main

RULE = """\
title: Package removed
level: low
logsource: {product: linux, category: process_creation}
detection:
  apt:
    Image|endswith: /apt
  remove:
    CommandLine|contains: [' remove ', ' purge ']
  condition: apt and remove
"""
EVENT = (
    "<Event><System><EventID>1</EventID></System><EventData>"
    '<Data Name="Image">/usr/bin/apt</Data>'
    '<Data Name="CommandLine">apt {} x</Data></EventData></Event>\n'
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "apt.yml").write_text(RULE)
    (folder / "notes.txt").write_text("no rule")
    return folder


@pytest.fixture
def events(tmp_path: Path) -> str:
    path = tmp_path / "events"
    path.write_text(EVENT.format("remove") + EVENT.format("install"))
    return str(path)


def test_check_tells_how_many_can_be_used(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(rules)]) == 0
    (rules / "b.yml").write_text(RULE.replace("Image", "Imagee"))
    assert main(["check", str(rules)]) == 1
    out, err = capsys.readouterr()
    assert "1 rules and 0 correlations can be used, 1 are refused" in out
    assert f"{rules}/b.yml:6: rule 'Package removed' is not used: unknown field" in err
    (rules / "apt.yml").unlink()
    assert main(["check", str(rules)]) == 2


@pytest.mark.parametrize("words", [[], ["check"], ["pack", "x"], ["nonsense", "x"]])
def test_wrong_command_line_has_the_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert " --help')" in err


def test_files_that_are_none_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "x.yml")
    assert main(["check", str(tmp_path)]) == 2
    assert main(["check", str(tmp_path / "gone.yml")]) == 2
    err = capsys.readouterr().err
    assert "is no regular file" in err
    assert "No such file" in err
    (tmp_path / "x.yml").unlink()
    assert main(["check", str(tmp_path)]) == 2


def test_list_has_a_line_a_rule(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(rules)]) == 0
    line = f"low\t1\tguard\tPackage removed\t{rules}/apt.yml:1\n"
    assert capsys.readouterr().out == line
    assert main(["list", "--json", str(rules)]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Package removed"


def test_pack_is_loaded_again_and_replaces_a_file_as_a_whole(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "x.sigma.json"
    made.write_text("old")
    assert main(["pack", str(rules), "-o", str(made)]) == 0
    assert load(json.loads(made.read_text())).rules[0].title == "Package removed"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rules", made.name]
    assert main(["list", str(made)]) == 0
    assert "Package removed" in capsys.readouterr().out
    (rules / "apt.yml").write_text("title: x")
    before = made.read_text()
    assert main(["pack", str(rules), "-o", str(made)]) == 2
    assert made.read_text() == before


def test_pack_leaves_what_is_no_file_what_it_is(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-o /dev/null` of root must not put a file in the place of the device."""
    fifo, folder = tmp_path / "fifo", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        assert main(["pack", str(rules), "-o", str(fifo)]) == 0
        assert load(json.loads(reader.read())).rules[0].title == "Package removed"
    assert fifo.is_fifo()
    assert main(["pack", str(rules), "-o", str(folder)]) == 2
    nowhere = tmp_path / "nowhere/x"
    assert main(["pack", str(rules), "-o", str(nowhere)]) == 2
    assert capsys.readouterr().err == (
        f"sysmonlx-sigma: {folder} is not written: Is a directory\n"
        f"sysmonlx-sigma: {nowhere} is not written: No such file or directory\n"
    )
    assert {each.name for each in tmp_path.iterdir()} == {"rules", "fifo", "folder"}
    assert main(["pack", str(rules), "-o", "/dev/stdout"]) == 0
    assert capsys.readouterr().out.startswith("{")


def test_explain_says_where_there_is_nothing_to_explain(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(rules / "apt.yml"), "/dev/null"]) == 0
    assert capsys.readouterr().out == "# there is no event in what was read\n"


def test_test_names_the_rules_that_hit(
    rules: Path, events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(rules), "-e", events]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"hit\tlow\tPackage removed\t{rules}/apt.yml:1",
        "-",
        "# 1\tPackage removed",
    ]


def test_explain_shows_which_selection_decided(
    rules: Path, events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", f"{rules}/apt.yml:Package removed", events]) == 0
    first, second = capsys.readouterr().out.split("line 2, ")
    assert "event 1: hit: Package removed" in first
    assert "+ remove (line 7)" in first
    assert "event 1: no hit: Package removed" in second
    assert "+ apt (line 5)" in second
    assert "- remove (line 7)" in second
    assert "it is 'apt install x' (line 8)" in second


def test_titles_cannot_write_to_the_terminal(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = RULE.replace("Package removed", '"a\\e[2Jb"')
    (rules / "apt.yml").write_text(text.replace("Image", "Imagee"))
    assert main(["check", str(rules)]) == 2
    assert "\033" not in "".join(capsys.readouterr())


CHAIN = """\
title: Dropped
id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d01
name: dropped
logsource: {product: linux, category: file_event}
detection: {x: {Image|endswith: /wget}, condition: x}
---
title: Started
id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d02
name: started
logsource: {product: linux, category: process_creation}
detection: {x: {ScriptPath|startswith: /tmp/}, condition: x}
---
title: Dropped and started
id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d03
correlation:
  type: temporal_ordered
  rules: [dropped, started]
  group-by: [User]
  timespan: 1m
level: high
"""


def _line(event_id: int, second: int, **texts: str) -> str:
    guid = "{00000000-0000-0000-0000-000000000001}"
    texts |= {"UtcTime": f"2026-01-01 00:00:{second:02d}.000", "ProcessGuid": guid}
    data = "".join(f'<Data Name="{n}">{t}</Data>' for n, t in texts.items())
    return (
        f"<Event><System><EventID>{event_id}</EventID></System><EventData>{data}"
        "</EventData></Event>\n"
    )


def test_test_carries_out_correlations_and_asks_fields_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.yml").write_text(CHAIN)
    started = {"User": "ann", "ScriptPath": "/tmp/x"}
    (tmp_path / "events").write_text(
        _line(11, 1, Image="/bin/wget", User="ann") + _line(1, 2, **started)
    )
    assert main(["test", str(tmp_path / "x.yml"), "-e", str(tmp_path / "events")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "-",
        f"hit\thigh\tDropped and started\t{tmp_path}/x.yml:13\tafter"
        " 2026-01-01 00:00:01.000 {00000000-0000-0000-0000-000000000001}",
        "# 1\tDropped",
        "# 1\tStarted",
        "# 1\tDropped and started",
    ]
    assert "ScriptPath is there only where <sx:Fields> has it" in err
    assert main(["list", "--json", str(tmp_path / "x.yml")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("type") for each in rows] == [None, None, "temporal_ordered"]
    assert rows[2]["rules"] == [each["id"] for each in rows[:2]]


def test_xml_is_written_as_far_as_sysmon_can_ask(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "rules.xml"
    assert main(["xml", str(rules), "-o", str(made)]) == 0
    assert '<CommandLine condition="contains any"> remove ; purge </CommandLine>' in (
        made.read_text()
    )
    (rules / "b.yml").write_text(RULE.replace("contains", "re"))
    assert main(["xml", str(rules)]) == 1
    out, err = capsys.readouterr()
    assert out == made.read_text()
    assert "b.yml:1: rule 'Package removed' is not written: Sysmon has no" in err
    (rules / "apt.yml").unlink()
    assert main(["xml", str(rules), "-o", str(made)]) == 2
    assert made.exists()
