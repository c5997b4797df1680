# SPDX-License-Identifier: MIT
"""Processes whose arguments cannot be read hold up neither the start nor a scan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fuse import mounted
from support.running import Daemon, wait_until

pytestmark = pytest.mark.kernel

SCRIPT = Path(__file__).with_name("hanging_args.py")
PAGE = 4096
SMALL_RING = "<RingSize>64K</RingSize>"
#: Longer than any step may take on a busy machine, shorter than anything that hangs.
SOON_S = 10.0


@contextmanager
def hanging(form: str, mount_point: Path) -> Iterator[int]:
    """Run a process whose arguments hang; yield its pid."""
    failing = int(form == "lock")
    with mounted(mount_point, private=True, failing_reads=failing) as fuse:
        path = fuse.add("f", bytes(2 * PAGE))
        fuse.hang("read")
        words = fuse.inside(sys.executable, "-P", SCRIPT, form, path, "z" * 5 * PAGE)
        process = subprocess.Popen(words)
        try:
            if form == "lock":
                wait_until(lambda: hangs_who_reads(process.pid))
            else:
                wait_until(lambda: str(path) in maps_of(process.pid))
            yield process.pid
        finally:
            process.kill()
            fuse.answer()
            process.wait()


def maps_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def hangs_who_reads(pid: int) -> bool:
    """Tell whether a reader of a process's arguments waits, whoever that is."""
    command = ["/bin/cat", f"/proc/{pid}/cmdline"]
    reader = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        reader.wait(0.5)
    except subprocess.TimeoutExpired:
        return True
    finally:
        reader.kill()
        reader.wait()
    return False


def started(daemon: Callable[..., Daemon]) -> tuple[Daemon, float]:
    """Start a daemon; how long it took, in seconds."""
    begin_s = time.monotonic()
    made = daemon(settings=SMALL_RING)
    return made, time.monotonic() - begin_s


def lose_records(watch: Daemon) -> None:
    """Run more programs than the ring holds, which makes the daemon scan."""
    pid = watch.process.pid
    status = Path(f"/proc/{pid}/task/{pid}/status")
    watch.process.send_signal(signal.SIGSTOP)  # a thread that hangs does not stop
    wait_until(lambda: "State:\tT" in status.read_text())
    try:
        for _ in range(400):
            os.waitpid(os.posix_spawn("/bin/true", ["true", "x" * 300], {}), 0)
    finally:
        watch.process.send_signal(signal.SIGCONT)
    watch.wait_for(lambda event: event["EventID"] == "255")


@pytest.mark.parametrize("form", ["page", "lock"])
def test_start_and_scan_take_as_long_as_ever(
    daemon: Callable[..., Daemon], tmp_path: Path, form: str
) -> None:
    _, usual_s = started(daemon)
    first, second = tmp_path / "mnt", tmp_path / "other"
    with hanging(form, first) as pid, hanging(form, second) as other:
        assert hangs_who_reads(pid) == hangs_who_reads(other) == (form == "lock")
        watch, took_s = started(daemon)
        assert took_s < usual_s + SOON_S
        lose_records(watch)
        marker = uuid.uuid4().hex
        begin_s = time.monotonic()
        os.waitpid(os.posix_spawn("/bin/true", ["true", marker], {}), 0)
        watch.wait_for(lambda event: event.get("CommandLine") == f"true {marker}")
        assert time.monotonic() - begin_s < SOON_S
        unknown = watch.stats()["unknown_values"]
        assert form == "page" or unknown["Command lines: no answer in time"] > 0
        begin_s = time.monotonic()
        watch.stop()
        assert time.monotonic() - begin_s < SOON_S
        assert hangs_who_reads(pid) == (form == "lock")  # and did so all the time


def test_arguments_show_as_far_as_they_can_be_read(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    with hanging("page", tmp_path / "mnt") as pid:
        watch = daemon()
        os.kill(pid, signal.SIGUSR1)
        child = watch.wait_for(
            lambda event: (
                event["EventID"] == "1" and event["ParentProcessId"] == str(pid)
            )
        )
        begin = f"{sys.executable} -P {SCRIPT} page {tmp_path}/mnt/f zzz"
        assert child["ParentCommandLine"].startswith(begin)
        assert child["ParentCommandLine"].endswith("z...")


def test_what_hangs_for_a_while_is_read_later(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Other processes of the same scan have their arguments at once."""
    marker = uuid.uuid4().hex
    with hanging("lock", tmp_path / "mnt"):
        shell = subprocess.Popen(
            ["/bin/sh", "-s", marker], stdin=subprocess.PIPE, text=True
        )
        watch = daemon()
        shell.communicate("(/bin/true child; :)\n")
        child = watch.wait_for(
            lambda event: event.get("CommandLine") == "/bin/true child"
        )
        assert child["ParentCommandLine"] == f"/bin/sh -s {marker}"
