# SPDX-License-Identifier: MIT
"""What the programs that make releases share: version, time, names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build"
OBJECTS = ("sysmonlx.bpf.o", "sysmonlx_uncast.bpf.o", "sysmonlx_older.bpf.o")


def version() -> str:
    """Return the version of this checkout."""
    text = (REPOSITORY / "sysmonlx" / "__init__.py").read_text("utf-8")
    return text.split('__version__ = "')[1].split('"')[0]


def epoch() -> int:
    """Return the time of all files: SOURCE_DATE_EPOCH, else that of the last commit.

    Where there is no git, as in a tarball, it is that of the list of changes.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    if (REPOSITORY / ".git").exists():
        command = ("git", "log", "-1", "--format=%ct")
        return int(subprocess.check_output(command, cwd=REPOSITORY))
    return int((REPOSITORY / "CHANGELOG.md").stat().st_mtime)
