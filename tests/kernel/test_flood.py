# SPDX-License-Identifier: MIT
"""As many files as one core can make and remove: each is reported or counted lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernel.running import DEADLINE_S, Daemon

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

#: Only the flood: other programs of the machine make files too.
RULES = "".join(
    f'<{tag} onmatch="include"><TargetFilename condition="end with">/flood'
    f"</TargetFilename></{tag}>"
    for tag in ("FileCreate", "FileDelete")
)


def account(started: Daemon) -> dict[str, Any]:
    """Return the counters once nothing waits any more."""
    deadline = time.monotonic() + DEADLINE_S * 3
    before: dict[str, Any] = {}
    while time.monotonic() < deadline:
        now = started.stats()
        if now["events"] == before.get("events") and now["ring_fill"] < 0.01:
            return now
        before = now
        time.sleep(0.5)
    raise AssertionError("the flood is still being written")


@pytest.mark.parametrize("budget", ["0", "20"])
def test_each_file_of_a_flood_is_reported_or_counted(
    daemon: Callable[..., Daemon], tmp_path: Path, budget: str
) -> None:
    ns = "urn:sysmonlx:settings"
    started = daemon(RULES, f'<Budget xmlns="{ns}">{budget}</Budget>')
    started.config.unlink()
    subprocess.run([sys.executable, "-c", FLOOD, os.fspath(tmp_path)], check=True)
    stats = account(started)
    seen = 0
    for event_id, record in (("11", "file_create"), ("23", "file_delete")):
        counts = stats["records"][record]
        lost = sum(counts["lost"].values())
        assert counts["seen"] >= MANY
        assert (
            counts["seen"] == counts["filtered_in_kernel"] + counts["submitted"] + lost
        )
        assert counts["received"] == counts["submitted"]
        events = stats["events"][event_id]
        seen += events["emitted"] + events["filtered"] + lost
        seen += counts["filtered_in_kernel"]
    total = sum(
        stats["records"][name]["seen"] for name in ("file_create", "file_delete")
    )
    assert seen + stats["left_out"] == total
    if budget == "0":
        assert stats["left_out"] == 0
