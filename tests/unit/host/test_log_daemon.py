# SPDX-License-Identifier: MIT
"""The limit of a line is read from the log daemon's configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sysmonlx.host.log_daemon import LogLimit, log_limit


def written(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


MODULES = 'module(load="imuxsock")\n'
INCLUDES = "$IncludeConfig /etc/rsyslog.d/*.conf\n"


@pytest.mark.parametrize(
    ("main", "drop_in", "size_bytes", "reason"),
    [
        (MODULES, "", 7950, "rsyslog's default"),
        ("$MaxMessageSize 64k\n" + MODULES, "", 65390, "maxMessageSize of rsyslog"),
        ("$maxmessagesize 64K\n" + MODULES, "", 63854, "maxMessageSize of rsyslog"),
        (MODULES + "$MaxMessageSize 64k\n", "", 7950, "rsyslog's default"),
        ("# $MaxMessageSize 64k\n" + MODULES, "", 7950, "rsyslog's default"),
        ('/* global(maxMessageSize="1m") */', "", 7950, "rsyslog's default"),
        ('global(\n  MaxMessageSize = "1m")', "", 65535, "maxMessageSize of rsyslog"),
        ('global(maxMessageSize="1,024")', "", 2048, "maxMessageSize of rsyslog"),
        (
            *(MODULES + INCLUDES, 'global(maxMessageSize="32k")'),
            *(32622, "maxMessageSize of rsyslog"),
        ),
        (
            *('global(maxMessageSize="64k")\n' + INCLUDES,),
            *('global(maxMessageSize="16k")', 16238, "maxMessageSize of rsyslog"),
        ),
        (
            'include(file="/etc/rsyslog.d/*.conf" mode="optional")',
            *('global(a="#" maxMessageSize="72k")', 65535),
            "maxMessageSize of rsyslog",
        ),
        (MODULES, 'global(maxMessageSize="72k")', 7950, "rsyslog's default"),
        (
            *('global(maxMessageSize="72z")', ""),
            *(7950, "its configuration cannot be read"),
        ),
    ],
)
def test_rsyslog(
    tmp_path: Path, main: str, drop_in: str, size_bytes: int, reason: str
) -> None:
    written(tmp_path, "etc/rsyslog.conf", main)
    written(tmp_path, "etc/rsyslog.d/10-a.conf", drop_in)
    assert log_limit(tmp_path) == LogLimit(size_bytes, reason)


def test_rsyslog_that_has_not_read_its_configuration_has_the_default(
    tmp_path: Path,
) -> None:
    main = written(tmp_path, "etc/rsyslog.conf", 'global(maxMessageSize="64k")')
    pid_file = written(tmp_path, "run/rsyslogd.pid", "1")
    os.utime(pid_file, (1000, 1000))
    assert log_limit(tmp_path) == LogLimit(7950, "rsyslog has not been restarted since")
    os.utime(main, (999, 999))
    assert log_limit(tmp_path).size_bytes == 65390


@pytest.mark.parametrize(
    ("text", "size_bytes", "reason"),
    [
        ("options { };", 65390, "syslog-ng's default"),
        ("options { log-msg-size(8192); };", 8046, "log-msg-size of syslog-ng"),
        ("options { log_msg_size(128KiB); };", 65535, "log-msg-size of syslog-ng"),
        ("options { log-msg-size(100); };", 2048, "log-msg-size of syslog-ng"),
    ],
)
def test_limit_is_that_of_syslog_ngs_configuration(
    tmp_path: Path, text: str, size_bytes: int, reason: str
) -> None:
    written(tmp_path, "etc/syslog-ng/syslog-ng.conf", text)
    assert log_limit(tmp_path) == LogLimit(size_bytes, reason)


def test_syslog_ng_may_have_more_files(tmp_path: Path) -> None:
    written(tmp_path, "etc/syslog-ng/syslog-ng.conf", "options { };")
    written(tmp_path, "etc/syslog-ng/conf.d/a.conf", "options{log-msg-size(9k);};")
    assert log_limit(tmp_path).size_bytes == 9000 - 146


def test_journal_alone_takes_all(tmp_path: Path) -> None:
    assert log_limit(tmp_path) == LogLimit(7950, "which it is cannot be told")
    written(tmp_path, "run/systemd/journal/dev-log", "")
    assert log_limit(tmp_path) == LogLimit(65535, "the journal takes all")
    written(tmp_path, "etc/rsyslog.conf", MODULES)
    assert log_limit(tmp_path).size_bytes == 7950


def test_configuration_that_hangs_or_is_no_file_delays_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/rsyslog.conf")
    assert log_limit(tmp_path) == LogLimit(7950, "its configuration cannot be read")


def test_configuration_that_includes_itself_is_read_once(tmp_path: Path) -> None:
    include = "$IncludeConfig /etc/rsyslog.conf\n$IncludeConfig /etc/*.conf\n"
    written(tmp_path, "etc/rsyslog.conf", include)
    assert log_limit(tmp_path).size_bytes == 7950
