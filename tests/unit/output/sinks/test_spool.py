# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.output.sinks.spool import Spool


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_stream_is_every_message_ended_once(step: int) -> None:
    spool = Spool(1000)
    spool.add([b"one", b"", b"three"])
    stream = b""
    while data := spool.chunk(b"\n", step):
        assert len(data) <= step
        stream += data
        spool.written(len(data), b"\n")
    assert stream == b"one\n\nthree\n"
    assert (spool.delivered, spool.size_bytes) == (3, 0)


def test_trim_gives_up_the_newest() -> None:
    spool = Spool(6)
    spool.add([b"one", b"two", b"three"])
    spool.trim()
    assert list(spool.messages) == [b"one", b"two"]
    assert spool.losses == {"spool full": 1}


def test_trim_keeps_the_message_that_is_half_written() -> None:
    spool = Spool(2)
    spool.add([b"one", b"two"])
    spool.written(2, b"\n")
    spool.trim()
    assert list(spool.messages) == [b"one"]
    assert spool.chunk(b"\n", 100) == b"e\n"


def test_restart_begins_the_message_again() -> None:
    spool = Spool(100)
    spool.add([b"one"])
    spool.written(2, b"\n")
    spool.restart()
    assert spool.chunk(b"\n", 100) == b"one\n"


def test_account_is_complete() -> None:
    spool = Spool(100)
    spool.add([b"a", b"b", b"c", b"d"])
    spool.sent(1)
    spool.drop_first("too long")
    spool.drop_all("stop")
    spool.drop_all("stop")
    assert spool.delivered == 1
    assert spool.losses == {"too long": 1, "stop": 2}
    assert spool.size_bytes == 0
