# SPDX-License-Identifier: MIT
"""Completion of `sysmonlx-logview` knows each of its options."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sysmonlx.viewer.options import _LONG, _SHORT, FORMS

DATA = Path(__file__).resolve().parents[3] / "sysmonlx/data"
BASH, ZSH = DATA / "completion-logview.bash", DATA / "completion-logview.zsh"
SWITCHES = {f"-{each}" for each in _SHORT if each not in ":?"} | {
    f"--{each.rstrip('=')}" for each in _LONG
}


def offered(*words: str, cwd: Path) -> set[str]:
    """Return what bash offers for the last word."""
    script = f"""
{BASH.read_text()}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_sysmonlx_logview sysmonlx-logview
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command = ["bash", "-u", "-c", script, "bash", "sysmonlx-logview", *words]
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    return {*result.stdout.split("\n")} - {""}


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
