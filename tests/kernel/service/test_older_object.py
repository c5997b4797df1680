# SPDX-License-Identifier: MIT
"""Objects for kernels without bpf_loop(), bpf_rdonly_cast(); any kernel takes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.capture.loader import OLDER_OBJECT, UNCAST_OBJECT
from sysmonlx.capture.passage import Passage
from sysmonlx.capture.records import Record
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.enrich.stamp import STAMP_HOOKS

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    made = load_capture((), 1 << 20, 1 << 18, object_path=OLDER_OBJECT)
    yield made
    made.close()


def scanned(capture: Capture, folder: Path) -> Record:
    """Return the record of a process whose working directory is `folder`."""
    sleeper = subprocess.Popen(["/bin/cat"], cwd=folder, stdin=subprocess.PIPE)
    try:
        decode = capture.layouts.by_name["process_scan"].decode
        records = [*map(decode, capture.scan())]
        (found,) = [each for each in records if each.tgid == sleeper.pid]
        return found
    finally:
        sleeper.communicate()


def deep(start: Path, components: int) -> Path:
    """Make a directory with so many components in its path."""
    missing = components - len(start.resolve().parts[1:])
    folder = start.joinpath(*map(str, range(missing)))
    folder.mkdir(parents=True)
    return folder


def test_path_of_64_components_is_whole(capture: Capture, tmp_path: Path) -> None:
    folder = deep(tmp_path, 64)
    record = scanned(capture, folder)
    assert record.cwd == os.fsencode(folder.resolve())
    assert not record.flags & capture.layouts.flags["CWD_TRUNCATED"]


def test_end_of_a_deeper_path_is_marked(capture: Capture, tmp_path: Path) -> None:
    folder = deep(tmp_path, 200)
    record = scanned(capture, folder)
    assert os.fsencode(folder.resolve()).endswith(record.cwd)
    assert len(record.cwd.split(b"/")) > 64
    assert record.flags & capture.layouts.flags["CWD_TRUNCATED"]


def test_nothing_is_discarded_so_nobody_needs_to_pass(capture: Capture) -> None:
    passage = Passage(capture.maps, capture.btf, capture.set_variable)
    passage.let_pass([(os.getpid(), 1)], 1)
    passage.end()
    assert "passing_processes" not in capture.maps


def test_programs_of_newer_kernels_are_missing_and_the_rest_serves(
    capture: Capture,
) -> None:
    """Where lockdown refuses the first choice, the second is not in this object."""
    capture.want(STAMP_HOOKS)
    missing = {each.hook.name for each in capture.missing}
    assert "times of files before they are set" in missing
    assert "syscall_exit" in capture.attached()
    capture.want(())


def served(object_path: Path | None) -> tuple[frozenset[str], list[str]]:
    """Return the programs at their hooks, and what is missing: all hooks are wanted."""
    found = load_capture(ALL_HOOKS, 1 << 20, 1 << 18, object_path=object_path)
    try:
        found.attach_processes()
        found.want(ALL_HOOKS)
        return found.attached(), [each.hook.name for each in found.missing]
    finally:
        found.close()


def test_object_without_casts_serves_the_same() -> None:
    assert served(UNCAST_OBJECT) == served(None)
