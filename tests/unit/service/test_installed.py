# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sysmonlx.errors import InstallError
from sysmonlx.host import machine, private_files
from sysmonlx.host.machine import boot_offset, machine_id
from sysmonlx.host.private_files import read_file, write_private
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.processes.identity import Identity
from sysmonlx.service import installed
from sysmonlx.service.installed import Paths, load_command_line

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    private_files.private_directory(path)
    return path


# --- paths


def test_paths_are_the_documented_ones() -> None:
    paths = Paths.from_environment({})
    assert paths.is_live
    assert str(paths.config_file) == "/etc/sysmonlx/config.xml"
    assert str(paths.policy_file) == "/var/lib/sysmonlx/policy.json"
    assert str(paths.pid_file) == "/run/sysmonlx/sysmonlx.pid"
    assert str(paths.control_socket) == "/run/sysmonlx/control.sock"
    assert str(paths.unit_file) == "/etc/systemd/system/sysmonlx.service"


def test_every_path_follows_the_root_of_the_environment(tmp_path: Path) -> None:
    paths = Paths.from_environment({"SYSMONLX_ROOT": str(tmp_path)})
    assert not paths.is_live
    found = [getattr(paths, name) for name in dir(Paths) if name.endswith("_file")]
    found += [paths.config_dir, paths.state_dir, paths.run_dir, paths.control_socket]
    assert len(found) == 13
    assert all(path.is_relative_to(tmp_path) for path in found)


def test_own_directories_are_for_root_only(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.create_private()
    paths.create_private()
    assert [mode(paths.config_dir), mode(paths.state_dir), mode(paths.run_dir)] == [
        0o700
    ] * 3


# --- writing


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


# --- record ids


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


def test_first_record_id_is_0_and_each_is_the_next(home: Path) -> None:
    ids = RecordIds(home / "record_id")
    assert [ids.take() for _ in range(3)] == [0, 1, 2]
    assert ids.take(10) == 3
    assert ids.take() == 13
    ids.close()
    assert ids.warning == ""
    assert (home / "record_id").read_bytes() == struct.pack("=Q", 14)
    assert mode(home / "record_id") == 0o600


def test_record_ids_go_on_after_sigkill(home: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        last = RecordIds(home / "record_id").take(1000) + 999
        os.write(writer, str(last).encode())
        signal.pause()
    assert os.read(reader, 100) == b"999"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert RecordIds(home / "record_id").take() == 1000


@pytest.mark.parametrize("size", [1, 7, 9, 5000])
def test_damaged_counter_starts_at_0_and_says_so(home: Path, size: int) -> None:
    path = home / "record_id"
    path.write_bytes(b"\xff" * size)
    ids = RecordIds(path)
    assert (ids.take(), ids.take()) == (0, 1)
    assert f"{size} bytes" in ids.warning
    ids.close()
    assert path.read_bytes() == struct.pack("=Q", 2)


def test_counter_at_its_end_goes_on_at_0(home: Path) -> None:
    (home / "record_id").write_bytes(b"\xff" * 8)
    ids = RecordIds(home / "record_id")
    assert (ids.take(), ids.take()) == (2**64 - 1, 0)


@pytest.mark.parametrize("what", ["directory", "missing directory", "link"])
def test_unusable_counter_counts_in_memory_and_says_so(home: Path, what: str) -> None:
    path = home / "record_id"
    if what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to("elsewhere")
    else:
        path = home / "none" / "record_id"
    ids = RecordIds(path)
    assert (ids.take(), ids.take()) == (0, 1)
    assert str(path) in ids.warning
    ids.close()
    assert not (home / "elsewhere").exists()


# --- boot offset, machine id, command line


def test_boot_offset_is_wall_clock_minus_boot_clock(home: Path) -> None:
    offset = boot_offset(home, "boot-1")
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset
    assert abs(now - time.time_ns()) < 1_000_000_000


def test_boot_offset_stays_for_a_boot_and_is_new_for_the_next(home: Path) -> None:
    first = boot_offset(home, "boot-1")
    assert [boot_offset(home, "boot-1") for _ in range(3)] == [first] * 3
    (home / "boot_offset").write_text("boot-1 1234\n")
    assert boot_offset(home, "boot-1") == 1234
    assert boot_offset(home, "boot-2") != 1234
    assert (home / "boot_offset").read_bytes().startswith(b"boot-2 ")
    assert mode(home / "boot_offset") == 0o600


def test_reader_uses_the_fixed_offset_and_fixes_none(home: Path) -> None:
    boot_offset(home, "boot-1", store=False)
    assert os.listdir(home) == []
    (home / "boot_offset").write_text("boot-1 1234\n")
    assert boot_offset(home, "boot-1", store=False) == 1234
    assert boot_offset(home, "boot-2", store=False) != 1234


@pytest.mark.parametrize("text", ["", "boot-1", "boot-1 x", "boot-1 1 2", "\0\xff"])
def test_damaged_boot_offset_is_measured_again(home: Path, text: str) -> None:
    (home / "boot_offset").write_text(text)
    assert abs(boot_offset(home, "boot-1") - machine.measure_boot_offset()) < 10**9


@pytest.mark.parametrize("offset", [10**30, -(10**30), 1 << 62])
def test_boot_offset_of_no_clock_is_measured_again(home: Path, offset: int) -> None:
    (home / "boot_offset").write_text(f"boot-1 {offset}\n")
    assert abs(boot_offset(home, "boot-1") - machine.measure_boot_offset()) < 10**9


@pytest.mark.parametrize("offset", [(1 << 62) - 1, 1 - (1 << 62), 0])
def test_every_boot_offset_that_is_taken_makes_guids(home: Path, offset: int) -> None:
    (home / "boot_offset").write_text(f"boot-1 {offset}\n")
    assert boot_offset(home, "boot-1") == offset
    guid = Identity(1, offset).process_guid(7, 10**18, 0)
    assert guid.startswith("{00000001-")


def test_boot_offset_that_cannot_be_stored_is_told_and_used(home: Path) -> None:
    (home / "boot_offset").mkdir()
    told: list[str] = []
    offset = boot_offset(home, "boot-1", tell=told.append)
    assert abs(offset - machine.measure_boot_offset()) < 10**9
    (text,) = told
    assert "boot_offset" in text
    assert "ProcessGuid" in text


# --- what stands in the place of a file


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


def test_fifo_in_place_of_the_counter_counts_in_memory(home: Path) -> None:
    os.mkfifo(home / "record_id")
    ids = RecordIds(home / "record_id")
    assert (ids.take(), ids.take()) == (0, 1)
    assert "record_id" in ids.warning


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("c30c93450000000000000000deadbeef\n", 0xC30C9345),
        ("c30c934", 0),
        ("uninitialized\n", 0),
        ("+30c9345ffff", 0),
        ("", 0),
    ],
)
def test_machine_id(tmp_path: Path, text: str, number: int) -> None:
    (tmp_path / "machine-id").write_text(text)
    assert machine_id(tmp_path / "machine-id") == number


def test_machine_id_without_file_is_0(tmp_path: Path) -> None:
    assert machine_id(tmp_path / "machine-id") == 0


def test_command_line_is_kept_argument_by_argument(home: Path) -> None:
    words = ("sysmonlx", "-i", "a b.xml", "", "\udcff\n")
    write_private(home / "command_line", installed.command_line_bytes(words))
    assert installed.load_command_line(home / "command_line") == words
    assert mode(home / "command_line") == 0o600
    assert installed.load_command_line(home / "none") == ()
