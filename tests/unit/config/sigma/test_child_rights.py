# SPDX-License-Identifier: MIT
"""What reads YAML has no rights, and what it answers is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable

import pytest

pytest.importorskip("sigma.rule", reason="pySigma is not installed")

from sysmonlx.config.sigma import child, reader
from sysmonlx.config.sigma.files import Found
from sysmonlx.config.sigma.notes import Kind, Note
from sysmonlx.config.sigma.reader import RulesRead
from sysmonlx.errors import SysmonlxError

GOOD = Found(
    "a.yml",
    b"title: x\nlogsource: {category: process_creation}\n"
    b"detection: {s: {Image: x}, condition: s}\n",
)


def test_rules_come_back_from_the_child() -> None:
    found = child.read([GOOD, Found("b.yml", b"[" * 1000), Found("c", b"", "is gone")])
    assert [each.title for each in found.pack.rules] == ["x"]
    assert [each.file for each in found.notes] == ["c", "b.yml"]
    assert found.outlines[0]


def test_nothing_that_reads_yaml_is_imported_here() -> None:
    code = "import sys, sysmonlx.sigma_tool.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert {"yaml", "sigma", "pyparsing", "re2"}.isdisjoint(done.stdout.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_child_is_nobody_when_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(files: Iterable[tuple[str, bytes]]) -> RulesRead:
        with open("/proc/self/status") as status:
            lines = [each for each in status if each.startswith(("Uid", "CapEff"))]
        reason = " ".join("".join(lines).split())
        return RulesRead(notes=[Note(Kind.REMARK, "", 0, "", reason)])

    monkeypatch.setattr(reader, "read_rules", told)
    (note,) = child.read([GOOD]).notes
    uid, rights = note.reason.split()[1], int(note.reason.split()[-1], 16)
    assert uid != "0"
    assert rights & ~(1 << 2) == 0  # CAP_DAC_READ_SEARCH, for a checkout below /root


@pytest.mark.parametrize("how", ["memory", "crash", "answer"])
def test_child_that_fails_is_told(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(files: Iterable[tuple[str, bytes]]) -> RulesRead:
        if how == "memory":
            bytearray(1 << 40)
        if how == "crash":
            os.abort()
        return RulesRead(others="x")  # type: ignore[arg-type]  # no number

    monkeypatch.setattr(reader, "read_rules", fails)
    with pytest.raises(SysmonlxError, match=r"memory|SIGABRT|nonsense"):
        child.read([GOOD])


def test_rules_that_take_for_ever_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "read_rules", lambda files: time.sleep(60))
    monkeypatch.setattr(child, "_TIMEOUT_S", 0.1)
    with pytest.raises(SysmonlxError, match="use fewer"):
        child.read([GOOD])


def test_without_pysigma_one_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SysmonlxError, match="pip install"):
        child.read([GOOD])
