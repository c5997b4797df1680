# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sysmonlx.service import install


def test_unit_starts_the_program_and_not_a_link_that_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, link = tmp_path / "sysmonlx", tmp_path / "sysmon"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    link.symlink_to(program)
    for name in (program, link):
        monkeypatch.setattr(sys, "argv", [str(name)])
        assert install._program() == os.path.realpath(program)
