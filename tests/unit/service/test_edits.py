# SPDX-License-Identifier: MIT
"""An edited configuration is kept, a copy that a command made is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from sysmonlx.config.child import EMPTY
from sysmonlx.policy import Policy
from sysmonlx.service.configuration import read_installed
from sysmonlx.service.edits import edited, is_installed, keep_edited
from sysmonlx.service.installed import Paths

COPY, EDITED = b"<Sysmon>of a file</Sysmon>", b"<Sysmon>of a person</Sysmon>"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An installation by `-i /root/mine.xml`."""
    tmp_path.chmod(0o755)
    paths = Paths(tmp_path)
    paths.create_private()
    paths.config_file.write_bytes(COPY)
    store(paths, "/root/mine.xml")
    return paths


def store(paths: Paths, source: str) -> None:
    digest = hashlib.sha256(paths.config_file.read_bytes()).hexdigest()
    policy = replace(Policy(), source=source, digests=(("SHA256", digest),))
    paths.policy_file.write_text(policy.to_json())


def old(paths: Paths, number: str = "") -> bytes:
    return Path(f"{paths.config_file}.old{number}").read_bytes()


def test_copy_of_a_file_is_no_edit(paths: Paths) -> None:
    assert edited(paths) is None
    assert keep_edited(paths) == ""
    assert [each.name for each in paths.config_dir.iterdir()] == ["config.xml"]


def test_copy_stays_one_when_an_upgrade_reads_it_again(paths: Paths) -> None:
    """As the Debian package does, by `-i /etc/sysmonlx/config.xml`."""
    text = b'<Sysmon schemaversion="4.90"><EventFiltering/></Sysmon> '
    paths.config_file.write_bytes(text)
    store(paths, "/root/mine.xml")
    policy = read_installed(paths).policy
    assert policy is not None
    assert policy.source == "/root/mine.xml"
    paths.policy_file.write_text(policy.to_json())
    assert edited(paths) is None

    paths.config_file.write_bytes(text + b" ")
    policy = read_installed(paths).policy
    assert policy is not None
    assert policy.source == str(paths.config_file)
    paths.policy_file.write_text(policy.to_json())
    assert edited(paths) == text + b" "


def test_edit_is_kept_whether_or_not_it_is_in_force(paths: Paths) -> None:
    paths.config_file.write_bytes(EDITED)
    told = f"Kept the edited configuration as {paths.config_file}.old"
    assert keep_edited(paths) == told
    assert old(paths) == EDITED
    store(paths, str(paths.config_file))  # the service has read it
    assert edited(paths) == EDITED


def test_edit_that_is_installed_anew_needs_no_copy(paths: Paths) -> None:
    paths.config_file.write_bytes(EDITED)
    assert keep_edited(paths, EDITED) == ""


@pytest.mark.parametrize("content", [b"", EMPTY])
def test_nothing_written_is_nothing_kept(paths: Paths, content: bytes) -> None:
    paths.config_file.write_bytes(content)
    assert edited(paths) is None


def test_edit_without_a_stored_policy_is_kept(paths: Paths) -> None:
    paths.policy_file.write_text("{damaged")
    assert edited(paths) == COPY


def test_twelve_edits_leave_the_ten_newest(paths: Paths) -> None:
    for number in range(12):
        paths.config_file.write_bytes(b"edit %d" % number)
        for _ in range(2):  # the same command twice
            assert keep_edited(paths)
    assert old(paths) == b"edit 11"
    assert [old(paths, f".{number}") for number in (1, 9)] == [b"edit 10", b"edit 2"]
    assert not Path(f"{paths.config_file}.old.10").exists()


def test_directory_or_link_in_the_place_of_the_file_is_left_alone(paths: Paths) -> None:
    paths.config_file.unlink()
    assert edited(paths) is None
    assert is_installed(paths)
    paths.policy_file.unlink()
    assert not is_installed(paths)
    paths.config_file.symlink_to("/etc/shadow")
    assert edited(paths) is None
    assert is_installed(paths)
