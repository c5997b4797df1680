# SPDX-License-Identifier: MIT
"""Includes in `ebpf/`: a folder knows itself and the folders below it, no other.

No files include each other in a circle either. A source and the header of its name are
one file here: a reader who opens one of them expects the other beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "ebpf"

#: Folders from the lowest to the highest; record.h and vmlinux.h are below them all.
FLOORS = ("", "kernel", "emit", "filter", "hooks", "test")


def included(path: Path) -> list[str]:
    """Return the files of ours that a file includes, named relative to `ebpf/`."""
    return re.findall(r'^#include "(.+)"$', path.read_text(), re.MULTILINE)


def floor_of(name: str) -> int:
    """Return the floor of a file that is named relative to `ebpf/`."""
    return FLOORS.index(name.rpartition("/")[0])


@pytest.mark.parametrize(
    "path",
    sorted(SOURCES.glob("*/*.[ch]")),
    ids=lambda path: path.relative_to(SOURCES).as_posix(),
)
def test_no_file_includes_one_of_a_higher_folder(path: Path) -> None:
    mine = floor_of(path.relative_to(SOURCES).as_posix())
    assert [each for each in included(path) if floor_of(each) > mine] == []


def test_no_files_include_each_other_in_a_circle() -> None:
    left: dict[str, set[str]] = {}
    for path in SOURCES.rglob("*.[ch]"):
        mine = path.relative_to(SOURCES).as_posix().partition(".")[0]
        others = {each.partition(".")[0] for each in included(path)}
        left.setdefault(mine, set()).update(others - {mine})
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_every_file_of_programs_is_linked() -> None:
    linked = {*included(SOURCES / "sysmonlx.bpf.c")} - {"vmlinux.h"}
    programs = {f"hooks/{path.name}" for path in (SOURCES / "hooks").glob("*.c")}
    missing, extra = programs - linked, linked - programs
    assert not missing, f"add to ebpf/sysmonlx.bpf.c: {missing}"
    assert not extra, f"there is no such file: {extra}"
