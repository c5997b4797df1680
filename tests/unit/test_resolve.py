# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.procfs import Procfs
from sysmonlx.resolve import Resolver, _Patience, join

Place = tuple[int, int, bytes]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver(Procfs())
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
    assert resolver.path(nobody, b"/a", b"../b") == b"/a/../b"
    assert resolver.state(nobody, b"/etc/passwd") == (0, 0)


def test_state_is_type_and_birth(
    resolver: Resolver, here: Place, directory: bytes
) -> None:
    path = directory + b"/file"
    before = time.time_ns()
    with open(path, "wb"):
        pass
    state = resolver.state(here, path)
    assert stat.S_ISREG(state.mode)
    assert state.birth_ns == 0 or abs(state.birth_ns - before) < 10**9
    assert stat.S_ISLNK(resolver.state(here, directory + b"/link").mode)
    assert resolver.state(here, directory + b"/missing") == (0, 0)


def test_what_does_not_return_is_left_alone() -> None:
    patience = _Patience()
    release = threading.Event()

    def block() -> bytes:
        release.wait()
        return b"late"

    assert patience.run(block) is None
    assert patience.run(lambda: b"never begun") is None
    release.set()
    assert patience._thread is not None
    patience._thread.join()
    assert patience.run(lambda: b"soon") == b"soon"
