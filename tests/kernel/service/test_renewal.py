# SPDX-License-Identifier: MIT
"""`-i` with the installed configuration: another daemon, and all else as it was."""

from __future__ import annotations

import os

import pytest
from support.installed import Installation, stored

pytestmark = pytest.mark.kernel


def test_installed_configuration_keeps_its_switches(place: Installation) -> None:
    first = place.call("-i", os.fspath(place.config), "-h", "md5", "-n")
    assert first.returncode == 0, first.stderr
    place.follow()
    pid, before = place.pid, stored(place.paths)
    result = place.call("-accepteula", "-i", os.fspath(place.paths.config_file))
    assert result.returncode == 0, result.stderr
    assert place.pid not in (0, pid)
    place.follow()
    after = stored(place.paths)
    assert after["command_line"] == before["command_line"]
    assert after["config.xml"] == before["config.xml"]
    _, events = place.run(["/bin/true", "renewed"])
    assert events[0]["Hashes"].startswith("MD5=")
    numbers = [int(event["EventRecordID"]) for event in place.settle()]
    assert numbers == [*range(len(numbers))]
    assert place.states() == ["Started", "Stopped", "Started"]


def test_defaults_are_renewed_too(place: Installation) -> None:
    assert place.call("-i").returncode == 0
    pid, before = place.pid, stored(place.paths)
    result = place.call("-i", os.fspath(place.paths.config_file))
    assert result.returncode == 0, result.stderr
    assert place.pid not in (0, pid)
    after = stored(place.paths)
    assert after["config.xml"] == before["config.xml"]
    assert after["command_line"] == before["command_line"]


def test_switches_that_are_given_count_alone(place: Installation) -> None:
    assert place.call("-i", os.fspath(place.config), "-h", "md5").returncode == 0
    words = ("-i", os.fspath(place.paths.config_file), "-h", "sha1")
    assert place.call(*words).returncode == 0
    place.follow()
    _, events = place.run(["/bin/true", "other"])
    assert events[0]["Hashes"].startswith("SHA1=")
    assert b"\0sha1\0" in stored(place.paths)["command_line"]
