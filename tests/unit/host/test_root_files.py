# SPDX-License-Identifier: MIT
"""Where root writes and where not; each refusal names the component and the reason."""

from __future__ import annotations

import os
import random
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.host import root_files
from sysmonlx.host.root_files import (
    UntrustedError,
    is_local,
    open_directory,
    open_file,
    replace,
    write_typed,
)

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners")
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
NOBODY = 65534


def append(path: Path, text: bytes = b"x", *, regular_only: bool = True) -> None:
    fd = open_file(path, APPEND, regular_only=regular_only)
    os.write(fd, text)
    os.close(fd)


def give(path: Path, uid: int, mode: int | None = None) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


@pytest.fixture
def private() -> Iterator[Path]:
    """A directory that only root writes to, and above it none but such."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a directory outside of /tmp")
    path = Path("/run") / f"sysmonlx-test-{os.urandom(8).hex()}"
    path.mkdir(mode=0o755)
    yield path
    for folder, folders, files in os.walk(path, topdown=False):
        for name in (*folders, *files):
            each = Path(folder, name)
            each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
    path.rmdir()


# --- what works


def test_new_file_is_private_and_an_own_one_is_appended_to(tmp_path: Path) -> None:
    append(tmp_path / "log", b"one ")
    append(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"one two"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


@NEEDS_ROOT
def test_directory_of_root_that_a_group_writes_to_is_good(private: Path) -> None:
    os.chown(private, 0, 104)
    private.chmod(0o775)  # as /var/log is on Ubuntu: root:syslog
    append(private / "log")
    append(private / "log")
    assert (private / "log").read_bytes() == b"xx"
    assert os.stat(private / "log").st_uid == 0


@NEEDS_ROOT
def test_sticky_directory_is_good_for_files_of_root_alone(private: Path) -> None:
    private.chmod(0o1777)
    append(private / "log")
    append(private / "log")
    give(private / "log", NOBODY)
    with pytest.raises(UntrustedError, match="the file belongs to the user 65534"):
        append(private / "log")
    assert (private / "log").read_bytes() == b"xx"


def test_link_of_the_administrator_is_followed(private: Path) -> None:
    (private / "data/log").mkdir(parents=True)
    (private / "absolute").symlink_to(private / "data")
    (private / "relative").symlink_to("./data//log/../log/")
    append(private / "absolute/log/a")
    append(private / "relative/b")
    assert sorted(os.listdir(private / "data/log")) == ["a", "b"]


def test_missing_directories_are_made_on_request(tmp_path: Path) -> None:
    os.close(open_directory(tmp_path / "a/b/../c", makes=True))
    assert (tmp_path / "a/c").is_dir()


def test_replaced_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    replace(directory, "file", b"one")
    (tmp_path / "other").symlink_to("file")
    replace(directory, "other", b"two", mode=0o644)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        replace(directory, "folder", b"three")
    os.close(directory)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert not (tmp_path / "other").is_symlink()
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "other"]


def test_local_file_systems_are_known(tmp_path: Path) -> None:
    for path, answer in ((tmp_path, True), (Path("/proc"), False)):
        fd = os.open(path, os.O_PATH)
        assert is_local(fd) is answer
        os.close(fd)


# --- what is refused


@NEEDS_ROOT
@pytest.mark.parametrize("below", ["theirs/log", "theirs/own/log"])
def test_directory_of_another_user_is_refused(tmp_path: Path, below: str) -> None:
    give_me = tmp_path / "theirs"
    (give_me / "own").mkdir(parents=True)
    give(give_me, NOBODY)
    with pytest.raises(UntrustedError, match=f"{give_me} belongs to the user 65534"):
        append(tmp_path / below)
    assert os.listdir(give_me) == ["own"]
    assert os.listdir(give_me / "own") == []


@pytest.mark.parametrize("below", ["open/log", "open/own/log"])
def test_directory_open_to_all_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "open/own").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UntrustedError, match="open is writable by all, without the st"):
        append(tmp_path / below)


def link_to_victim(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("none"))


def second_name(path: Path, victim: Path) -> None:
    os.link(victim, path)


def fifo(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path, victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(path))


def folder(path: Path, victim: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (link_to_victim, "is a symbolic link"),
        (link_to_nothing, "is a symbolic link"),
        (second_name, r"has 2 names \(hard links\)"),
        (fifo, "is not a regular one"),
        (unix_socket, "is not a regular one"),
        (folder, "Is a directory"),
    ],
)
def test_planted_name_is_refused(
    private: Path, plant: Callable[[Path, Path], None], reason: str
) -> None:
    victim = private / "victim"
    victim.write_bytes(b"precious")
    plant(private / "log", victim)
    with pytest.raises(OSError, match=reason):
        append(private / "log")
    with pytest.raises(OSError, match=reason if plant is not fifo else "No such dev"):
        write_typed(os.fspath(private / "log"), b"x")
    assert victim.read_bytes() == b"precious"
    assert not (private / "none").exists()


def test_fifo_is_good_where_asked_for_and_only_if_it_is_ours(private: Path) -> None:
    os.mkfifo(private / "fifo")
    with pytest.raises(OSError, match="No such device or address"):  # no reader
        append(private / "fifo", regular_only=False)
    reader = os.open(private / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    append(private / "fifo", regular_only=False)
    assert os.read(reader, 9) == b"x"
    give(private / "fifo", NOBODY)
    with pytest.raises(UntrustedError, match="the file belongs to the user 65534"):
        append(private / "fifo", regular_only=False)
    os.close(reader)


def test_link_of_another_user_is_refused(private: Path) -> None:
    (private / "victim").mkdir()
    (private / "link").symlink_to("victim")
    give(private / "link", NOBODY)
    with pytest.raises(UntrustedError, match="link belongs to the user 65534"):
        append(private / "link/log")
    assert os.listdir(private / "victim") == []


@pytest.mark.parametrize("mode", [0o775, 0o1777])
def test_link_below_a_directory_that_others_write_to_is_refused(
    private: Path, mode: int
) -> None:
    (private / "shared/own").mkdir(parents=True)
    (private / "shared").chmod(mode)
    (private / "victim").mkdir()
    (private / "shared/link").symlink_to(private / "victim")
    (private / "shared/own/link").symlink_to(private / "victim")
    for below in ("shared/link", "shared/own/link"):
        with pytest.raises(UntrustedError, match=f"{below} is below a directory that"):
            append(private / below / "log")
    assert os.listdir(private / "victim") == []


def test_link_where_no_link_may_be_is_no_directory(private: Path) -> None:
    (private / "real").mkdir()
    (private / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        open_directory(private / "link", follows_last=False)


def test_circle_of_links_ends(private: Path) -> None:
    (private / "a").symlink_to("b")
    (private / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        append(private / "a/log")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_path_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(IsADirectoryError):
        append(Path(f"{tmp_path}/{name}") if name else Path("/"))


def test_missing_component_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        append(tmp_path / "a/b/log")
    assert caught.value.strerror == f"No such file or directory: {tmp_path}/a"


def test_refusals_leave_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open")
    before = os.listdir("/proc/self/fd")
    for below in ("open/log", "none/log", "link/log", "link"):
        with pytest.raises(OSError, match=r"."):
            append(tmp_path / below)
    assert os.listdir("/proc/self/fd") == before


# --- races


def test_name_that_changes_all_the_time_never_leads_to_another_file(
    private: Path,
) -> None:
    victim, shared = private / "victim", private / "shared"
    victim.write_bytes(b"precious")
    shared.mkdir()
    shared.chmod(0o1777)
    log, new = shared / "log", shared / "new"
    stop = threading.Event()

    def attack() -> None:
        chance = random.Random(1)
        while not stop.is_set():
            new.unlink(missing_ok=True)
            chance.choice((link_to_victim, second_name, fifo))(new, victim)
            os.rename(new, log)
            if chance.random() < 0.9:
                log.unlink(missing_ok=True)

    thread = threading.Thread(target=attack)
    thread.start()
    written = 0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            append(log)
            written += 1
        except OSError:
            continue
    stop.set()
    thread.join()
    assert victim.read_bytes() == b"precious"
    assert written > 0


def test_second_name_that_is_gone_before_names_are_counted_does_not_help(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, shared = private / "victim", private / "shared"
    victim.write_bytes(b"precious")
    shared.mkdir()
    shared.chmod(0o1777)
    look, open_it = os.stat, os.open

    def late_look(*words: Any, **options: Any) -> os.stat_result:
        second_name(shared / "log", victim)
        found = look(*words, **options)
        return os.stat_result((*found[:3], 1, *found[4:]))  # as if it had one name

    def quick_open(*words: Any, **options: Any) -> int:
        fd = open_it(*words, **options)
        (shared / "log").unlink()  # and it has, from now on
        return fd

    directory = open_directory(shared)
    monkeypatch.setattr(os, "stat", late_look)
    monkeypatch.setattr(os, "open", quick_open)
    with pytest.raises(UntrustedError, match="changes all the time"):
        root_files.open_in(directory, "log", APPEND)
    monkeypatch.undo()
    os.close(directory)
    assert victim.read_bytes() == b"precious"


# --- what the administrator typed


@NEEDS_ROOT
def test_typed_file_may_lie_in_the_home_of_a_user(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    give(home, NOBODY)
    write_typed(os.fspath(home / "new"), b"one")
    (home / "theirs").write_bytes(b"longer than that")
    give(home / "theirs", NOBODY)
    write_typed(os.fspath(home / "theirs"), b"two")
    assert (home / "new").read_bytes() == b"one"
    assert (home / "theirs").read_bytes() == b"two"
    assert os.stat(home / "theirs").st_uid == NOBODY


@NEEDS_ROOT
def test_links_in_the_home_of_a_user_are_not_followed(private: Path) -> None:
    home = private / "home"
    (home / "own").mkdir(parents=True)
    victim = private / "victim"
    victim.write_bytes(b"precious")
    (home / "file").symlink_to(victim)
    (home / "folder").symlink_to(private)
    os.link(victim, home / "hard")
    for each in (home, home / "own", home / "file", home / "folder"):
        give(each, NOBODY)
    for below in ("file", "folder/victim", "hard"):
        with pytest.raises(UntrustedError):
            write_typed(os.fspath(home / below), b"x")
    assert victim.read_bytes() == b"precious"


def test_typed_file_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_typed("out", b"one")
    write_typed("./out", b"2")
    assert (tmp_path / "out").read_bytes() == b"2"


def test_every_constant_of_a_file_system_is_32_bits() -> None:
    assert all(0 < each < 1 << 32 for each in root_files._LOCAL)
