# SPDX-License-Identifier: MIT
from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_directory_with_a_blank_is_one_word(target: str) -> None:
    command = ["make", "-n", target, "DESTDIR=/to a", "prefix=/b c"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    words = shlex.split(result.stdout.replace("\\\n", " "), comments=True)
    places = [word.lstrip(">") for word in words if "/to" in word]
    assert len(places) > 4
    assert all(place.startswith("/to a/b c/") for place in places), places
