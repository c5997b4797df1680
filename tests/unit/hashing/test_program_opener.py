# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.leftovers import nothing_stays_open

from sysmonlx.errors import ProcError
from sysmonlx.hashing import program_opener
from sysmonlx.hashing.program_opener import ProgramOpener, WouldWaitError
from sysmonlx.host.file_identity import file_id
from sysmonlx.host.procfs import Procfs

NAMESPACE = Procfs().mount_namespace(os.getpid())


@pytest.fixture
def opener() -> ProgramOpener:
    return ProgramOpener(Procfs())


def inode(fd: int) -> int:
    try:
        return file_id(fd).ino
    finally:
        os.close(fd)


def test_path_is_found_in_the_mount_namespace(
    opener: ProgramOpener, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    path.touch()
    for may_wait in (False, True):
        fd = opener.by_path(NAMESPACE, bytes(path), may_wait=may_wait)
        assert inode(fd) == path.stat().st_ino


def test_nothing_stays_open_but_the_answer(
    opener: ProgramOpener, tmp_path: Path
) -> None:
    path = bytes(tmp_path / "program")
    with nothing_stays_open():
        for _ in range(5):
            with pytest.raises(ProcError):
                opener.by_path(NAMESPACE, path, may_wait=True)
    opener.close()
    opener.close()


@pytest.mark.parametrize("path", [b"", b"relative", b"/no/such/file"])
def test_path_that_leads_nowhere_is_refused(opener: ProgramOpener, path: bytes) -> None:
    with pytest.raises(ProcError):
        opener.by_path(NAMESPACE, path, may_wait=True)


def test_namespace_of_nobody_is_refused(opener: ProgramOpener) -> None:
    with pytest.raises(ProcError, match="nobody is in"):
        opener.by_path(1, b"/bin/true", may_wait=True)
    with pytest.raises(ProcError, match="another"):
        opener.at_once(1, b"/bin/true")


def test_link_at_the_end_is_not_followed(opener: ProgramOpener, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/bin/true")
    fd = opener.by_path(NAMESPACE, bytes(tmp_path / "link"), may_wait=True)
    assert inode(fd) == (tmp_path / "link").lstat().st_ino


def test_link_on_the_way_does_not_leave_the_root(
    opener: ProgramOpener, tmp_path: Path
) -> None:
    (tmp_path / "way").symlink_to(tmp_path)
    (tmp_path / "program").touch()
    fd = opener.by_path(NAMESPACE, bytes(tmp_path / "way/program"), may_wait=True)
    assert inode(fd) == (tmp_path / "program").stat().st_ino


@pytest.mark.parametrize("error", ["EAGAIN", "EINVAL", "ENOSYS"])
def test_what_the_cache_does_not_know_would_wait(
    opener: ProgramOpener, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    number: int = getattr(errno, error)

    calls: list[object] = []

    def openat2(*given: object) -> int:
        calls.append(given)
        return -number

    monkeypatch.setattr(program_opener, "openat2", openat2)
    with pytest.raises(WouldWaitError):
        opener.by_path(NAMESPACE, b"/bin/true", may_wait=False)
    assert len(calls) == (3 if error == "EAGAIN" else 1)
    with pytest.raises(ProcError) as failure:
        opener.by_path(NAMESPACE, b"/bin/true", may_wait=True)
    assert not isinstance(failure.value, WouldWaitError)
