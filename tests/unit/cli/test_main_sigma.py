# SPDX-License-Identifier: MIT
"""`sysmonlx -sigma` is `sysmonlx-sigma`; `-strict` refuses for one rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from sysmonlx.cli.main import main

GOOD = """\
title: Good
logsource: {product: linux, category: process_creation}
detection: {s: {Image|endswith: /wget}, condition: s}
"""


@pytest.mark.parametrize("switch", ["-sigma", "-Sigma"])
def test_the_other_program_is_reached_by_a_switch(
    switch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([switch, "list"]) == 0
    assert "Downloaded file is run as root" in capsys.readouterr().out


def test_strict_is_for_all_that_reads_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sigma.rule", reason="pySigma is not installed")
    rules = tmp_path / "rules.yml"
    rules.write_text(f"{GOOD}---\n{GOOD.replace('Image', 'Imagee')}")
    rules.chmod(0o644)
    config = tmp_path / "x.xml"
    config.write_text(
        '<Sysmon schemaversion="4.90"><sx:Settings xmlns:sx="urn:sysmonlx:settings">'
        f"<sx:Rules>{rules}</sx:Rules></sx:Settings></Sysmon>"
    )
    words = ["-test", str(config), "/dev/null"]
    assert main(words) == 0
    assert "1 of 1 rules, 1 refused" in capsys.readouterr().err
    assert main([*words, "-strict"]) == 87
    said = capsys.readouterr().err
    assert f"Error: {rules}:7: rule 'Good' is not used: unknown field" in said
    assert main(["-stats", "-strict"]) == 87
    assert "-strict goes with -i, -c, -t and -test (see" in capsys.readouterr().err
