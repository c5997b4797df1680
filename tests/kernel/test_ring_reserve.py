# SPDX-License-Identifier: MIT
"""A flood of files leaves room in the ring for the records of processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.capture import Capture
from sysmonlx.counters import RecordCounts
from sysmonlx.hooks_file import FILE_HOOKS

pytestmark = pytest.mark.kernel

RING_BYTES = 64 << 10
SHARED = 0.75

FLOOD = """
import os, sys
os.chdir(sys.argv[1])
for number in range(2000):
    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
    os.unlink(f"f{number}")
"""


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = Capture(RING_BYTES, RING_BYTES // 2)
    made.load(FILE_HOOKS)
    made.attach_processes()
    numbers = made.layouts.number
    wanted = 1 << numbers["file_create"] | 1 << numbers["file_delete"]
    made.set_variable("wanted_records", wanted)
    made.want(FILE_HOOKS)
    yield made
    made.close()


def what_became_of(counts: RecordCounts) -> int:
    return counts.filtered + counts.submitted + sum(counts.lost)


def test_last_quarter_of_the_ring_is_for_processes(
    capture: Capture, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", FLOOD, tmp_path], check=True)
    full, fill = capture.layouts.reasons.index("ring full"), capture.ring.fill()
    counts = capture.counts()
    for name in ("file_create", "file_delete"):
        assert counts[name].lost[full] > 1000
        assert what_became_of(counts[name]) == counts[name].seen
    assert SHARED - 0.05 < fill < SHARED + 0.05
    before = counts["process_create"]
    subprocess.run(["/bin/true"], check=True)
    after = capture.counts()["process_create"]
    assert after.lost == before.lost
    assert after.submitted > before.submitted
    types = [data[0] for data in capture.ring.read()]
    assert types.count(capture.layouts.number["process_create"]) >= 2


def test_processes_may_fill_the_ring_to_its_end(capture: Capture) -> None:
    for _ in range(300):
        subprocess.run(["/bin/true", "x" * 1000], check=True)
    assert capture.ring.fill() > 0.95
    for counts in capture.counts().values():
        assert what_became_of(counts) == counts.seen
