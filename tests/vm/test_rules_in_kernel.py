# SPDX-License-Identifier: MIT
"""Rules on another kernel: judged there where it can, with the same result."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel.watch import watching

from sysmonlx.kernel import facts_of_kernel

pytestmark = pytest.mark.kernel

RULES = (
    '<ProcessCreate onmatch="exclude"/>'
    '<FileCreate onmatch="include"><Rule groupRelation="and">'
    '<TargetFilename condition="contains">/wanted-</TargetFilename>'
    '<Image condition="contains">python</Image></Rule></FileCreate>'
)
FILES = 20


def test_rules_are_judged_in_the_kernel_where_it_can(tmp_path: Path) -> None:
    in_kernel = facts_of_kernel("")["has_bpf_loop"]
    with watching(tmp_path / "root", RULES) as daemon:
        before = daemon.stats()["records"]["file_create"]["filtered_in_kernel"]
        for number in range(FILES):
            (tmp_path / f"plain-{number}").touch()
            (tmp_path / f"wanted-{number}").touch()
        events = [each for each in daemon.settle() if each["EventID"] == "11"]
        stats = daemon.stats()
    names = [Path(each["TargetFilename"]).name for each in events]
    assert names == [f"wanted-{number}" for number in range(FILES)]
    place = stats["events"]["11"]["filtered_in"]
    expected = "kernel" if in_kernel else "user space (this kernel has no bpf_loop())"
    assert place == expected
    discarded = stats["records"]["file_create"]["filtered_in_kernel"] - before
    assert (discarded >= FILES) == in_kernel
