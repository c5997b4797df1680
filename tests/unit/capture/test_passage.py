# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import Any, cast

import pytest

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.object import BpfMap
from sysmonlx.capture.passage import Passage
from sysmonlx.errors import LibbpfError


class FakeBtf:
    def enumerators(self, name: str) -> dict[str, int]:
        return {"PASSAGE_PROCESSES": 64, "PASSAGE_RECORDS": 5}


class FakeMap:
    """A map with room for `most` entries."""

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self.entries: dict[bytes, bytes] = {}

    def update(self, key: bytes, value: bytes) -> None:
        if len(self.entries) >= self.most:
            raise LibbpfError("update", 7, "Argument list too long")
        self.entries[key] = value

    def delete(self, key: bytes) -> None:
        del self.entries[key]


def passage(of: FakeMap | None, told: dict[str, bool]) -> Passage:
    maps: Any = {} if of is None else {"passing_processes": cast(BpfMap, of)}
    return Passage(maps, cast(Btf, FakeBtf()), told.__setitem__)


def test_processes_pass_until_the_end() -> None:
    entries, told = FakeMap(), dict[str, bool]()
    made = passage(entries, told)
    made.let_pass([(42, 1000), (43, 2000)], 9000)
    assert len(entries.entries) == 2
    assert {
        int.from_bytes(each[8:], "little") for each in entries.entries.values()
    } == {5}
    assert told == {"processes_pass": True}
    made.end()
    assert (entries.entries, told) == ({}, {"processes_pass": False})


def test_all_pass_or_none() -> None:
    entries, told = FakeMap(most=1), dict[str, bool]()
    made = passage(entries, told)
    with pytest.raises(LibbpfError):
        made.let_pass([(42, 1000), (43, 2000)], 9000)
    assert (entries.entries, told) == ({}, {"processes_pass": False})


def test_kernel_without_a_filter_needs_to_be_told_nothing() -> None:
    told = dict[str, bool]()
    made = passage(None, told)
    made.let_pass([(42, 1000)], 9000)
    made.end()
    assert told == {}
