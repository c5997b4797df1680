# SPDX-License-Identifier: MIT
"""As many files as one core can make and remove: each is reported or counted lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.accounts import Stats, adds_up, lost_of, steady
from support.running import DEADLINE_S, Daemon

pytestmark = pytest.mark.kernel

MANY = 300_000

FLOOD = f"""
import os, sys
os.chdir(sys.argv[1])
flags = os.O_CREAT | os.O_WRONLY
for number in range({MANY}):
    os.close(os.open('flood', flags, 0o600))
    os.unlink('flood')
"""

#: Events and the records of which they are made.
FILES = (("11", "file_create"), ("23", "file_delete"))

#: Only the flood: other programs of the machine make files too.
RULES = "".join(
    f'<{tag} onmatch="include"><TargetFilename condition="end with">/flood'
    f"</TargetFilename></{tag}>"
    for tag in ("FileCreate", "FileDelete")
)


def is_whole(stats: Stats) -> bool:
    """Tell whether each file is among the events, or what became of it is counted."""
    known = 0
    for event_id, record in FILES:
        counts, events = stats["records"][record], stats["events"][event_id]
        known += counts["filtered_in_kernel"] + counts["left_out"] + lost_of(counts)
        known += events["emitted"] + events["filtered"]
    return bool(known == sum(stats["records"][record]["seen"] for _, record in FILES))


@pytest.mark.parametrize("budget", ["0", "1"])
def test_each_file_of_a_flood_is_reported_or_counted(
    daemon: Callable[..., Daemon], tmp_path: Path, budget: str
) -> None:
    ns = "urn:sysmonlx:settings"
    started = daemon(RULES, f'<Budget xmlns="{ns}">{budget}</Budget>')
    started.config.unlink()
    subprocess.run([sys.executable, "-c", FLOOD, os.fspath(tmp_path)], check=True)
    stats = steady(started, adds_up, is_whole, timeout_s=DEADLINE_S * 3)
    assert all(stats["records"][record]["seen"] >= MANY for _, record in FILES)
    if budget == "0":
        assert stats["left_out"] == 0
