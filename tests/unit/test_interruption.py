# SPDX-License-Identifier: MIT
"""Ctrl-C while a program loads its modules, and where it is ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Every program loads this one after it has seen to Ctrl-C.
LOADED = "sysmonlx.host.inherited"
CUSTOM = f"""
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {LOADED!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize("is_ignored", [False, True])
@pytest.mark.parametrize(
    "module", ["sysmonlx", "sysmonlx.viewer", "sysmonlx.sigma_tool"]
)
def test_ctrl_c_during_the_start_is_no_traceback(
    module: str, is_ignored: bool, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CUSTOM)
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN if is_ignored else signal.default_int_handler
    )
    try:
        result = subprocess.run(
            [sys.executable, "-P", "-m", module, "--version"],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.stderr == ""
    assert result.returncode == (0 if is_ignored else -signal.SIGINT)
