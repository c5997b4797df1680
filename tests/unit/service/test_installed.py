# SPDX-License-Identifier: MIT
"""Where the parts of an installation lie, and the stored command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.private import mode, private_home

from sysmonlx.host.private_files import write_private
from sysmonlx.service import installed
from sysmonlx.service.installed import Paths


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return private_home(tmp_path)


def test_paths_are_the_documented_ones() -> None:
    paths = Paths.from_environment({})
    assert paths.is_live
    assert str(paths.config_file) == "/etc/sysmonlx/config.xml"
    assert str(paths.policy_file) == "/var/lib/sysmonlx/policy.json"
    assert str(paths.pid_file) == "/run/sysmonlx/sysmonlx.pid"
    assert str(paths.control_socket) == "/run/sysmonlx/control.sock"
    assert str(paths.unit_file) == "/etc/systemd/system/sysmonlx.service"


def test_every_path_follows_the_root_of_the_environment(tmp_path: Path) -> None:
    paths = Paths.from_environment({"SYSMONLX_ROOT": str(tmp_path)})
    assert not paths.is_live
    found = [getattr(paths, name) for name in dir(Paths) if name.endswith("_file")]
    found += [paths.config_dir, paths.state_dir, paths.run_dir, paths.control_socket]
    assert len(found) == 14
    assert all(path.is_relative_to(tmp_path) for path in found)


def test_own_directories_are_for_root_only(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.create_private()
    paths.create_private()
    assert [mode(paths.config_dir), mode(paths.state_dir), mode(paths.run_dir)] == [
        0o700
    ] * 3


def test_command_line_is_kept_argument_by_argument(home: Path) -> None:
    words = ("sysmonlx", "-i", "a b.xml", "", "\udcff\n")
    write_private(home / "command_line", installed.command_line_bytes(words))
    assert installed.load_command_line(home / "command_line") == words
    assert mode(home / "command_line") == 0o600
    assert installed.load_command_line(home / "none") == ()
