# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
from pathlib import Path

import pytest

from sysmonlx.capture.kernel_facts import (
    cgroup2_mount,
    cgroup_remarks,
    facts_of_kernel,
    shared_memory_device,
)
from sysmonlx.errors import CaptureError


def test_a_file_without_btf_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"/none gives no BTF \(No such file"):
        facts_of_kernel(f"{tmp_path}/none")


@pytest.fixture
def mounts(tmp_path: Path) -> list[str]:
    """Lines of mountinfo: all of the file system that the two directories are on."""
    for name in ("whole", "a part"):
        (tmp_path / name).mkdir()
    device = (tmp_path / "whole").stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return [
        f"41 31 {number} / {tmp_path}/gone rw - cgroup2 cgroup2 rw\n",
        f"42 31 {number} /one {tmp_path}/a\\040part rw shared:1 - cgroup2 group rw\n",
        f"43 31 {number} / {tmp_path}/whole rw - cgroup2 groups rw,nsdelegate\n",
    ]


def mount_among(tmp_path: Path, *lines: str) -> str:
    other = f"40 31 0:1 / {tmp_path}/whole rw - tmpfs cgroup2 rw\n"
    path = tmp_path / "mountinfo"
    path.write_text("".join([other, *lines]))
    return os.path.relpath(cgroup2_mount(str(path)), tmp_path)


def test_the_whole_hierarchy_is_preferred(mounts: list[str], tmp_path: Path) -> None:
    assert mount_among(tmp_path, *mounts) == "whole"
    assert mount_among(tmp_path, *mounts[:2]) == "a part"


def test_what_is_above_the_own_namespace_is_preferred(
    mounts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "mountinfo"
    above = mounts[1].replace(" /one ", " /../.. ")
    assert mount_among(tmp_path, *mounts, above) == "a part"
    assert cgroup_remarks(False, str(path)) == []
    assert mount_among(tmp_path, *mounts) == "whole"
    (remark,) = cgroup_remarks(False, str(path))
    assert f"mount the host's /sys/fs/cgroup beside {tmp_path}/whole" in remark
    assert cgroup_remarks(True, str(path)) == []
    assert cgroup_remarks(False, os.devnull) == []


def test_what_something_covers_is_not_reached(
    mounts: list[str], tmp_path: Path
) -> None:
    covered = mounts[2].replace(" 31 ", " 31 9", 1)
    assert mount_among(tmp_path, covered, mounts[1]) == "a part"
    with pytest.raises(FileNotFoundError, match="no cgroup2 file system is mounted"):
        mount_among(tmp_path, mounts[0], covered)


def test_file_system_for_shared_memory_is_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "shm").mkdir()
    assert shared_memory_device(str(tmp_path / "shm")) == 0
    assert shared_memory_device(str(tmp_path / "missing")) == 0
    device = os.stat("/proc").st_dev
    kernels = os.major(device) << 20 | os.minor(device)
    assert shared_memory_device("/proc") == kernels
