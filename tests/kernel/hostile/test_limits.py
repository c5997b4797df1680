# SPDX-License-Identifier: MIT
"""Root lowers a limit of the running daemon to what it uses just now."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.accounts import adds_up, steady
from support.running import Daemon

pytestmark = pytest.mark.kernel

RULES = """
    <ProcessCreate onmatch="exclude"/>
    <FileCreate onmatch="include">
        <TargetFilename condition="contains">wanted</TargetFilename>
    </FileCreate>
"""
HASHED = 40


@contextmanager
def limited(pid: int, which: int, value: int) -> Iterator[None]:
    """Have a process use no more of something than it does now."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, before)


def descriptors(pid: int) -> int:
    """Return one more than the highest descriptor of a process."""
    return max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1


def address_space(pid: int) -> int:
    """Return the size of a process's address space in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def run_new_programs(folder: Path, name: str) -> list[str]:
    """Run programs that nobody knows yet, and make files; return their paths."""
    made = []
    for number in range(HASHED):
        path = folder / f"{name}{number}"
        shutil.copy("/bin/true", path)
        with open(path, "ab") as file:
            file.write(os.urandom(16))
        subprocess.run([path], check=True)
        (folder / f"{name}-wanted{number}").touch()
        made.append(os.fspath(path))
    return made


@pytest.mark.parametrize(
    ("which", "used"),
    [(resource.RLIMIT_NOFILE, descriptors), (resource.RLIMIT_AS, address_space)],
    ids=["descriptors", "address space"],
)
def test_limit_of_what_is_used_ends_nobody(
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    which: int,
    used: Callable[[int], int],
) -> None:
    watch = daemon(RULES)
    pid = watch.process.pid
    watch.settle()
    with limited(pid, which, used(pid)):
        scarce = run_new_programs(tmp_path, "scarce")
        subprocess.run(["/bin/true", "the last one"], check=True)
        watch.wait_for(lambda each: "the last one" in each.get("CommandLine", ""))
    again = run_new_programs(tmp_path, "again")
    events = watch.settle()
    images = {each["Image"]: each for each in events if each["EventID"] == "1"}
    assert {*scarce, *again} <= images.keys()
    assert all(images[path]["Hashes"] != "-" for path in again)
    names = {each["TargetFilename"] for each in events if each["EventID"] == "11"}
    wanted = {
        f"{tmp_path}/{kind}-wanted{n}"
        for kind in ("scarce", "again")
        for n in range(HASHED)
    }
    assert wanted <= names
    steady(watch, adds_up)
    assert watch.process.poll() is None
