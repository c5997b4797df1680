# SPDX-License-Identifier: MIT
"""File systems of our own that are frozen, as backups of virtual machines do it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cpu import slept_s
from support.running import EVERYTHING, Daemon, wait_until

from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.rotating_file import RotatingFileSink
from sysmonlx.policy import Rotation

pytestmark = pytest.mark.kernel

#: <linux/fs.h>
_FIFREEZE = 0xC0045877
_IMAGE_BYTES = 24 << 20
#: It is thawed after this time in any case, in seconds.
_MOST_S = 20
#: Runs of a program: each takes a number of an event.
_RUNS = 5
#: No call of a sink waits for so long, in seconds.
_QUICK_S = 0.5


@contextmanager
def mounts(*commands: tuple[str, ...]) -> Iterator[None]:
    """Have file systems mounted; the last word of each command is the place."""
    made: list[str] = []
    try:
        for command in commands:
            subprocess.run(["mount", *command], check=True)
            made.append(command[-1])
        yield
    finally:
        for place in reversed(made):
            subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Have a file system frozen: who writes there waits, and cannot be ended.

    It is thawed when this process closes a pipe, by its own end too.
    """
    os.sync()
    fd = os.open(place, os.O_RDONLY)
    thaw = f'timeout {_MOST_S} cat; fsfreeze --unfreeze "$0"'
    command = ["sh", "-c", thaw, os.fspath(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as thawing:
        fcntl.ioctl(fd, _FIFREEZE, 0)
        os.close(fd)
        yield
        assert thawing.poll() is None, "it was thawed before the end of the test"


@pytest.fixture
def root(tmp_path: Path, require: Callable[[str, bool, str], None]) -> Iterator[Path]:
    """A root whose /var is a file system of its own, and whose /run is memory."""
    is_there = all(map(shutil.which, ("mkfs.ext4", "fsfreeze")))
    require("ext4", is_there, "there is no mkfs.ext4 or fsfreeze")
    image, made = tmp_path / "image", tmp_path / "root"
    made.mkdir(mode=0o700)
    for name in ("var", "run"):
        (made / name).mkdir(mode=0o755)
    with open(image, "wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    var, run = os.fspath(made / "var"), os.fspath(made / "run")
    with mounts(
        ("-o", "loop", os.fspath(image), var),
        ("-t", "tmpfs", "-o", "mode=755", "run", run),
    ):
        yield made


def test_frozen_state_delays_no_event_and_no_answer(root: Path) -> None:
    daemon = Daemon(root, EVERYTHING, "", "")
    daemon.start()
    try:
        daemon.settle()
        with frozen(root / "var"):
            for number in range(_RUNS):
                subprocess.run(["/bin/true", f"while frozen {number}"], check=True)
            daemon.wait_for(
                lambda event: "while frozen 4" in event.get("CommandLine", ""), 5
            )
            daemon.stats()
        events = daemon.settle()
    finally:
        daemon.stop()
    ids = [int(event["EventRecordID"]) for event in events]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def numbered(start: int, end: int) -> list[bytes]:
    return [b"%08d" % number for number in range(start, end)]


def quickly(act: Callable[[], object]) -> None:
    assert slept_s(act) < _QUICK_S


def drained(sink: FileSink) -> bool:
    sink.flush()
    sink.attend()
    return not sink.spooled


@pytest.mark.parametrize("rotates", [False, True])
def test_frozen_log_delays_nobody_and_loses_nothing(root: Path, rotates: bool) -> None:
    path = root / "var" / "log"
    rotation = Rotation(2000, 0, 999, False)
    made = RotatingFileSink(str(path), rotation) if rotates else FileSink(str(path))
    made.write(numbered(0, 10), 0)
    wait_until(lambda: drained(made))
    with frozen(root / "var"):
        for at in range(10, 1000, 10):
            quickly(lambda at=at: made.write(numbered(at, at + 10), 0))  # type: ignore[misc]
            quickly(made.attend)
        assert made.spooled >= 980
    wait_until(lambda: drained(made))
    assert (made.trouble, made.lost, made.delivered) == ("", 0, 1000)
    made.close(5)
    files = sorted(each for each in path.parent.iterdir() if each.is_file())
    found = [line for each in files for line in each.read_bytes().splitlines()]
    assert sorted(found) == numbered(0, 1000)


def test_file_that_was_moved_away_from_a_disk_is_opened_anew(root: Path) -> None:
    path = root / "var" / "log"
    sink = FileSink(str(path))
    sink.write(numbered(0, 1), 0)
    wait_until(lambda: drained(sink))
    path.rename(path.with_name("moved"))
    wait_until(lambda: drained(sink) and path.exists())
    sink.write(numbered(1, 2), 0)
    wait_until(lambda: drained(sink))
    sink.close(1)
    assert path.read_bytes().splitlines() == numbered(1, 2)
