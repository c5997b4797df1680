# SPDX-License-Identifier: MIT
"""The commands of sysmonlx-sigma are those that its completion offers."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest
from support.completion import offered as completion_of

from sysmonlx.sigma_tool.main import _parser

DATA = Path(__file__).parents[3] / "sysmonlx" / "data"
BASH, ZSH = DATA / "completion-sigma.bash", DATA / "completion-sigma.zsh"


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (
        each.choices for each in _parser()._actions if isinstance(each.choices, dict)
    )
    return dict(found)


def offered(*words: str, cwd: Path) -> set[str]:
    return completion_of(BASH.read_text(), "sysmonlx-sigma", *words, cwd=cwd)


def test_bash_offers_each_command_and_its_options(tmp_path: Path) -> None:
    (tmp_path / "a rule.yml").touch()
    assert offered("", cwd=tmp_path) == {*commands(), "-h", "--help", "--version"}
    for name, parser in commands().items():
        switches = {o for a in parser._actions for o in a.option_strings}
        assert offered(name, "-", cwd=tmp_path) == switches
        assert offered(name, "a", cwd=tmp_path) == {"a rule.yml"}
    assert offered("te", cwd=tmp_path) == {"test"}


def test_zsh_knows_the_same_commands() -> None:
    text = ZSH.read_text()
    for name, parser in commands().items():
        assert f"\n\t'{name}:" in text
        for action in parser._actions:
            assert all(each in text for each in action.option_strings)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_its_file() -> None:
    subprocess.run(["zsh", "-n", str(ZSH)], check=True)
