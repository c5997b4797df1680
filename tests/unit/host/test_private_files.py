# SPDX-License-Identifier: MIT
"""Files that nobody but root reads, written whole or not at all."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.private import mode, private_home

from sysmonlx.errors import InstallError
from sysmonlx.host import machine, private_files
from sysmonlx.host.machine import boot_offset, machine_id
from sysmonlx.host.private_files import read_file, write_private
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.service.installed import load_command_line

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return private_home(tmp_path)


def test_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o755)
    private_files.private_directory(path)
    assert mode(path) == 0o700


def test_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(InstallError, match=r"Cannot create .*: Not a directory"):
        private_files.private_directory(tmp_path / "link")


@NEEDS_ROOT
def test_link_of_another_user_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    (tmp_path / "theirs/link").symlink_to(tmp_path / "victim")
    for path in (tmp_path / "theirs/link", tmp_path / "theirs"):
        with pytest.raises(InstallError, match="theirs belongs to the user 12345"):
            write_private(path / "file", b"x")
        with pytest.raises(InstallError, match="theirs belongs to the user 12345"):
            private_files.private_directory(path / "new")
    assert "not to root" in RecordIds(tmp_path / "theirs/link/id").warning
    assert os.listdir(tmp_path / "victim") == []


@NEEDS_ROOT
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 12345, 12345)
    with pytest.raises(InstallError, match="theirs belongs to the user 12345"):
        private_files.private_directory(path)


def test_written_file_is_whole_and_private(home: Path) -> None:
    path = home / "file"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert mode(path) == 0o600
    assert os.listdir(home) == ["file"]


def test_mode_does_not_depend_on_the_umask(home: Path) -> None:
    old = os.umask(0o077)
    try:
        write_private(home / "unit", b"x", 0o644)
    finally:
        os.umask(old)
    assert mode(home / "unit") == 0o644


def test_link_in_the_way_is_refused_and_its_target_untouched(home: Path) -> None:
    (home / "victim").write_bytes(b"precious")
    (home / "file").symlink_to("victim")
    with pytest.raises(InstallError, match="file"):
        write_private(home / "file", b"x")
    assert (home / "victim").read_bytes() == b"precious"
    assert sorted(os.listdir(home)) == ["file", "victim"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Path.mkdir, "a directory"),
        (lambda path: path.symlink_to("/absent"), "a symbolic link"),
        (os.mkfifo, "something that is no file"),
    ],
)
def test_what_is_in_the_way_is_named_with_its_path(
    home: Path, make: Callable[[Path], object], what: str
) -> None:
    path = home / "policy.json"
    make(path)
    with pytest.raises(InstallError) as caught:
        write_private(path, b"x")
    told = f"Cannot write {path}: {what} is in its place, remove it first"
    assert str(caught.value) == told
    assert os.listdir(home) == ["policy.json"]


def test_directory_that_others_may_write_to_is_refused(home: Path) -> None:
    home.chmod(0o777)
    with pytest.raises(InstallError, match="state is writable by all"):
        write_private(home / "file", b"x")
    home.chmod(0o770)
    with pytest.raises(InstallError, match="others may write"):
        write_private(home / "file", b"x")
    assert os.listdir(home) == []


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"Cannot write .*/none/file: No such file"):
        write_private(tmp_path / "none/file", b"x")


def test_full_disk_leaves_the_old_file(home: Path) -> None:
    write_private(home / "file", b"old")
    pid = os.fork()
    if pid == 0:
        os._exit(_write_at_a_file_size_limit(home / "file"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert (home / "file").read_bytes() == b"old"
    assert os.listdir(home) == ["file"]


def _write_at_a_file_size_limit(path: Path) -> int:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        write_private(path, b"x" * 1000)
    except InstallError:
        return 7
    return 0


def killed_while_writing(path: Path, at: str) -> None:
    """Have a process write to `path` and end by SIGKILL where `os.<at>` is called."""
    pid = os.fork()
    if pid == 0:
        setattr(os, at, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        write_private(path, b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("at", ["fchmod", "link", "rename", "unlink"])
def test_what_a_killed_writer_left_is_removed(home: Path, at: str) -> None:
    path = home / "policy.json"
    write_private(path, b"old")
    others = home / ".policy.json.swp"
    others.touch()
    killed_while_writing(path, at)
    left = set(home.iterdir()) - {path, others}
    assert left
    assert private_files.remove_unfinished(home, unchanged_s=60.0) == []
    assert set(private_files.remove_unfinished(home)) == left
    assert set(home.iterdir()) == {path, others}
    assert path.read_bytes() == (b"new" if at == "unlink" else b"old")


def test_unfinished_files_of_a_directory_that_others_write_to_stay(home: Path) -> None:
    left = home / f".config.xml.{'0' * 16}"
    left.touch()
    home.chmod(0o777)
    assert private_files.remove_unfinished(home) == []
    assert left.exists()
    assert private_files.remove_unfinished(home / "absent") == []


def put(path: Path, what: str) -> None:
    """Put something that is no readable file of a sane size at a path."""
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.fspath(path))
    elif what == "link to itself":
        path.symlink_to(path.name)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), 1 << 40)


@pytest.mark.parametrize(
    "what", ["directory", "fifo", "socket", "link to itself", "device", "1 TiB"]
)
def test_what_is_no_file_of_ours_counts_as_absent(home: Path, what: str) -> None:
    names = ("boot_offset", "command_line", "machine-id", "other")
    for name in names:
        put(home / name, what)
    with pytest.raises(OSError, match=r"."):
        read_file(home / "other")
    assert load_command_line(home / "command_line") == ()
    assert machine_id(home / "machine-id") == 0
    measured = machine.measure_boot_offset()
    assert abs(boot_offset(home, "boot-1", store=False) - measured) < 10**9


def test_file_of_the_limit_is_read_and_no_larger_one(home: Path) -> None:
    (home / "file").write_bytes(b"12345")
    assert read_file(home / "file", 5) == b"12345"
    with pytest.raises(OSError, match="File too large"):
        read_file(home / "file", 4)
