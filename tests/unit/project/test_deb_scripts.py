# SPDX-License-Identifier: MIT
"""What the Debian package runs as root, read; `make test-deb` runs it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tools import deb
from tools.release import REPOSITORY

FUNCTIONS = (deb.PARTS / "functions.sh").read_text()


@pytest.mark.parametrize("name", deb.SCRIPTS)
def test_script_is_sh_and_ends_at_its_first_error(name: str, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_text(deb.filled(name, {"FUNCTIONS": FUNCTIONS}))
    subprocess.run(["sh", "-n", script], check=True)
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    assert "@" not in text.replace('"$@"', "")


@pytest.mark.parametrize("name", [*deb.SCRIPTS, "functions.sh"])
def test_script_needs_no_network_and_no_file_of_others(name: str) -> None:
    text = (deb.PARTS / name).read_text()
    assert re.findall(r"/tmp|mktemp|\b(?:curl|wget|pip|apt|apt-get)\b", text) == []
    assert re.findall(r"systemctl (?!show)", text) == []


def test_program_is_isolated() -> None:
    assert deb.PROGRAM.startswith("#!/usr/bin/python3 -I\n")


def test_files_of_the_package_are_there() -> None:
    for source in (*deb.FILES.values(), *deb.COMPRESSED.values()):
        assert (REPOSITORY / source).is_file()
