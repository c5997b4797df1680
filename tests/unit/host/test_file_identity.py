# SPDX-License-Identifier: MIT
"""Which file it is, where file systems show devices of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sysmonlx.host import file_identity
from sysmonlx.host.file_identity import (
    FileId,
    answers_at_once,
    file_id,
    is_same_file,
    names_one_content,
)


def test_foreign_device_is_refused_on_an_ordinary_file_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open(tmp_path / "file", "rb") as file:
        found = file_id(file.fileno())
        wanted = found._replace(dev=found.dev ^ 1)
        path = bytes(tmp_path / "file")
        assert is_same_file(found, found, file.fileno(), b"")
        assert not is_same_file(found, wanted, file.fileno(), path)


@pytest.mark.parametrize(
    ("kind", "change", "same_path", "same"),
    [
        (file_identity._BTRFS, {"dev": 9}, False, True),
        (file_identity._BTRFS, {"dev": 9, "ino": 1}, True, False),
        (file_identity._OVERLAYFS, {"dev": 9, "ino": 1}, True, True),
        (file_identity._OVERLAYFS, {"dev": 9, "ino": 1}, False, False),
        (file_identity._OVERLAYFS, {"dev": 9, "ctime_ns": 1}, True, False),
    ],
)
def test_file_systems_with_devices_of_their_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: int,
    change: dict[str, int],
    same_path: bool,
    same: bool,
) -> None:
    monkeypatch.setattr(file_identity, "_filesystem_type", lambda fd: kind)
    (tmp_path / "file").touch()
    path = bytes(tmp_path / "file") if same_path else b"/other"
    with open(tmp_path / "file", "rb") as file:
        found = file_id(file.fileno())
        wanted = found._replace(**change)
        assert is_same_file(found, wanted, file.fileno(), path) is same


def test_type_of_a_file_system_is_statfs() -> None:
    with open("/proc/self/status", "rb") as file:
        assert file_identity._filesystem_type(file.fileno()) == 0x9FA0


EXT4, TMPFS, NFS, FUSE = 0xEF53, 0x01021994, 0x6969, 0x65735546
OVERLAYFS, P9 = 0x794C7630, 0x01021997


@pytest.mark.parametrize(
    ("filesystem", "in_user_namespace", "is_layered", "at_once", "one_content"),
    [
        (EXT4, 0, 0, True, True),
        (TMPFS, 0, 0, True, True),
        (TMPFS, 1, 0, False, True),
        (EXT4, 1, 0, False, True),  # behind an overlay of an unprivileged user
        (OVERLAYFS, 0, 1, True, True),
        (OVERLAYFS, 1, 1, False, False),
        (NFS, 0, 0, False, True),
        (P9, 0, 0, False, True),
        (FUSE, 0, 0, False, False),
        (FUSE, 1, 0, False, False),
        (0, 0, 0, False, True),  # unknown
    ],
)
def test_kinds_of_file_systems(
    filesystem: int,
    in_user_namespace: int,
    is_layered: int,
    at_once: bool,
    one_content: bool,
) -> None:
    kind = filesystem, in_user_namespace, is_layered
    file = FileId(1, 2, 3, 4, 5, 0, *kind)
    assert answers_at_once(file) is at_once
    assert names_one_content(file) is one_content


@pytest.mark.parametrize("part", FileId._fields)
def test_every_part_of_the_identity_counts(part: str) -> None:
    """A number of a device is given anew when its file system is gone, for example."""
    file = FileId(1, 2, 3, 4, 5, 6, TMPFS)
    assert file._replace(**{part: 1 - getattr(file, part)}) != file
