# SPDX-License-Identifier: MIT
"""While the ring fills, long paths lose their middle, and each user has a share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_capture import RING_BYTES, file_capture

from sysmonlx.capture.sensor import Capture

pytestmark = pytest.mark.kernel

#: A user may have so much of the ring beyond its half.
SHARE = 1 / 16
FLOODER, OTHER = 65534, 65533
#: Ids that user namespaces of one user have, as a rule.
BLOCK = (200000, 200001)
ENDS = 512
#: A record with a name of 200 bytes takes more.
LEAST_BYTES = 280

#: argv: uid, directory, how many files, how long their names are.
MAKE = """
import os, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
os.chdir(sys.argv[2])
for number in range(int(sys.argv[3])):
    name = f"{number:05}".ljust(int(sys.argv[4]), "n")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    os.unlink(name)
"""


@pytest.fixture
def capture() -> Iterator[Capture]:
    with file_capture() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for all users."""
    made = Path(tempfile.mkdtemp(prefix="shares-", dir="/tmp"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def make(uid: int, place: Path, count: int, name_bytes: int = 200) -> None:
    arguments = map(str, (uid, place, count, name_bytes))
    subprocess.run([sys.executable, "-c", MAKE, *arguments], check=True)


def lost(capture: Capture) -> Counter[str]:
    """Return how many records of files were lost, by reason."""
    found: Counter[str] = Counter()
    for name in ("file_create", "file_delete"):
        counts = capture.counts()[name]
        found.update(dict(zip(capture.layouts.reasons, counts.lost, strict=True)))
        assert counts.filtered + counts.submitted + sum(counts.lost) == counts.seen
    return +found


def read_users(capture: Capture) -> Counter[int]:
    """Empty the ring; return how many records of files each user had in it."""
    layout, found = capture.layouts.by_name["file_create"], Counter[int]()
    numbers = [capture.layouts.number[n] for n in ("file_create", "file_delete")]
    while records := capture.ring.read():
        found.update(layout.decode(d).uid for d in records if d[0] in numbers)
    return found


def test_a_flood_of_one_user_costs_no_other_a_record(
    capture: Capture, place: Path
) -> None:
    make(FLOODER, place, 8000)
    before = lost(capture)
    assert before.keys() == {"over share"}
    assert before["over share"] > 1000
    make(OTHER, place, 200)
    make(0, place, 200)
    assert lost(capture) == before
    users = read_users(capture)
    assert users[OTHER] == 400
    assert users[FLOODER] + before["over share"] == 16000
    assert users[FLOODER] * LEAST_BYTES < (0.5 + SHARE) * RING_BYTES


def test_ids_of_one_block_have_one_share(capture: Capture, place: Path) -> None:
    make(BLOCK[0], place, 8000)
    before = lost(capture)
    make(BLOCK[1], place, 5)
    assert lost(capture)["over share"] == before["over share"] + 10
    assert read_users(capture)[BLOCK[1]] == 0


def test_a_share_is_free_again_once_it_is_read(capture: Capture, place: Path) -> None:
    for _ in range(2):
        before = lost(capture)
        make(FLOODER, place, 8000)
        after = lost(capture) - before
        assert after.keys() == {"over share"}
        read = read_users(capture)[FLOODER]
        assert read == 16000 - after["over share"]
        assert read * LEAST_BYTES > 0.4 * RING_BYTES
    make(0, place, 8000)
    assert lost(capture)["ring full"] > 0  # root has no share, but what there is
    before = lost(capture)
    read_users(capture)
    make(FLOODER, place, 100)
    assert lost(capture) == before


def make_deep(place: Path) -> bytes:
    """Make a path of more than 3,500 bytes, and go there."""
    os.chdir(place)
    for number in range(14):
        name = f"{number:02}" + "x" * 248
        os.mkdir(name)
        os.chdir(name)
    return os.fsencode(os.getcwd())


def shortened(path: bytes) -> bytes:
    return path[:ENDS] + b"..." + path[-ENDS:]


def test_long_paths_lose_their_middle_while_the_ring_fills(
    capture: Capture, place: Path
) -> None:
    layouts, back = capture.layouts, os.getcwd()
    flag, layout = layouts.flags["PATH_SHORTENED"], layouts.by_name["file_create"]
    own, taken = os.getpid(), layouts.number["file_create"]
    capture.set_variable("own_tgid", 0)
    try:
        deep = make_deep(place)
        while capture.ring.fill() < 0.55:
            os.mknod("a")
            os.rename("a", "b")
        os.mknod(os.path.relpath(place / "short", deep.decode()))
    finally:
        os.chdir(back)
    assert capture.variable("paths_shortened") > 0
    files = [
        layout.decode(d)
        for batch in iter(capture.ring.read, [])
        for d in batch
        if d[0] == taken
    ]
    files = [each for each in files if each.tgid == own]
    first, last = files[:2], files[-3:-1]
    for each in (*first, *last):
        cut = shortened if each in last else bytes
        # The name is resolved where the frames of the call tell it, else as given.
        name = each.path[-1:]
        assert name in (b"a", b"b")
        given, base = (each.path, b"") if each.path[:1] == b"/" else (name, each.base)
        whole = (cut(deep + b"/" + name), b"") if not base else (name, cut(deep))
        assert (given, base) == whole
    assert [each.flags & flag for each in first] == [0, 0]
    assert all(each.flags & flag for each in last)


def test_a_long_path_of_an_open_file_and_a_directory_are_cut_alike(
    capture: Capture, place: Path
) -> None:
    """What the kernel has resolved, and where a program was started."""
    back = os.getcwd()
    try:
        deep = make_deep(place)
        make(0, place, 4000)
        assert capture.ring.fill() > 0.5
        subprocess.run([sys.executable, "-c", "open('leaf', 'w')"], check=True)
    finally:
        os.chdir(back)
    layouts, records = capture.layouts, []
    while batch := capture.ring.read():
        records += batch
    files = [
        layouts.by_name["file_create"].decode(data)
        for data in records
        if data[0] == layouts.number["file_create"]
    ]
    (leaf,) = [each for each in files if each.path.endswith(b"/leaf")]
    assert leaf.path == shortened(deep + b"/leaf")
    assert leaf.flags & layouts.flags["PATH_SHORTENED"]
    started = [
        layouts.by_name["process_create"].decode(data)
        for data in records
        if data[0] == layouts.number["process_create"]
    ][-1]
    assert started.cwd == shortened(deep)
    assert started.flags & layouts.flags["CWD_SHORTENED"]
    assert b"..." not in started.image
