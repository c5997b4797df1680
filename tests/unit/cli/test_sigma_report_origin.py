# SPDX-License-Identifier: MIT
"""`-test -v` names the selection that decided, and its line, also out of a pack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.logview import line
from support.packs import asks
from support.packs import rule as rule_of

from sysmonlx.cli.main import main
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import Pack, PackError, dump, load

RULE = """\
title: Fetched
logsource: {product: linux, category: process_creation}
detection:
  tool:
    Image|endswith: [/wget, /curl]
  quiet:
    CommandLine|contains: ' -q '
  spared:
    User: alice
  condition: tool and (quiet or 1 of other*) and not spared
  other:
    CommandLine|contains: --silent
"""


@pytest.mark.parametrize("is_pack", [False, True])
def test_selections_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_pack: bool
) -> None:
    pytest.importorskip("sigma.rule", reason="pySigma is not installed")
    rules = tmp_path / "rules.yml"
    rules.write_text(RULE)
    rules.chmod(0o644)
    if is_pack:
        pack = tmp_path / "x.sigma.json"
        assert main(["-sigma", "pack", str(rules), "-o", str(pack)]) == 0
        rules.unlink()
        rules = pack
    config, events = tmp_path / "x.xml", tmp_path / "events"
    config.write_text(
        '<Sysmon schemaversion="4.90"><sx:Settings xmlns:sx="urn:sysmonlx:settings">'
        f"<sx:Rules>{rules}</sx:Rules></sx:Settings></Sysmon>"
    )
    image, command = "/usr/bin/wget", "wget -q x"
    text = line(1, 1, Image=image, CommandLine=command, User="root")
    events.write_text(f"{text}\n")
    assert main(["-test", str(config), str(events), "-v"]) == 0
    said = capsys.readouterr().out
    assert "tool, line 5: Image end with '/wget' or '/curl'; it is '/usr/b" in said
    assert "quiet, line 7: CommandLine contains ' -q '; it is 'wget -q x'" in said
    assert "spared, line 9: not User is 'alice'; it is 'root'" in said
    assert "other" not in said


def test_origin_in_a_pack_is_a_text() -> None:
    test = ["test", "Image", False, False, [["is", "/x"]], 7]
    with pytest.raises(PackError, match="is no expression"):
        load(json.loads(json.dumps(_pack(test))))
    with pytest.raises(PackError, match="is no expression"):
        load(json.loads(json.dumps(_pack([*test[:5], "a", "b"]))))


def _pack(expression: list[object]) -> dict[str, object]:
    rule = rule_of("x", asks("Image", Operation.IS, "/x"))
    plain = json.loads(json.dumps(dump(Pack((rule,)))))
    plain["rules"][0]["expression"] = expression
    return dict(plain)
