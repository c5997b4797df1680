# SPDX-License-Identifier: MIT
"""A flood of files leaves room in the ring for the records of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_capture import RING_BYTES, file_capture

from sysmonlx.capture.counters import RecordCounts
from sysmonlx.capture.sensor import Capture

pytestmark = pytest.mark.kernel

SHARED = 0.75

FLOOD = """
import os, sys
os.chdir(sys.argv[1])
for number in range(15000):
    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
    os.unlink(f"f{number}")
"""


@pytest.fixture
def capture() -> Iterator[Capture]:
    with file_capture() as made:
        yield made


def iter_records(capture: Capture) -> Iterator[bytes]:
    """Yield all records that wait in the ring."""
    while records := capture.ring.read():
        yield from records


def what_became_of(counts: RecordCounts) -> int:
    return counts.filtered + counts.submitted + sum(counts.lost)


def test_last_quarter_of_the_ring_is_for_processes(
    capture: Capture, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", FLOOD, tmp_path], check=True)
    full = capture.layouts.reasons.index("ring full")
    counts = capture.counts()
    for name in ("file_create", "file_delete"):
        assert counts[name].lost[full] > 1000
        assert what_became_of(counts[name]) == counts[name].seen
    before = counts["process_create"]
    subprocess.run(["/bin/true"], check=True)
    after = capture.counts()["process_create"]
    assert after.lost == before.lost
    assert after.submitted > before.submitted
    capture.detach_all()  # what is read makes room for more
    number, files = capture.layouts.number, 0
    types = set()
    for data in iter_records(capture):
        if data[0] in (number["file_create"], number["file_delete"]):
            files += len(data) + 15 & ~7
        types.add(data[0])
    assert (SHARED - 0.1) * RING_BYTES < files <= SHARED * RING_BYTES
    assert number["process_create"] in types


def test_long_arguments_lose_their_middle_while_the_ring_fills(
    capture: Capture,
) -> None:
    create = capture.layouts.by_name["process_create"]
    shortened = capture.layouts.flags["ARGS_SHORTENED"]
    line = b"head" + b"x" * 15000 + b"tail"
    for _ in range(250):
        subprocess.run(["/bin/true", line], check=True)
    records = [
        create.decode(data)
        for data in iter_records(capture)
        if data[0] == capture.layouts.number["process_create"]
    ]
    found = [each for each in records if each.args.startswith(b"/bin/true\0head")]
    assert len(found) == 250
    assert found[0].args == b"/bin/true\0" + line + b"\0"
    assert not found[0].flags & shortened
    last = found[-1]
    assert last.flags & shortened
    assert (
        last.args == b"/bin/true\0head" + b"x" * 498 + b"..." + b"x" * 507 + b"tail\0"
    )
    cut = sum(bool(each.flags & shortened) for each in records)
    assert capture.variable("args_shortened") >= cut > 0


def test_processes_may_fill_the_ring_to_its_end(capture: Capture) -> None:
    lines = ["/bin/true", *(["x" * 16000] * 8)]
    while capture.ring.fill() < SHARED + 0.1:
        os.waitpid(os.posix_spawn(lines[0], lines, {}), 0)
    for counts in capture.counts().values():
        assert what_became_of(counts) == counts.seen
