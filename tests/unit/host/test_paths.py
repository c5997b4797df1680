# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import patient

from sysmonlx.host import inode
from sysmonlx.host.aside import begun
from sysmonlx.host.lane import NO_ANSWER
from sysmonlx.host.paths import Resolver, join
from sysmonlx.host.procfs import Procfs

Place = tuple[int, int, bytes]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver(Procfs(), aside=patient())
    yield made
    made.close()


@pytest.fixture
def here() -> Place:
    return (os.getpid(), Procfs().mount_namespace(os.getpid()), b"")


@pytest.fixture
def directory(tmp_path: Path) -> bytes:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "below")
    return os.fsencode(tmp_path)


@pytest.mark.parametrize(
    ("root", "base", "path", "joined"),
    [
        (b"", b"/a", b"b", b"/a/b"),
        (b"", b"/", b"b", b"/b"),
        (b"", b"/a", b"/b", b"/b"),
        (b"/jail", b"/jail/a", b"/b", b"/jail/b"),
        (b"/jail", b"/jail/a", b"b", b"/jail/a/b"),
        (b"", b"/a", b"b/../c", b"/a/b/../c"),
    ],
)
def test_join_folds_nothing(
    root: bytes, base: bytes, path: bytes, joined: bytes
) -> None:
    assert join(root, base, path) == joined


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"name", b"/name"),
        (b"real/name", b"/real/name"),
        (b"./real/./name", b"/real/name"),
        (b"link/name", b"/real/below/name"),
        (b"link/../name", b"/real/name"),
        (b"real/below/../../name", b"/name"),
        (b"real//name", b"/real/name"),
        (b"real/name/", b"/real/name"),
    ],
)
def test_the_directory_of_a_relative_path_is_resolved(
    resolver: Resolver, here: Place, directory: bytes, path: bytes, found: bytes
) -> None:
    assert resolver.path(here, directory, path) == directory + found


def test_an_absolute_path_is_resolved(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    path = directory + b"/link/name"
    assert resolver.path(here, b"/", path) == directory + b"/real/below/name"


def test_a_name_itself_is_not_followed(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    path = directory + b"/link"
    assert resolver.path(here, b"/", path) == path


def test_a_directory_that_has_gone_leaves_the_path_as_given(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    path = b"gone/../name"
    assert resolver.path(here, directory, path) == directory + b"/gone/../name"


def test_links_of_a_changed_root_stay_in_it(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    os.mkdir(directory + b"/jail")
    os.mkdir(directory + b"/jail/sub")
    os.symlink(b"/sub", directory + b"/jail/link")
    place = (here[0], here[1], directory + b"/jail")
    expected = directory + b"/jail/sub/name"
    assert resolver.path(place, directory + b"/jail", b"/link/name") == expected
    assert resolver.path(place, directory + b"/jail", b"link/name") == expected
    assert resolver.path(place, directory + b"/jail", b"/link/../sub/name") == expected
    outside = resolver.path(place, directory, b"real/../link/name")
    assert outside == directory + b"/real/below/name"


def test_a_namespace_nobody_has_leaves_the_path_as_given(resolver: Resolver) -> None:
    nobody = (0, 1, b"")
    assert resolver.path(nobody, b"/a", b"x/../b") == b"/a/x/../b"
    assert resolver.state(nobody, b"/etc/passwd") == (0, 0)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"../name", b"/real/name"),
        (b"../../name", b"/name"),
        (b"./.././../link/name", b"/real/below/name"),
        (b"..//name", b"/real/name"),
    ],
)
def test_dots_in_front_lead_up_from_the_base(
    resolver: Resolver, here: Place, directory: bytes, path: bytes, found: bytes
) -> None:
    base = directory + b"/real/below"
    assert resolver.path(here, base, path) == directory + found


def test_dots_do_not_lead_out_of_the_root(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    jail = directory + b"/real"
    place = (here[0], here[1], jail)
    for dots in (b"../", b"../../", b"../../../../../../"):
        assert resolver.path(place, jail, dots + b"name") == jail + b"/name"
        assert resolver.path(place, jail + b"/below", dots + b"x") == jail + b"/x"
    assert resolver.path(here, b"/", b"../../name") == b"/name"


def test_a_user_whose_path_hangs_costs_nobody_else_a_path(
    here: Place, directory: bytes
) -> None:
    go, hangs = threading.Event(), threading.Event()
    lanes = begun()
    resolver = Resolver(Procfs(), aside=lanes)
    slow = resolver._read_slowly

    def read(place: object, holder: int, path: bytes) -> bytes | None:
        if b"slow" in path:
            hangs.set()
            go.wait(60)
        return slow(place, holder, path)  # type: ignore[arg-type]  # as it came

    resolver._read_slowly = read  # type: ignore[method-assign]  # for this one
    as_given = directory + b"/slow/../name"
    while not hangs.is_set():  # a call that no thread takes in time is not begun
        assert resolver.path(here, directory, b"slow/../name", 1000) == as_given
    unanswered = lanes.losses()["Resolved paths", NO_ANSWER]
    for number in range(100):
        path = b"slow/%d/../name" % number
        assert resolver.path(here, directory, path, 1000) == directory + b"/" + path
    assert lanes.losses()["Resolved paths", NO_ANSWER] == unanswered
    deadline = time.monotonic() + 60
    for uid in (0, 2000, 100_000):
        found = b""
        while found != directory + b"/real/name":
            assert time.monotonic() < deadline
            found = resolver.path(here, directory, b"link/../name", uid)
    go.set()
    lanes.end()
    resolver.close()


def test_users_of_one_block_are_one_user(here: Place, directory: bytes) -> None:
    keys: list[object] = []
    resolver = Resolver(Procfs())
    lane = resolver._aside.paths

    def run(work: object, key: object = None) -> None:
        keys.append(key)

    lane.run = run  # type: ignore[method-assign]  # for this one
    uids = (1000, 1001, 100_000, 100_001, 2**32 - 2)
    for number, uid in enumerate(uids):
        resolver.path(here, directory, b"%d/../name" % number, uid)
    assert keys == [1000, 1001, 65536, 65536, 0xFFFF0000]
    resolver.close()


def test_state_is_type_and_birth(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    path = directory + b"/file"
    before = time.time_ns()
    with open(path, "wb"):
        pass
    state = resolver.state(here, path)
    assert stat.S_ISREG(state.mode)
    tick_ns = 20_000_000
    assert state.birth_ns == 0 or before - tick_ns < state.birth_ns <= time.time_ns()
    assert stat.S_ISLNK(resolver.state(here, directory + b"/link").mode)
    assert resolver.state(here, directory + b"/missing") == (0, 0)


def test_openat2_can_be_used_here_or_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert inode.why_not() == ""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(inode, "open_cached", refuse)
    assert inode.why_not() == "Function not implemented"
