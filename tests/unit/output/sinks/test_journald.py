# SPDX-License-Identifier: MIT
"""The journal's socket: entries as datagrams, and as files where they are too long."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks import journald
from sysmonlx.output.sinks.journald import JournaldSink

LONG = b"x" * (8 << 20)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(os.fspath(tmp_path / "journal"))
    made.settimeout(5)
    yield made
    made.close()


@pytest.fixture
def sink(journal: socket.socket) -> Iterator[JournaldSink]:
    made = JournaldSink(journal.getsockname(), spool_limit_bytes=32 << 20, retry_s=0)
    yield made
    made.close(0)


def received(journal: socket.socket) -> bytes:
    """Return an entry as the journal reads it: a file has to be sealed."""
    data, fds, _, _ = socket.recv_fds(journal, 1 << 20, 1)
    if not fds:
        return data
    assert data == b""
    with open(fds[0], "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        assert seals & journald._SEALS == journald._SEALS
        assert os.readlink(f"/proc/self/fd/{file.fileno()}").startswith("/memfd:")
        return os.pread(file.fileno(), 16 << 20, 0)


def test_entries_are_sent_as_they_are(
    sink: JournaldSink, journal: socket.socket
) -> None:
    assert sink.before(0) == ""
    sink.write_framed(Lines.of([b"one", b"two"]))
    assert [received(journal), received(journal)] == [b"one", b"two"]
    assert (sink.delivered, sink.lost) == (2, 0)


def test_an_entry_that_is_too_long_goes_as_a_sealed_file_in_its_turn(
    sink: JournaldSink, journal: socket.socket
) -> None:
    sink.write_framed(Lines.of([b"before", LONG, b"after"]))
    assert [received(journal) for _ in range(3)] == [b"before", LONG, b"after"]
    assert (sink.delivered, sink.lost, sink.spooled) == (3, 0, 0)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_a_file_that_cannot_be_had_now_is_tried_again(
    sink: JournaldSink,
    journal: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    def refused(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "memfd_create", refused)
    sink.write_framed(Lines.of([LONG, b"after"]))
    assert (sink.delivered, sink.spooled) == (0, 2)
    monkeypatch.undo()
    sink.flush()
    assert [received(journal), received(journal)] == [LONG, b"after"]


def test_no_file_at_all_costs_that_entry_alone(
    sink: JournaldSink, journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EMSGSIZE, "too long")

    monkeypatch.setattr(journald, "_send_as_file", refused)
    sink.write_framed(Lines.of([LONG, b"after"]))
    assert received(journal) == b"after"
    assert sink.losses == {"longer than the journal takes": 1}
