# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bare import RELEASES, Bare
from tools.release import BUILD, version

NEWER = "0.1.1"
Boot = Callable[..., Bare]


def build_package(into: Path, number: str = "", **variables: str) -> Path:
    """Build the package as make does, into a directory; return its path."""
    into.mkdir(parents=True, exist_ok=True)
    words = ["--into", os.fspath(into), *(["--version", number] if number else [])]
    tools = {"PYTHONPATH": os.fspath(Path(__file__).parents[1])}
    subprocess.run(
        ["/usr/bin/python3", "-P", "-m", "tools.deb", *words],
        env={**os.environ, **tools, **variables},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(into.glob(f"sysmonlx_{number or version()}_*.deb"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with this version, and with one that is newer by its number."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("packages")
    shutil.copy(build_package(folder / "this"), folder / "this.deb")
    shutil.copy(build_package(folder / "newer", NEWER), folder / "newer.deb")
    return folder


@pytest.fixture(params=RELEASES)
def boot(
    request: pytest.FixtureRequest, tmp_path: Path, packages: Path
) -> Iterator[Boot]:
    """Return what starts a bare root of a release; it ends with the test."""
    started: list[Bare] = []

    def start(*, systemd: bool = False) -> Bare:
        (tmp_path / "packages").symlink_to(packages)
        started.append(Bare(tmp_path, request.param, systemd=systemd))
        return started[0]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def local_tree(packages: Path) -> Path:
    """What `make install` writes, in a directory of its own beside the packages."""
    tree = packages / "local"
    command = ("make", "install", f"DESTDIR={tree}", "SYSTEM_PYTHON=/usr/bin/python3")
    subprocess.run(command, cwd=BUILD.parent, check=True, capture_output=True)
    return tree
