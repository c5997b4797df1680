# SPDX-License-Identifier: MIT
"""The name in an event is that of the call, whatever others do while it runs."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon
from support.watch import act, rows, watching

pytestmark = pytest.mark.kernel

#: Events of each call that names a file.
EVENTS = {
    "rename": ("11",),
    "link": ("11",),
    "mknod": ("11",),
    "unlink": ("23", "26"),
}


#: What the names are made of: the call, and a number.
CALL = re.compile(r".*?([a-z]+)\d+")


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root") as daemon:
        stats = daemon.stats()
        if not {"ctime_set", "path_rename"} & set(stats["attached"]):
            pytest.skip("this kernel has no hook that shows a directory")
        yield daemon


@pytest.fixture(params=["/tmp", "/dev/shm"])
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=request.param))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("action", ["race", "two_mounts"])
def test_no_name_is_wrong(watcher: Daemon, directory: Path, action: str) -> None:
    before = watcher.stats()["unproved_names"]
    _, events = act(watcher, "actions_true_names.py", action, directory)
    unproved = watcher.stats()["unproved_names"] - before
    truth: Counter[tuple[str, str]] = Counter()
    for line in (directory / "truth").read_text().splitlines():
        what, place = line.split()
        truth.update((number, place) for number in EVENTS[what])
    found = Counter(
        (number, name)
        for number, name in rows(events, directory)
        if name == "-" or number in EVENTS.get(CALL.sub(r"\1", name), ())
    )
    unknown = sum(count for (_, name), count in found.items() if name == "-")
    wrong = [each for each in found if each not in truth and each[1] != "-"]
    missing = truth - found
    print(len(truth), "names,", unknown, "unknown,", unproved, "unproved")
    assert wrong == []
    assert sum(missing.values()) == unknown
