# SPDX-License-Identifier: MIT
"""Who wants hashing to stop, or a hash of another file than the one that ran."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pytest
from support.fuse import NOBODY, Fuse, mounted
from support.running import EVERYTHING, Daemon, Event, stopped, wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("watch")
    with Daemon(root, EVERYTHING, "", "") as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user gets at, as pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="sysmonlx-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def fuse(folder: Path) -> Iterator[Fuse]:
    with mounted(folder / "mnt", uid=NOBODY, private=True) as made:
        yield made


def own_program(fuse: Fuse, name: str, tail: bytes = b"") -> bytes:
    """Make a program of its own content on the file system; return the content."""
    data = Path("/bin/true").read_bytes() + (tail or uuid.uuid4().bytes)
    fuse.add(name, data)
    return data


def run(fuse: Fuse, name: str) -> None:
    subprocess.run(fuse.inside(fuse.path / name), timeout=20, check=True)


def sha256(data: bytes) -> str:
    return "SHA256=" + hashlib.sha256(data).hexdigest()


def program(path: Path) -> str:
    """Make a program of its own content; return its hash."""
    data = Path("/bin/true").read_bytes() + uuid.uuid4().bytes
    path.write_bytes(data)
    path.chmod(0o755)
    return sha256(data)


def create_of(watch: Daemon, path: Path, number: int = 0) -> Event:
    """Wait for the event 1 of a path, the first or a later one by time of exec.

    An event that waits for its hash is written after later ones of other processes.
    """
    found: list[Event] = []

    def is_there() -> bool:
        found[:] = [
            each
            for each in watch.events()
            if each["EventID"] == "1" and each["Image"] == str(path)
        ]
        return len(found) > number

    wait_until(is_there)
    found.sort(key=itemgetter("UtcTime"))
    return found[number]


def test_file_system_that_hangs_keeps_no_other_hash_back(
    watch: Daemon, fuse: Fuse, tmp_path: Path
) -> None:
    names = ("one", "two", "three")
    since = len(watch.events())
    for name in names:
        own_program(fuse, name, bytes(4 << 20))
    with stopped(watch):
        for name in names:
            run(fuse, name)
        fuse.hang("read")
    for number in range(6):
        path = tmp_path / f"local{number}"
        wanted = program(path)
        subprocess.run([path], check=True)
        assert create_of(watch, path)["Hashes"] == wanted, watch.stats()["hashes"]
    for name in names:
        assert create_of(watch, fuse.path / name)["Hashes"] == "-"
    wait_until(lambda: bool(told(watch, since) & {"timeout", "hung"}))
    fuse.answer()
    data, runs = own_program(fuse, "four"), itertools.count()

    def is_hashed_again() -> bool:
        """Say whether the file system is asked again.

        It is left alone until the read that hung has ended: a moment after it answers.
        """
        run(fuse, "four")
        path = fuse.path / "four"
        shown = create_of(watch, path, next(runs))["Hashes"]
        assert shown in (sha256(data), "-")
        return shown != "-"

    wait_until(is_hashed_again, 5)


def test_program_behind_fuse_is_hashed_anew_each_time(
    watch: Daemon, fuse: Fuse
) -> None:
    """It looks the same each time, and has another content."""
    fuse.lie("liar", ino=7, mtime_ns=1000, ctime_ns=1000)
    for number in range(3):
        data = own_program(fuse, "liar")
        run(fuse, "liar")
        event = create_of(watch, fuse.path / "liar", number)
        assert event["Hashes"] == sha256(data)


def told(watch: Daemon, since: int) -> set[str]:
    """Return the reasons that events 255 gave for hashes that could not be had."""
    texts = [
        each["Description"]
        for each in watch.events()[since:]
        if each["EventID"] == "255" and each["ID"] == "LostHashes"
    ]
    reasons = ("timeout", "hung", "over share", "unreadable", "queue full")
    return {each for each in reasons for text in texts if f"({each})" in text}


def test_lease_on_a_program_keeps_no_thread_waiting(
    watch: Daemon, tmp_path: Path
) -> None:
    """Who opens a file with a lease waits for 45 s until the holder answers."""
    leased, other = tmp_path / "leased", tmp_path / "other"
    program(leased)
    wanted = program(other)
    with stopped(watch):
        subprocess.run([leased], check=True)
        subprocess.run([other], check=True)
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        file = os.open(leased, os.O_RDWR)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    try:
        assert create_of(watch, leased)["Hashes"] == "-"
        assert create_of(watch, other)["Hashes"] == wanted
        assert watch.stats()["hashes"]["unreadable"] >= 1
    finally:
        os.close(file)
        signal.signal(signal.SIGIO, before)


OVERLAY = """
set -e
mount -t tmpfs tmpfs "$0"
mkdir "$0/upper" "$0/work" "$0/root"
options="lowerdir=$1,upperdir=$0/upper,workdir=$0/work"
mount -t overlay overlay -o "$options$3" "$0/root"
"$0/root/program"
eval "$2"
"""


def in_overlay(
    folder: Path, lower: Path, then: str = "", options: str = "", *own: str
) -> Path:
    """Run a program that an overlay shows; return its path."""
    folder.mkdir()
    namespaces = own or ("-m",)
    words = [str(folder), str(lower), then, options]
    subprocess.run(["unshare", *namespaces, "sh", "-c", OVERLAY, *words], check=True)
    return folder / "root/program"


def test_program_in_many_overlays_is_hashed_once(watch: Daemon, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    wanted = program(lower / "program")
    subprocess.run([lower / "program"], check=True)
    create_of(watch, lower / "program")
    time.sleep(0.05)  # what was changed a moment ago is not remembered
    subprocess.run([lower / "program"], check=True)
    watch.settle()
    known = create_of(watch, lower / "program", 1)
    assert known["Hashes"] == wanted
    before, seen = watch.stats()["hashes"]["hashed"], len(watch.events())
    for number in range(10):
        path = in_overlay(tmp_path / f"o{number}", lower)
        assert create_of(watch, path)["Hashes"] == wanted
    others = [
        each
        for each in watch.events()
        if each["EventID"] == "1" and "/program" in each["Image"]
    ]
    assert len(others) >= 12
    strangers = {e["Image"] for e in watch.events()[seen:] if e["EventID"] == "1"}
    strangers = {each for each in strangers if "/program" not in each}
    hashed = watch.stats()["hashes"]["hashed"] - before
    assert hashed - len(strangers) < 8, strangers


def test_program_changed_in_an_overlay_has_its_own_hash(
    watch: Daemon, tmp_path: Path
) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    wanted = program(lower / "program")
    # The mount namespace stays for a while: with it the changed file would be gone.
    change = 'printf changed >>"$0/root/program"; "$0/root/program"; sleep 1'
    path = in_overlay(tmp_path / "overlay", lower, change)
    changed = sha256((lower / "program").read_bytes() + b"changed")
    assert create_of(watch, path)["Hashes"] in (wanted, "-")
    assert create_of(watch, path, 1)["Hashes"] == changed
    subprocess.run([lower / "program"], check=True)
    assert create_of(watch, lower / "program")["Hashes"] == wanted


def test_overlay_of_an_unprivileged_user_cannot_forge_a_hash(
    watch: Daemon, tmp_path: Path
) -> None:
    """Two overlays, one path, one size, one time of change: two contents."""
    shown = []
    for number in range(2):
        lower = tmp_path / f"lower{number}"
        lower.mkdir()
        wanted = program(lower / "program")
        os.utime(lower / "program", ns=(10**9, 10**9))
        path = in_overlay(tmp_path / f"o{number}", lower, "", "", "-rm")
        shown.append((create_of(watch, path)["Hashes"], wanted))
    assert all(text in (wanted, "-") for text, wanted in shown)


def test_large_files_cost_nobody_else_a_hash(
    tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> None:
    root = tmp_path_factory.mktemp("share")
    watch = Daemon(root, EVERYTHING, "<HashShare>5</HashShare>", "")
    watch.start()
    try:
        large = folder / "large"
        program(large)
        os.truncate(large, 250 << 20)
        wanted: dict[str, str] = {}
        stop = time.monotonic() + 6
        started_s = watch.stats()["cpu_s"], time.monotonic()
        while time.monotonic() < stop or len(wanted) <= 10:
            os.utime(large)
            subprocess.run([large], user=NOBODY, check=True)
            path = folder / f"small{len(wanted)}"
            wanted[str(path)] = program(path)
            subprocess.run([path], check=True)
            time.sleep(0.1)
        events = watch.settle()
        used_s = watch.stats()["cpu_s"] - started_s[0]
        hashes = {
            each["Image"]: each["Hashes"]
            for each in events
            if each["EventID"] == "1" and each["Image"] in wanted
        }
        assert hashes == wanted
        assert len(wanted) > 10
        counts = watch.stats()["hashes"]
        without = [counts.get(each, 0) for each in ("over share", "changed")]
        assert sum(without) > 10, counts
        # What was saved, the share, and what the events themselves cost.
        assert used_s < 0.5 + 0.3 * (time.monotonic() - started_s[1])
    finally:
        watch.stop()


def test_late_hash_leaves_the_daemon_asleep(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    root = tmp_path_factory.mktemp("late")
    watch = Daemon(root, EVERYTHING, "<HashWait>50</HashWait>", "")
    watch.start()
    try:
        large = tmp_path / "large"
        program(large)
        os.truncate(large, 240 << 20)
        time.sleep(0.05)
        subprocess.run([large], check=True)
        assert create_of(watch, large)["Hashes"] == "-"
        wanted = hash_of(large)
        wait_until(lambda: "done" in (await_known(watch, large, wanted),))
        assert any(busy_s(watch) < 0.1 for _ in range(3))
    finally:
        watch.stop()


def hash_of(path: Path) -> str:
    with open(path, "rb") as file:
        return "SHA256=" + hashlib.file_digest(file, "sha256").hexdigest()


def await_known(watch: Daemon, path: Path, wanted: str) -> str:
    """Run a program again; "done" when its hash is known by now."""
    subprocess.run([path], check=True)
    marker = len(watch.settle())
    last = [e for e in watch.events() if e.get("Image") == str(path) and "Hashes" in e]
    assert marker
    assert last[-1]["Hashes"] in ("-", wanted)
    return "done" if last[-1]["Hashes"] == wanted else ""


def busy_s(watch: Daemon) -> float:
    """Return how much processor time the daemon uses in one second."""
    path = Path(f"/proc/{watch.process.pid}/schedstat")
    before = int(path.read_text().split()[0])
    time.sleep(1)
    return (int(path.read_text().split()[0]) - before) / 1e9
