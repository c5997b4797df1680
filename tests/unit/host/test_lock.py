# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sysmonlx.errors import InstallError
from sysmonlx.host.lock import PidFile, daemon_pid, exclusive

WAIT_S = 60.0

HOLD = """
import sys, time
from pathlib import Path
from sysmonlx.host.lock import PidFile, exclusive
if sys.argv[1] == "pid":
    held = PidFile(Path(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
else:
    with exclusive(Path(sys.argv[2])):
        print("held", flush=True)
        sys.stdin.read()
"""


@contextmanager
def held_by_another(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, kind, os.fspath(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_holder_is_named_by_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert daemon_pid(path) == 0
    with held_by_another("pid", path) as holder:
        assert daemon_pid(path) == holder.pid
        assert path.read_text() == f"{holder.pid}\n"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(InstallError, match=f"runs already: process {holder.pid}$"):
            PidFile(path)
        assert daemon_pid(path) == holder.pid


def test_lock_ends_with_its_holder_though_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with held_by_another("pid", path):
        pass
    assert path.exists()
    assert daemon_pid(path) == 0
    mine = PidFile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    mine.close()
    assert not path.exists()


def test_pid_file_is_no_link_to_somewhere_else(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "pid").symlink_to("victim")
    with pytest.raises(InstallError, match="Cannot write"):
        PidFile(tmp_path / "pid")
    assert (tmp_path / "victim").read_text() == "precious"


def test_text_of_a_longer_number_is_gone(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("99999999999999\n")
    mine = PidFile(tmp_path / "pid")
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    mine.close()


def test_changes_wait_for_each_other(tmp_path: Path) -> None:
    with held_by_another("exclusive", tmp_path) as holder:
        waited = threading.Event()
        thread = threading.Thread(target=end_awaited, args=(holder, waited))
        thread.start()
        started = time.monotonic()
        with exclusive(tmp_path):
            assert time.monotonic() - started < WAIT_S
            assert waited.is_set()
            assert holder.wait(WAIT_S) != 0
        thread.join()


def end_awaited(holder: subprocess.Popen[str], waited: threading.Event) -> None:
    """End the holder once this process waits for the lock, or when it is too late."""
    waits = re.compile(rf"-> FLOCK +ADVISORY +WRITE {os.getpid()} ")
    deadline = time.monotonic() + WAIT_S / 2
    while not waited.is_set() and time.monotonic() < deadline:
        if waits.search(Path("/proc/locks").read_text()):
            waited.set()
        time.sleep(0.001)
    holder.kill()


def test_without_a_directory_nobody_is_kept_out(tmp_path: Path) -> None:
    with exclusive(tmp_path / "none"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directory_in_the_place_of_the_file_makes_way(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    (path / "inner").mkdir(parents=True)
    lock = PidFile(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.close()
