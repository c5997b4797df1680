# SPDX-License-Identifier: MIT
"""One user uses up what all users share: others lose nothing, and all is counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.accounts import adds_up, steady
from support.fuse import NOBODY
from support.running import Daemon, wait_until

pytestmark = pytest.mark.kernel

OTHER = NOBODY - 1
RULES = """
    <ProcessCreate onmatch="include">
        <Image condition="end with">/true</Image>
    </ProcessCreate>
    <FileCreate onmatch="include">
        <TargetFilename condition="begin with">/tmp/shares-</TargetFilename>
    </FileCreate>
"""
#: What others do on this machine meanwhile, as root, has to find room beyond the half
#: that the attacker fills: in 1M, a compiler's long command lines did not.
SETTINGS = "<RingSize>4M</RingSize>"
NO_HASHES = "<HashAlgorithms>IMPHASH</HashAlgorithms>"
FILES = 200

AS_USER = """
import os, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
os.chdir(sys.argv[2])
"""
#: Names given for ever, deep in directories of bytes that take four characters each.
DEEP = textwrap.dedent(
    """
    for number in range(14):
        name = b"%05d" % os.getpid() + b"%02d" % number + b"\\xff" * 243
        os.mkdir(name)
        os.chdir(name)
    os.mknod("a")
    print("begun", flush=True)
    while True:
        os.rename("a", "b")
        os.rename("b", "a")
    """
)
MAKE = f"""
for number in range({FILES}):
    os.mknod(f"other{{number}}")
"""
#: Opens that hang, since nobody reads the pipe; as many as there is room for, and more.
HANG = textwrap.dedent(
    """
    from support.ring import OP_OPENAT, Ring
    os.mkfifo("pipe")
    ring = Ring()
    for _ in range(1100):
        ring.name(OP_OPENAT, b"pipe", flags=os.O_CREAT | os.O_WRONLY)
    print("begun", flush=True)
    sys.stdin.read()
    """
)
#: Names given by the same user meanwhile, and a file made by an open that fails.
HIDE = textwrap.dedent(
    """
    from support.ring import OP_OPENAT, OP_RENAMEAT, Ring
    with Ring() as ring:
        for number in range(5):
            os.mknod(f"x{number}")
            ring.name(OP_RENAMEAT, b"x%d" % number, b"hidden%d" % number)
            assert ring.wait()[0] == 0
        ring.name(OP_OPENAT, b"failed", flags=os.O_CREAT | os.O_WRONLY, slot=1)
        assert ring.wait()[0] < 0
        assert os.path.exists("failed")
    """
)
NAME = """
from support.ring import OP_RENAMEAT, Ring
with Ring() as ring:
    os.mknod("theirs")
    ring.name(OP_RENAMEAT, b"theirs", b"named")
    assert ring.wait()[0] == 0
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("root"), RULES, SETTINGS, NO_HASHES) as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for all users."""
    made = Path(tempfile.mkdtemp(prefix="shares-", dir="/tmp"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def as_user(uid: int, place: Path, act: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", AS_USER + act, str(uid), os.fspath(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@contextmanager
def acting(place: Path, act: str, count: int = 1) -> Iterator[None]:
    """Let an attacker act, in so many processes that have all begun."""
    processes = [as_user(NOBODY, place, act) for _ in range(count)]
    try:
        for each in processes:
            assert each.stdout is not None
            assert each.stdout.readline() == b"begun\n"
        yield
    finally:
        for each in processes:
            each.kill()
            each.communicate()


def act_of(uid: int, place: Path, act: str) -> str:
    """Run what a user does to its end; return the process id."""
    process = as_user(uid, place, act)
    process.communicate()
    assert process.returncode == 0
    return str(process.pid)


def lost(daemon: Daemon) -> Counter[str]:
    """Return how many records were lost, by reason."""
    found: Counter[str] = Counter()
    for counts in daemon.stats()["records"].values():
        found.update(counts["lost"])
    return +found


def names_of(daemon: Daemon, pid: str) -> list[str]:
    """Return the names of the files that a process made, without their directory."""
    return [
        os.path.basename(each["TargetFilename"])
        for each in daemon.settle()
        if each["EventID"] == "11" and each["ProcessId"] == pid
    ]


def told(daemon: Daemon, reason: str) -> int:
    """Return how many losses for a reason the events 255 tell of."""
    pattern = re.compile(rf"(\d+) lost \({reason}\)")
    return sum(
        int(number)
        for each in daemon.events()
        if each["EventID"] == "255"
        for number in pattern.findall(each["Description"])
    )


def test_names_deep_in_directories_cost_others_nothing(
    running: Daemon, place: Path
) -> None:
    before, cut = lost(running), running.stats()["shortened_paths"]
    with acting(place, DEEP, 2):
        wait_until(lambda: lost(running)["over share"] > before["over share"])
        pid = act_of(OTHER, place, MAKE)
    assert names_of(running, pid) == [f"other{number}" for number in range(FILES)]
    stats = steady(running, adds_up)
    assert (lost(running) - before).keys() == {"over share"}
    assert stats["records"]["process_create"]["lost"] == {}
    assert stats["shortened_paths"] > cut
    wait_until(lambda: told(running, "over share") == lost(running)["over share"])


def test_a_path_without_its_middle_shows_both_ends(
    running: Daemon, place: Path
) -> None:
    cut = running.stats()["shortened_paths"]
    with acting(place, DEEP, 2):
        wait_until(lambda: running.stats()["shortened_paths"] > cut)
    events = [
        each["TargetFilename"]
        for each in running.settle()
        if each.get("TargetFilename", "").startswith(f"{place}/")
    ]
    shown = [each for each in events if "..." in each]
    assert shown
    assert all(each.endswith(("/a", "/b")) for each in events)


def test_requests_of_one_user_that_hang_leave_room_for_others(
    running: Daemon, place: Path
) -> None:
    before = lost(running)
    with acting(place, HANG):
        act_of(NOBODY, place, HIDE)
        pid = act_of(OTHER, place, NAME)
        assert names_of(running, pid) == ["theirs", "named"]
    assert lost(running) - before == {"over share": 5 + 1}
    wait_until(lambda: told(running, "over share") == lost(running)["over share"])


def test_room_for_requests_is_free_again_when_they_have_ended(
    running: Daemon, place: Path
) -> None:
    with acting(place, HANG):
        pass
    before = lost(running)
    pid = act_of(NOBODY, place, NAME)
    assert names_of(running, pid) == ["theirs", "named"]
    assert lost(running) - before == {}
