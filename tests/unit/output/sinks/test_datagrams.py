# SPDX-License-Identifier: MIT
from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from sysmonlx.output.sinks.datagrams import BATCH, Datagrams, log_socket, prefix


@pytest.mark.parametrize(
    ("local_time", "stamp"),
    [
        ((2026, 1, 5, 10, 0, 7), b"<14>Jan  5 10:00:07 sysmon: "),
        ((2026, 12, 31, 23, 59, 59), b"<14>Dec 31 23:59:59 sysmon: "),
    ],
)
def test_day_is_padded_with_a_blank(
    local_time: tuple[int, int, int, int, int, int], stamp: bytes
) -> None:
    assert prefix(int(time.mktime((*local_time, 0, 0, -1)))) == stamp


def test_one_call_sends_many_datagrams(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(path)
    sender = log_socket(path)
    messages = [b"%d" % number * 100 for number in range(7)]
    assert Datagrams().send(sender.fileno(), messages) == 7
    assert [reader.recv(1000) for _ in messages] == messages
    sender.close()
    reader.close()


def test_call_without_room_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(path)
    sender = log_socket(path)
    datagrams = Datagrams()
    messages = [b"x" * 100] * BATCH
    while datagrams.send(sender.fileno(), messages) == BATCH:
        pass
    with pytest.raises(BlockingIOError):
        datagrams.send(sender.fileno(), messages)
    sender.close()
    reader.close()


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log_socket(str(tmp_path / "log"))
