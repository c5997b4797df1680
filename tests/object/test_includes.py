# SPDX-License-Identifier: MIT
"""Includes in `ebpf/`: a folder knows itself and the folders below it, no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "ebpf"

#: Folders from the lowest to the highest; record.h and vmlinux.h are below them all.
FLOORS = ("", "kernel", "emit", "filter", "hooks", "test")


def floor_of(name: str) -> int:
    """Return the floor of a file that is named relative to `ebpf/`."""
    return FLOORS.index(name.rpartition("/")[0])


@pytest.mark.parametrize(
    "path",
    sorted(SOURCES.glob("*/*.[ch]")),
    ids=lambda path: path.relative_to(SOURCES).as_posix(),
)
def test_no_file_includes_one_of_a_higher_folder(path: Path) -> None:
    included = re.findall(r'^#include "(.+)"$', path.read_text(), re.MULTILINE)
    mine = floor_of(path.relative_to(SOURCES).as_posix())
    assert [each for each in included if floor_of(each) > mine] == []


def test_every_file_of_programs_is_linked() -> None:
    included = re.findall(
        r'^#include "(.+)"$', (SOURCES / "sysmonlx.bpf.c").read_text(), re.MULTILINE
    )
    programs = {f"hooks/{path.name}" for path in (SOURCES / "hooks").glob("*.c")}
    missing, extra = programs - {*included}, {*included} - programs - {"vmlinux.h"}
    assert not missing, f"add to ebpf/sysmonlx.bpf.c: {missing}"
    assert not extra, f"there is no such file: {extra}"
