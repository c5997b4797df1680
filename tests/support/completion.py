# SPDX-License-Identifier: MIT
"""What bash offers where somebody presses the tab key."""

from __future__ import annotations

import subprocess
from pathlib import Path


def offered(script: str, program: str, *words: str, cwd: Path) -> set[str]:
    """Return what bash offers for the last word behind the name of a program.

    `script` is the text of the program's file of completion.
    """
    code = f"""
{script}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_{program.replace("-", "_")} {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    command = ["bash", "-u", "-c", code, "bash", program, *words]
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    return {*result.stdout.split("\n")} - {""}
