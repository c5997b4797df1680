# SPDX-License-Identifier: MIT
"""Completion of `sysmonlx-logview` knows each of its options."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.completion import offered as completion_of

from sysmonlx.viewer.options import _LONG, _SHORT, FORMS

DATA = Path(__file__).resolve().parents[3] / "sysmonlx/data"
BASH, ZSH = DATA / "completion-logview.bash", DATA / "completion-logview.zsh"
SWITCHES = {f"-{each}" for each in _SHORT if each not in ":?"} | {
    f"--{each.rstrip('=')}" for each in _LONG
}


def offered(*words: str, cwd: Path) -> set[str]:
    return completion_of(BASH.read_text(), "sysmonlx-logview", *words, cwd=cwd)


def test_bash_offers_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "a log").touch()
    assert offered("-", cwd=tmp_path) == SWITCHES
    assert offered("--form", "", cwd=tmp_path) == {*FORMS}
    assert offered("--tree", "", cwd=tmp_path) == {"a log"}
    assert offered("--story", "", cwd=tmp_path) == set()
    assert offered("--html", "a", cwd=tmp_path) == {"a log"}


def test_zsh_has_each_option() -> None:
    text = ZSH.read_text()
    for switch in SWITCHES - {"-h", "--help"}:
        assert f"{switch}[" in text, switch


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_its_file() -> None:
    subprocess.run(["zsh", "-n", str(ZSH)], check=True)
