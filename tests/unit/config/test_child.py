# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sysmonlx.config.child import (
    EMPTY,
    absent_events,
    read_data,
    read_file,
    read_options,
)
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.host import child_process
from sysmonlx.policy import Policy
from sysmonlx.service.configuration import is_changed, read_installed
from sysmonlx.service.installed import Paths, command_line_bytes

CONFIG = b"""<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="exclude"/></EventFiltering></Sysmon>"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    before = os.umask(0o077)
    paths.create_private()
    os.umask(before)
    return paths


def test_what_was_read_comes_with_the_policy(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(CONFIG)
    reading = read_file(tmp_path / "a.xml", CommandLineOptions())
    assert reading.policy is not None
    assert (reading.data, reading.policy.source) == (CONFIG, str(tmp_path / "a.xml"))


def test_an_address_is_told_to_be_fetched_by_hand() -> None:
    reading = read_file("https://example.org/a.xml", CommandLineOptions())
    assert reading.policy is None
    assert "open xml configuration: https://example.org/a.xml (No such" in reading.text
    assert "download it first" in reading.text


def test_a_pipe_that_nobody_writes_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The wait goes on: Ctrl-C ends it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(child_process, "LONG_WAIT_S", 0.05)
    writer = threading.Timer(0.3, lambda: pipe.write_bytes(CONFIG))
    writer.start()
    assert read_file(pipe, CommandLineOptions()).policy is not None
    writer.join()
    assert capfd.readouterr().err == f"Waiting for {pipe}; Ctrl-C ends it.\n"


def test_kernel_without_modules_is_known_by_proc(tmp_path: Path) -> None:
    assert absent_events(os.fspath(tmp_path)) == {}  # nothing is mounted there
    (tmp_path / "self").mkdir()
    assert [*absent_events(os.fspath(tmp_path))] == [6]
    (tmp_path / "modules").touch()
    assert absent_events(os.fspath(tmp_path)) == {}


@pytest.mark.parametrize(
    ("release", "state", "absent"),
    [
        ("6.12.118+deb13-amd64", "none [integrity] confidentiality\n", [2]),
        ("5.10.0-46-amd64", "none integrity [confidentiality]\n", [2]),
        ("6.12.118+deb13-amd64", "[none] integrity confidentiality\n", []),
        ("6.13.0", "none [integrity] confidentiality\n", []),
        ("7.0-rc1", "none [integrity] confidentiality\n", []),
        ("unknown", "none [integrity] confidentiality\n", []),
        ("6.12", None, []),
    ],
)
def test_old_kernel_under_lockdown_tells_no_times(
    tmp_path: Path, release: str, state: str | None, absent: list[int]
) -> None:
    file = tmp_path / "lockdown"
    if state is not None:
        file.write_text(state, encoding="ascii")
    proc = os.fspath(tmp_path)
    assert [*absent_events(proc, os.fspath(file), release)] == absent


def test_file_counts_as_changed_when_its_bytes_are_others(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    policy = read_data(CONFIG, "a.xml", CommandLineOptions()).policy
    assert policy is not None
    assert not is_changed(path, policy)
    path.write_bytes(CONFIG)
    assert not is_changed(path, policy)
    path.write_bytes(CONFIG + b"\n")
    assert is_changed(path, policy)


def test_defaults_are_not_changed_by_their_own_file(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_bytes(EMPTY)
    assert not is_changed(path, Policy())
    path.write_bytes(CONFIG)
    assert is_changed(path, Policy())


def test_switches_alone_have_no_file_and_no_hash() -> None:
    policy = read_options(CommandLineOptions({"HashAlgorithms": "sha1"})).policy
    assert policy is not None
    assert policy.settings.hash_algorithms == ("SHA1",)
    assert (policy.source, policy.digests) == ("", ())


def test_installed_file_is_read_with_the_switches_of_its_installation(
    paths: Paths,
) -> None:
    paths.write(paths.config_file, CONFIG)
    words = ("sysmonlx", "-i", "a.xml", "-h", "md5")
    plain = read_installed(paths).policy
    paths.write(paths.command_line_file, command_line_bytes(words))
    with_switches = read_installed(paths).policy
    assert plain is not None
    assert with_switches is not None
    assert with_switches.settings == replace(plain.settings, hash_algorithms=("MD5",))


def test_file_that_cannot_be_read_has_its_reason(paths: Paths) -> None:
    reading = read_installed(paths)
    assert reading.policy is None
    assert "No such file or directory" in reading.text
