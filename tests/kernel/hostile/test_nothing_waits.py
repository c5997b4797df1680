# SPDX-License-Identifier: MIT
"""Nobody makes the thread that events pass through wait: file systems, NSS, forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fuse import NOBODY, hung_mount
from support.running import Daemon, wait_until

pytestmark = pytest.mark.kernel

#: What these tests do, and nothing else that goes on on the machine.
_HERE = '<TargetFilename condition="contains any">hung-;test_other_</TargetFilename>'
RULES = f"""
    <ProcessCreate onmatch="include">
        <Image condition="end with">/true</Image>
    </ProcessCreate>
    <FileCreate onmatch="include">{_HERE}</FileCreate>
    <FileDelete onmatch="include">{_HERE}</FileDelete>
    <FileDeleteDetected onmatch="include">{_HERE}</FileDeleteDetected>
"""
#: The threads that make hashes have tests of their own.
NO_HASHES = "<HashAlgorithms>IMPHASH</HashAlgorithms>"
#: However many calls hang, the events of others come this soon.
BAR_S = 0.1
#: How often one measurement is repeated; a busy machine delays some of them itself.
ROUNDS = 12

#: What the user does: argv[1] is a directory on the file system, argv[2] how long.
ACTIONS = textwrap.dedent(
    """
    import os, sys, time
    os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
    top, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
    os.chdir(top); here = os.open(".", os.O_RDONLY)
    os.mkdir("dir")
    number = 0
    while time.monotonic() < end:
        number += 1
        n = f"{number}"
        os.mknod("dir/m" + n)
        os.rename("dir/m" + n, f"{top}/dir/r{n}")
        os.rename("dir/r" + n, "./dir/../dir/q" + n, src_dir_fd=here, dst_dir_fd=here)
        os.link("dir/q" + n, f"{top}/dir/l{n}")
        os.unlink(f"dir/l{n}", dir_fd=here)
        os.chdir("dir"); os.rename("q" + n, "../x" + n); os.unlink(f"../x{n}")
        os.chdir(top)
        if number == 1: print("begun", flush=True)
        time.sleep(0.05)
    print(number, flush=True)
    """
).replace("NOBODY", str(NOBODY))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("root")
    with Daemon(root, RULES, "", "") as made:
        yield made


@pytest.fixture
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = Path("/tmp") / f"hung-{uuid.uuid4().hex[:8]}"
    base.mkdir(mode=0o755)
    try:
        with hung_mount(base / "mount") as place:
            yield place
    finally:
        (base / "mount").rmdir()
        base.rmdir()


@contextmanager
def acting(place: Path, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Act on a file system from here on; the user has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", ACTIONS, os.fspath(place), str(seconds)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def delay_s(daemon: Daemon) -> float:
    """Run a program; return how long after its start its event is written."""
    marker = uuid.uuid4().hex.encode()
    with open(daemon.log, "rb") as log:
        log.seek(0, os.SEEK_END)
        start = time.monotonic()
        subprocess.run(["/bin/true", marker], check=True)
        data = b""
        while marker not in data:
            assert time.monotonic() - start < 20
            time.sleep(0.001)
            data += log.read()
        return time.monotonic() - start


def delays_s(daemon: Daemon) -> list[float]:
    return sorted(delay_s(daemon) for _ in range(ROUNDS))


def unknown(daemon: Daemon) -> dict[str, int]:
    return dict(daemon.stats()["unknown_values"])


def test_a_hung_file_system_delays_nobody(running: Daemon, hung: Path) -> None:
    before = delays_s(running)
    with acting(hung, 30):
        during = delays_s(running)
    assert during[-2] < BAR_S + before[-1], (before, during)
    assert sum(unknown(running).values()) > 0
    assert running.stats()["threads_aside"] <= 32


def test_the_names_used_there_are_told_as_given(running: Daemon, hung: Path) -> None:
    with acting(hung, 0.3) as user:
        user.wait(30)
    events = [e for e in running.settle() if e.get("ProcessId") == str(user.pid)]
    names = {e["TargetFilename"] for e in events if e["EventID"] == "11"}
    assert {f"{hung}/dir/m1", f"{hung}/dir/r1", f"{hung}/x1"} <= names
    assert any(name.startswith(f"{hung}/") and name.endswith("q1") for name in names)


def test_other_users_names_are_resolved_meanwhile(
    running: Daemon, hung: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old").touch()
    (tmp_path / "link").symlink_to("real")
    top = os.fspath(tmp_path)
    with acting(hung, 30):
        wait_until(lambda: sum(unknown(running).values()) > 0)
        os.rename(f"{top}/link/old", f"{top}/link/../link/new")
        found = running.wait_for(
            lambda event: event.get("TargetFilename", "").endswith("/new")
        )
    assert found["TargetFilename"] == f"{top}/real/new"


def starts(daemon: Daemon) -> int:
    return sum(event.get("State") == "Started" for event in daemon.events())


def open_files(pid: int) -> list[str]:
    """Return what a process has open; nothing once all but its threads has ended."""
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def test_an_end_while_a_call_hangs_frees_all_that_the_next_start_needs(
    daemon: Callable[..., Daemon], hung: Path
) -> None:
    first = daemon(RULES)
    with acting(hung, 60):
        wait_until(lambda: sum(unknown(first).values()) > 0)
        first.process.send_signal(signal.SIGTERM)
        first.wait_for(lambda event: event.get("State") == "Stopped", 5)
        wait_until(lambda: not open_files(first.process.pid), 5)
        threads = os.listdir(f"/proc/{first.process.pid}/task")
        assert len(threads) > 1  # one hangs in the kernel
    second = Daemon(first.root, RULES, "", "")
    second.start()
    try:
        wait_until(lambda: starts(second) == 2)
        assert delay_s(second) < 5
        assert second.request(do="pid")["pid"] == second.process.pid
        assert os.path.isdir(f"/proc/{first.process.pid}/task")  # and still does
    finally:
        second.stop()


HANGING_NSS = """
import pwd, sys, time
pwd.getpwuid = lambda uid: time.sleep(3600)
sys.argv[0] = "sysmonlx"
from sysmonlx.cli.main import main
sys.exit(main())
"""


class WithHangingNss(Daemon):
    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-c", HANGING_NSS, *words]


def test_a_directory_server_that_hangs_delays_nobody(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    daemon = WithHangingNss(root, RULES, "", "")
    daemon.start()
    try:
        before = delays_s(daemon)
        code = (
            "import os, sys; os.setuid(int(sys.argv[1])); os.execv('/bin/true', ['t'])"
        )
        children = [
            subprocess.Popen([sys.executable, "-S", "-c", code, str(uid)])
            for uid in range(700_000, 700_040)
        ]
        during = delays_s(daemon)
        for each in children:
            each.wait()
        assert during[-2] < BAR_S + before[-1], (before, during)
        events = daemon.settle()
        assert {
            e["User"] for e in events if e.get("ProcessId") == str(os.getpid())
        } <= {"root"}
        found = [e for e in events if e["EventID"] == "1" and e["CommandLine"] == "t"]
        assert len(found) == len(children)
        assert {e["User"] for e in found} == {"-"}
    finally:
        daemon.stop()


@contextmanager
def no_new_threads(pid: int) -> Iterator[None]:
    """Keep a process from getting any thread, by its control group."""
    top = next(
        (each for each in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if _has_pids(each)),
        None,
    )
    if top is None:
        pytest.skip("no pids controller of control groups is mounted")
    group = Path(top) / f"sysmonlx-test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text(str(len(os.listdir(f"/proc/{pid}/task"))))
        yield
    finally:
        (group / "pids.max").write_text("max")
        (Path(top) / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _has_pids(top: str) -> bool:
    if top.endswith("pids"):
        return os.path.exists(f"{top}/cgroup.procs")
    try:
        return "pids" in Path(top, "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def test_threads_that_cannot_be_had_cost_values_alone(
    daemon: Callable[..., Daemon], hung: Path
) -> None:
    started = daemon(RULES, options=NO_HASHES)
    pid = started.process.pid

    def failures() -> int:
        found = unknown(started).items()
        return sum(n for what, n in found if "no thread could be started" in what)

    with no_new_threads(pid), acting(hung, 60):
        wait_until(lambda: failures() > 1)
        assert delay_s(started) < 5
    assert started.process.poll() is None
    wait_until(lambda: started.stats()["threads_aside"] >= 6)
    assert delay_s(started) < 5
