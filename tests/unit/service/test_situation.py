# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sysmonlx.host.lock import PidFile
from sysmonlx.policy import FORM, Settings, SinkChoice
from sysmonlx.service import control
from sysmonlx.service.installed import Paths
from sysmonlx.service.situation import (
    advice,
    destinations,
    limit_of_lines,
    why_it_is_silent,
    why_it_is_strange,
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    before = os.umask(0o077)
    made = Paths(tmp_path)
    made.create_private()
    os.umask(before)
    return made


def test_nothing_there_is_no_situation(paths: Paths) -> None:
    assert why_it_is_silent(paths) == ""


@pytest.mark.parametrize("name", ["config_file", "policy_file"])
def test_what_is_installed_can_be_started(paths: Paths, name: str) -> None:
    getattr(paths, name).touch()
    assert why_it_is_silent(paths) == (
        "Error: Sysmon is installed and does not run: -service starts it"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pid_file", "The daemon (process {pid}) does not answer: -i replaces it"),
        (
            "keeper_file",
            "The daemon has ended and is being started again: try again soon",
        ),
    ],
)
def test_process_that_is_there_is_told(paths: Paths, name: str, text: str) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        PidFile(getattr(paths, name))
        os.write(writer, b"x")
        signal.pause()
        os._exit(0)
    os.read(reader, 1)
    try:
        assert why_it_is_silent(paths) == f"Error: {text.format(pid=pid)}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def test_destinations_are_named() -> None:
    sinks = (
        *(SinkChoice("syslog"), SinkChoice("syslog", "json", "/run/other")),
        *(SinkChoice("file", "xml", "/var/log/a"), SinkChoice("stdout")),
        *(SinkChoice("socket"), SinkChoice("socket", group="adm")),
    )
    assert destinations(Settings(sinks=sinks)) == [
        *("the log daemon at /dev/log", "the log daemon at /run/other"),
        *("/var/log/a", "standard output"),
        "who connects to /run/sysmonlx/events (root)",
        "who connects to /run/sysmonlx-events/events (root and the group adm)",
    ]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Settings(sinks=(SinkChoice("file", "xml", "/var/log/a"),)), ""),
        (
            Settings(line_limit_bytes=65535),
            "Lines to syslog have 65,535 bytes at most (LineLimit).",
        ),
        (
            Settings(sinks=(SinkChoice("syslog", "xml", "/run/other"),)),
            "Lines to syslog have 7,950 bytes at most;"
            " longer values lose their middle: man 8 sysmonlx, Delivery.",
        ),
    ],
)
def test_limit_of_lines_to_syslog_is_told(settings: Settings, text: str) -> None:
    assert limit_of_lines(settings) == text


def test_missing_log_daemon_comes_with_another_destination() -> None:
    text = advice("/dev/log: No such file or directory")
    assert text.startswith(
        "/dev/log: No such file or directory: nothing takes the lines"
    )
    assert '<Sink kind="file">/var/log/sysmon.xml</Sink>' in text


@pytest.mark.parametrize(
    "trouble", ["/var/log/a: Permission denied", "/run/other: Connection refused"]
)
def test_sink_in_trouble_is_said_to_get_nothing(trouble: str) -> None:
    assert advice(trouble).startswith(f"{trouble}: no lines arrive there")


def test_other_trouble_is_told_as_it_is() -> None:
    for text in ("the built-in rules are in force", "Cannot keep the record id: x"):
        assert advice(text) == text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"pid": 1, "form": FORM}, ""),
        ({"pid": 1}, "The daemon that runs is of another version: -i replaces it"),
        (
            {"pid": 1, "form": FORM + 1},
            "The daemon that runs is of another version: -i replaces it",
        ),
    ],
    ids=["same", "0.1.0", "later"],
)
def test_daemon_of_another_version_is_told(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, answer: dict[str, int], text: str
) -> None:
    monkeypatch.setattr(control, "request", lambda *_: answer)
    assert why_it_is_strange(paths) == text
