# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from sysmonlx.rules.sigma.programs import program_of


def test_a_script_whose_name_has_blanks_is_not_told_from_its_arguments() -> None:
    assert program_of("/usr/bin/dash", "sh /tmp/my loot", "/") == "/tmp/my"


def test_links_in_the_path_of_a_script_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    script = f"{tmp_path}/link/loot.sh"
    assert program_of("/usr/bin/dash", f"sh {script}", "/") == script


@pytest.mark.parametrize(
    ("image", "command_line", "directory", "program"),
    [
        ("/tmp/x", "/tmp/x a", "/", "/tmp/x"),
        ("-", "-", "-", "-"),
        ("/usr/bin/bash", "bash", "/root", "/usr/bin/bash"),
        ("/usr/bin/bash", "bash -e ./a/../x.sh y", "/tmp/", "/tmp/x.sh"),
        ("/usr/bin/dash", "sh /tmp/x", "-", "/tmp/x"),
        ("/usr/bin/dash", "sh //tmp//x", "/", "/tmp/x"),
        ("/usr/bin/dash", "sh x", "-", "-"),
        ("/usr/bin/dash", "sh x", ".../cut", "-"),
        ("/usr/bin/python3.11", "python3 -I x.py", "/opt", "/opt/x.py"),
        ("/usr/bin/python3-config", "python3-config x", "/", "/usr/bin/python3-config"),
        ("/usr/bin/dash", "sh /tmp/a b", "/", "/tmp/a"),  # blanks are no part of it
        ("/bin/busybox", "sh x", "/tmp", "/tmp/x"),
        ("/bin/busybox", "/bin/wget x", "/tmp", "/bin/busybox"),
        ("/bin/busybox", "", "/tmp", "/bin/busybox"),
        ("/usr/bin/lua5.4", "lua5.4 /x.lua", "/", "/x.lua"),
    ],
)
def test_program_is_the_image_or_the_script(
    image: str, command_line: str, directory: str, program: str
) -> None:
    assert program_of(image, command_line, directory) == program
