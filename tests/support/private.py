# SPDX-License-Identifier: MIT
"""A private directory of the state, and the permissions of what lies there."""

from __future__ import annotations

import stat
from pathlib import Path

from sysmonlx.host.private_files import private_directory


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def private_home(top: Path) -> Path:
    """Make a directory for root alone below `top`."""
    path = top / "state"
    private_directory(path)
    return path
