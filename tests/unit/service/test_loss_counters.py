# SPDX-License-Identifier: MIT
"""What counts losses: which counters are read, and how they are named."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.capture.counters import RecordCounts
from sysmonlx.capture.records import Layouts
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.losses import Loss
from sysmonlx.service.loss_counters import LossCounters

VALUES = ("Resolved paths", "no answer in time")


class Parts:
    """All that counts; `reads` are the counters of the kernel that were read."""

    def __init__(self, layouts: Layouts) -> None:
        self.records: dict[str, RecordCounts] = {}
        self.misses: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.values: dict[Loss, int] = {}
        self.reads: Counter[str] = Counter()
        self.account = Account(layouts)
        self._reasons = len(layouts.reasons)
        capture: Any = SimpleNamespace(
            layouts=layouts,
            counts=self.read_records,
            losses=lambda: repr(self.records).encode(),
            misses=self.misses,
            program_times=self.read_misses,
        )
        pipeline: Any = SimpleNamespace(account=self.account)
        output: Any = SimpleNamespace(losses=lambda: dict(self.lines))
        source: Any = SimpleNamespace(losses=lambda: dict(self.values))
        self.counters = LossCounters(capture, pipeline, output, source)

    def read_records(self) -> dict[str, RecordCounts]:
        self.reads["records"] += 1
        return self.records

    def read_misses(self) -> dict[str, tuple[int, int, int]]:
        self.reads["programs"] += 1
        return {name: (0, 0, count) for name, count in self.misses.items()}

    def lose(self, record: str, count: int) -> None:
        lost = (count, *(0,) * (self._reasons - 1))
        self.records[record] = RecordCounts(count, 0, 0, 0, lost)


@pytest.fixture
def parts(layouts: Layouts) -> Parts:
    made = Parts(layouts)
    made.counters.changed()
    made.reads.clear()
    return made


def test_nothing_is_read_where_nothing_has_changed(parts: Parts) -> None:
    for _ in range(3):
        assert parts.counters.changed() == {}
    assert not parts.reads


def test_only_what_has_changed_is_read(parts: Parts) -> None:
    parts.lines["spool full"] = 2
    assert parts.counters.changed() == {("Events", "sink: spool full"): 2}
    parts.values[VALUES] = 1
    assert parts.counters.changed() == {VALUES: 1}
    assert not parts.reads
    parts.misses["process_fork"] = 3
    assert parts.counters.changed() == {("process_fork", "missed"): 3}
    assert parts.reads == {"programs": 1}
    parts.lose("file_create", 4)
    assert parts.counters.changed()["FileCreate", "ring full"] == 4
    assert parts.reads == {"programs": 1, "records": 1}


def test_lines_that_are_known_are_no_change(parts: Parts) -> None:
    parts.lines["spool full"] = 2
    parts.counters.know_lines(parts.counters.lines())
    assert parts.counters.changed() == {}
    parts.lines["spool full"] = 3
    assert parts.counters.changed() == {("Events", "sink: spool full"): 3}


def test_losses_of_one_name_are_added(parts: Parts, layouts: Layouts) -> None:
    parts.lose("pipe_create", 5)
    parts.lose("pipe_connect", 2)
    for event_id in (17, 17, 18):
        parts.account.lose(event_id, KeyError("x"))
    created = bytes([layouts.number["pipe_create"]])
    parts.account.lose_record(created, KeyError("x"))
    lost = parts.counters.all()
    assert lost["PipeEvent", layouts.reasons[0]] == 7
    assert lost["PipeEvent", "error: KeyError"] == 4
