# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from sysmonlx.host import control_groups
from sysmonlx.host.aside import Aside
from sysmonlx.host.control_groups import LIMIT, LIMIT_BYTES, ControlGroups

V1 = 4 << 56


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    made.begin()
    yield made
    made.end()


@pytest.fixture
def groups(aside: Aside) -> ControlGroups:
    return ControlGroups(aside)


def proc(tmp_path: Path, mounts: str, own: str = "4:memory:/\n0::/\n") -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(mounts)
    (tmp_path / "self/cgroup").write_text(own)
    return tmp_path


def settle(
    groups: ControlGroups, number: int, has_gone: Callable[[], bool] = lambda: False
) -> bytes:
    deadline = time.monotonic() + 60
    while not groups.path(number) and not has_gone() and time.monotonic() < deadline:
        groups._missing.clear()
        time.sleep(0.01)
    return groups.path(number)


def groups_at(mount: bytes) -> list[tuple[bytes, int]]:
    """Return path and inode of the groups that are there now."""
    found = []
    for directory, _, _ in os.walk(mount):
        with suppress(FileNotFoundError):
            found.append((directory, os.stat(directory).st_ino))
    return found


def is_there(directory: bytes, inode: int) -> bool:
    """Tell whether a group is there yet: services of the machine come and go."""
    with suppress(FileNotFoundError):
        return os.stat(directory).st_ino == inode
    return False


def is_gone(directory: bytes, inode: int) -> bool:
    return not is_there(directory, inode)


def test_path_of_a_group_that_was_made_is_known_without_a_question() -> None:
    groups = ControlGroups(Aside())  # its lanes have not begun
    groups.made(7, b"/a")
    groups.made(7, b"/b")
    assert groups.path(7) == b"/a"
    assert groups.path(0) == groups.path(8) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_DAC_READ_SEARCH")
def test_groups_of_this_machine_are_found_by_number(aside: Aside) -> None:
    here = control_groups.mounts()
    if not here:
        pytest.skip("no cgroupfs here")
    for number, (_, mount) in here.items():
        for group in groups_at(mount):
            inner = group[0].removeprefix(mount) or b"/"
            groups, inode = ControlGroups(aside), group[1] | number << 56
            found = settle(groups, inode, partial(is_gone, *group))
            assert found == inner or not is_there(*group)


def test_groups_that_are_there_are_read_beforehand(groups: ControlGroups) -> None:
    here = control_groups.mounts()
    if not here:
        pytest.skip("no cgroupfs here")
    there = {number: groups_at(mount) for number, (_, mount) in here.items()}
    groups.expect_all()
    deadline = time.monotonic() + 60
    while groups._lane._pending:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    groups._lane.post = lambda *_: pytest.fail("asked")  # type: ignore[method-assign]  # for this one
    for number, (_, mount) in here.items():
        for directory, inode in there[number]:
            if not is_there(directory, inode):
                continue
            inner = directory.removeprefix(mount) or b"/"
            assert groups.path(inode | number << 56) == inner


def test_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/")
    place = (b"/", os.fsencode(tmp_path))
    assert len([*control_groups._groups_of(place)]) == 21
    monkeypatch.setattr(control_groups, "LIMIT", 4)
    assert len([*control_groups._groups_of(place)]) == 5


def test_group_that_is_gone_is_not_asked_for_again_at_once(
    groups: ControlGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        control_groups, "_path_by_handle", lambda number, *_: asked.append(number)
    )
    assert [groups.path(1 << 40) for _ in range(5)] == [b""] * 5
    assert len(asked) <= 1


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(
    groups: ControlGroups,
) -> None:
    for number in range(1, LIMIT + 3):
        groups.made(number, b"/x")
    assert len(groups._paths) == LIMIT
    assert 1 not in groups._paths
    assert LIMIT + 2 in groups._paths
    for number in range(LIMIT_BYTES // 4000 + 10):
        groups.made(1 << 32 | number, b"/" + b"x" * 3999)
    assert groups._size_bytes <= LIMIT_BYTES
    assert groups._size_bytes == sum(map(len, groups._paths.values()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_DAC_READ_SEARCH")
def test_groups_that_were_crowded_out_are_found_again(groups: ControlGroups) -> None:
    here = control_groups.mounts()
    if not here:
        pytest.skip("no cgroupfs here")
    number, (_, mount) = next(iter(here.items()))
    inode = os.stat(mount).st_ino | number << 56
    groups.made(inode, b"/")
    for other in range(LIMIT_BYTES // 4000 + 10):
        groups.made(1 << 48 | other, b"/" + b"x" * 3999)
    assert inode not in groups._paths
    assert settle(groups, inode) == b"/"


def test_mount_is_that_of_the_hierarchy_and_the_whole_of_it(tmp_path: Path) -> None:
    mounts = (
        "1 0 0:30 / /cg/v1\\040memory rw - cgroup cgroup rw,memory\n"
        "2 0 0:31 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "3 0 0:32 /inner /cg/part rw shared:1 - cgroup2 cgroup2 rw\n"
        "4 0 0:32 / /cg/whole rw - cgroup2 cgroup2 rw\n"
        "5 0 0:33 / /proc rw - proc proc rw\n"
    )
    where = proc(tmp_path, mounts)
    assert control_groups._mount_of(0, where) == (b"/", b"/cg/whole")
    assert control_groups._mount_of(4, where) == (b"/", b"/cg/v1 memory")
    assert control_groups._mount_of(9, where) == (b"", b"")


def test_nothing_mounted_is_nothing_known(tmp_path: Path) -> None:
    where = proc(tmp_path, "5 0 0:33 / /proc rw - proc proc rw\n")
    assert control_groups._path_by_handle(5, where) == b""
    assert control_groups._path_by_handle(V1 | 5, where) == b""


@pytest.mark.parametrize(
    ("root", "mount", "path", "whole"),
    [
        (b"/", b"/cg", b"/cg", b"/"),
        (b"/", b"/cg", b"/cg/a/b", b"/a/b"),
        (b"/outer", b"/cg", b"/cg/a", b"/outer/a"),
        (b"/outer", b"/cg", b"/cg", b"/outer"),
        (b"/", b"/cg", b"/cgroup/a", b""),
        (b"/outer", b"/cg", b"(unreachable)/a", b""),
        (b"/", b"/", b"/a", b"/a"),
        (b"/", b"/cg", b"", b""),
    ],
)
def test_path_begins_at_the_root_of_the_hierarchy(
    root: bytes, mount: bytes, path: bytes, whole: bytes
) -> None:
    assert control_groups._below(root, mount, path) == whole
