# SPDX-License-Identifier: MIT
"""Control groups that a test makes and removes, in whichever hierarchies are there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sysmonlx.host import control_groups


def mounts() -> dict[str, Path]:
    """Return where the hierarchies are that tell containers: "unified", "memory"..."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    names = {int(line.split(":")[0]): line.split(":")[1] for line in lines}
    return {
        names[number] or "unified": Path(os.fsdecode(mount))
        for number, (_, mount) in control_groups.mounts().items()
    }


@contextlib.contextmanager
def group(mount: Path, path: str) -> Iterator[Path]:
    """Make a control group, and those above it; remove them behind the block."""
    made = []
    for part in [*reversed(Path(path).parents), Path(path)][1:]:
        directory = mount / part.relative_to("/")
        if not directory.is_dir():
            directory.mkdir()
            made.append(directory)
    try:
        yield mount / path.lstrip("/")
    finally:
        for directory in reversed(made):
            directory.rmdir()


def run_in(where: Path, words: list[str]) -> int:
    """Run a program in a control group; return its process id when it has ended.

    It leaves the groups of other hierarchies that would tell of another container.
    """
    pid = os.fork()
    if pid == 0:
        try:
            for mount in mounts().values():
                if mount not in where.parents:
                    (mount / "cgroup.procs").write_text("0")
            (where / "cgroup.procs").write_text("0")
            os.execv(words[0], words)
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    return pid
