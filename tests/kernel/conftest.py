# SPDX-License-Identifier: MIT
"""Fixtures of the tests on the running kernel: daemons and installations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.installed import Installation, removed_afterwards
from support.running import EVERYTHING, Daemon

from sysmonlx.capture.loader import OBJECT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root or BTF where they are missing; CI makes that a failure."""
    reason = _why_not()
    if not reason:
        return
    for item in items:
        if "kernel" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not() -> str:
    required = "kernel" in os.environ.get("SYSMONLX_REQUIRE", "")
    if required:
        return ""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel gives no BTF"
    return "" if OBJECT.exists() else f"{OBJECT} is not built: make bpf"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon with rules (XML of event elements)."""
    started: list[Daemon] = []

    def start(rules: str = EVERYTHING, settings: str = "", options: str = "") -> Daemon:
        root = tmp_path / f"root{len(started)}"
        root.mkdir(mode=0o700)
        made = Daemon(root, rules, settings, options)
        started.append(made)
        made.start()
        return made

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    """A root in which nothing is installed yet."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with removed_afterwards(Installation(root)) as made:
        yield made


@pytest.fixture
def installed(place: Installation) -> Installation:
    """An installation whose daemon runs."""
    place.install()
    return place
