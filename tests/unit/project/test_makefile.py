# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


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


def test_help_lists_every_target_and_every_variable() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    output = subprocess.run(
        ["make", "help"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout
    targets = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    listed = re.findall(r"^  ([\w-]+) ", output, re.MULTILINE)
    assert [each for each in targets if each not in listed] == []
    chosen = re.findall(r"^(?:export )?(\w+) \?= ?", text, re.MULTILINE)
    tools = {"CLANG", "BPFTOOL", "STRIP"}
    assert [each for each in chosen if f"  {each}=" not in output] == sorted(
        tools, key=chosen.index
    )
