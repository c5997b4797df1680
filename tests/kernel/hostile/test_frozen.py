# SPDX-License-Identifier: MIT
"""File systems of our own that are frozen, as backups of virtual machines do it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cpu import slept_s
from support.running import EVERYTHING, Daemon, Event, wait_until

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
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
    """A root whose /etc and /var are on one file system, and whose /run is memory."""
    is_there = all(map(shutil.which, ("mkfs.ext4", "fsfreeze")))
    require("ext4", is_there, "there is no mkfs.ext4 or fsfreeze")
    image, made = tmp_path / "image", tmp_path / "root"
    made.mkdir(mode=0o700)
    for name in ("disk", "etc", "var", "run"):
        (made / name).mkdir(mode=0o755)
    with open(image, "wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    disk, run = os.fspath(made / "disk"), os.fspath(made / "run")
    with mounts(("-o", "loop", os.fspath(image), disk)):
        for name in ("etc", "var"):
            (made / "disk" / name).mkdir(mode=0o755)
        with mounts(
            ("--bind", f"{disk}/etc", os.fspath(made / "etc")),
            ("--bind", f"{disk}/var", os.fspath(made / "var")),
            ("-t", "tmpfs", "-o", "mode=755", "run", run),
        ):
            yield made


NAMED = """
    <ProcessCreate onmatch="include">
      <Image name="{name}" condition="begin with">/</Image>
    </ProcessCreate>
"""


def update(daemon: Daemon, name: str) -> dict[str, Any]:
    """Put rules in force that report processes by a name; return the answer."""
    daemon.write_config(NAMED.format(name=name))
    data = daemon.config.read_bytes()
    policy = read_data(data, name, CommandLineOptions()).policy
    assert policy is not None
    return daemon.request(do="reload", policy=policy.to_json(), config=data.decode())


def rule_of(daemon: Daemon, marker: str) -> str:
    """Run a program; return the rule that reported it."""
    subprocess.run(["/bin/true", marker], check=True)
    found = daemon.wait_for(lambda event: marker in event.get("CommandLine", ""), 5)
    return found["RuleName"]


def told(text: str) -> Callable[[Event], bool]:
    return lambda event: text in event.get("Description", "")


def test_frozen_files_keep_no_rules_back_and_are_stored_later(root: Path) -> None:
    daemon = Daemon(root, EVERYTHING, "", "")
    daemon.start()
    try:
        stored = daemon.paths.policy_file.read_bytes()
        with frozen(root / "etc"):
            answer = update(daemon, "first")
            assert "not stored yet" in answer["trouble"][0]
            assert rule_of(daemon, "after the first") == "first"
            begun = time.monotonic()
            assert update(daemon, "second")["trouble"]
            os.kill(daemon.process.pid, signal.SIGHUP)  # that file is the one before
            assert rule_of(daemon, "after the second") == "second"
            daemon.wait_for(told("not stored yet"), 5)
            assert 'name="second"' not in daemon.paths.config_file.read_text()
            assert '"second"' in daemon.request(do="policy")["policy"]
            assert any(
                "not stored yet" in each for each in daemon.stats()["sinks"]["trouble"]
            )
            assert time.monotonic() - begun < 5
            assert daemon.paths.policy_file.read_bytes() == stored
        daemon.wait_for(told("are stored now"), 10)
        assert 'name="second"' in daemon.paths.config_file.read_text()
        assert '"second"' in daemon.paths.policy_file.read_text()
        assert not [*daemon.paths.state_dir.glob(".*")]
        assert daemon.request(do="missing")["trouble"] == []
        assert rule_of(daemon, "after all") == "second"
    finally:
        daemon.stop()


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
