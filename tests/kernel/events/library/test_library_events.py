# SPDX-License-Identifier: MIT
"""Files of which code is run: every way, what is like it, and what the rules keep."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.done import Done, all_done
from support.fuse import mounted
from support.watch import PYTHON

pytestmark = pytest.mark.kernel

LIBRARY = os.path.realpath("/bin/true")
PRELOADED = "/usr/lib/x86_64-linux-gnu/libm.so.6"
RULES = (
    '<ImageLoad onmatch="exclude">'
    '<ImageLoaded condition="contains">/left out/</ImageLoaded>'
    '<ImageLoaded condition="begin with">/usr/lib/</ImageLoaded>'
    "</ImageLoad>"
)
THREADS, FILES = 3, 20

#: The end of the path that each way shows.
SEEN = {
    "executable": "/lib.so",
    "made_executable": "/lib.so",
    "made_executable_by_key": "/lib.so",
    "made_executable_behind_other_memory": "/lib.so",
    "written_and_made_executable": "/lib.so",
    "of_32_bit_call": "/lib.so",
    "deleted": "/lib.so (deleted)",
    "in_memory": "/memfd:lib (deleted)",
    "shared_memory": " (deleted)",
    "closed_at_once": "/lib.so",
    "twice": "/lib.so",
    "through_the_loader": "/lib.so",
    "program_by_the_loader": "/lib.so",
    "left_out_before_its_folder_was_renamed": "/evil/lib.so",
    "left_out_by_another_name": "_name/lib.so",
}
NEAR_MISSES = [
    "left_out",
    "read_alone",
    "refused",
    "anonymous",
    "own_program",
    "made_readable_again",
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    with all_done(
        tmp_path_factory, "actions_library.py", RULES, words=[PRELOADED]
    ) as done:
        events = [each for each in done.events if each["EventID"] == "7"]
        yield done._replace(events=events)


@pytest.mark.parametrize(("way", "end"), SEEN.items(), ids=[*SEEN])
def test_each_way_is_one_event(done: Done, way: str, end: str) -> None:
    (event,) = done.of(way)
    assert event["ImageLoaded"].endswith(end)
    assert event["User"] == "root"
    signature = (event["Signed"], event["Signature"], event["SignatureStatus"])
    assert signature == ("false", "-", "Unavailable")


def test_hash_is_that_of_the_file(done: Done) -> None:
    (event,) = done.of("executable")
    digest = hashlib.sha256(Path(LIBRARY).read_bytes()).hexdigest()
    assert event["Hashes"] == f"SHA256={digest}"


@pytest.mark.parametrize("way", NEAR_MISSES)
def test_what_is_like_it_but_is_none(done: Done, way: str) -> None:
    assert done.of(way) == []


def test_threads_that_change_memory_meanwhile_hide_nothing(done: Done) -> None:
    names = [os.path.basename(e["ImageLoaded"]) for e in done.of("by_racing_threads")]
    wanted = [f"lib{n}-{at}.so" for n in range(THREADS) for at in range(FILES)]
    assert sorted(names) == sorted(wanted)


def test_books_close_and_the_rules_are_asked_in_the_kernel(done: Done) -> None:
    stats = done.daemon.stats()
    assert stats["gaps"] == []
    records = stats["records"]["library_load"]
    assert records["lost"] == {}
    assert not [each for each in stats["missing"] if "libraries" in each]


def test_files_that_have_one_number_are_told_each(done: Done, tmp_path: Path) -> None:
    """A file system of the attacker's says what number and time a file has."""
    code = (
        "import mmap, os\n"
        "for name in '1212':\n"
        "    fd = os.open(name + '.so', os.O_RDONLY)\n"
        "    mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\n"
    )
    with mounted(tmp_path / "fuse") as fuse:
        for each in ("1.so", "2.so"):
            fuse.add(each, bytes(4096))
            fuse.lie(each, ino=77, ctime_ns=10**18)
        process = subprocess.Popen([PYTHON, "-c", code], cwd=fuse.path)
        assert process.wait() == 0
        events = done.daemon.settle()
    found = [
        os.path.basename(each["ImageLoaded"])
        for each in events
        if each["EventID"] == "7" and each["ProcessId"] == str(process.pid)
        if each["ImageLoaded"].startswith(os.fspath(fuse.path))
    ]
    assert found == ["1.so", "2.so"]
