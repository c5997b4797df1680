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


class Counted(Datagrams):
    """Says what was offered to the kernel, which takes `room` datagrams."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.offered: list[int] = []

    def _send(self, fd: int, address: int, sizes: list[int]) -> int:
        self.offered.append(len(sizes))
        return min(self.room, len(sizes))


def test_a_short_queue_is_offered_twice_as_much_as_it_took() -> None:
    messages, datagrams = [b"x"] * 1000, Counted(11)
    assert [datagrams.send(0, messages) for _ in range(3)] == [11, 11, 11]
    assert datagrams.offered == [BATCH, 22, 22]
    assert not datagrams.took_all
    datagrams.room = BATCH
    for _ in range(4):
        datagrams.send(0, messages)
    assert datagrams.offered[3:] == [22, 44, BATCH, BATCH]
    assert datagrams.took_all


def test_a_single_datagram_of_room_is_enough_to_go_on() -> None:
    messages, datagrams = [b"x"] * 1000, Counted(1)
    assert [datagrams.send(0, messages) for _ in range(5)] == [1] * 5
    assert datagrams.offered == [BATCH, 2, 2, 2, 2]
