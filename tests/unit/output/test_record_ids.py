# SPDX-License-Identifier: MIT
"""Record ids go on where they ended, whatever happened to the file of them."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest
from support.private import mode, private_home

from sysmonlx.output.record_ids import RecordIds


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return private_home(tmp_path)


def test_first_record_id_is_0_and_each_is_the_next(home: Path) -> None:
    ids = RecordIds(home / "record_id")
    assert [ids.take() for _ in range(3)] == [0, 1, 2]
    assert ids.take(10) == 3
    assert ids.take() == 13
    ids.close()
    assert ids.warning == ""
    assert (home / "record_id").read_bytes() == struct.pack("=Q", 14)
    assert mode(home / "record_id") == 0o600


def test_record_ids_go_on_after_sigkill(home: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        last = RecordIds(home / "record_id").take(1000) + 999
        os.write(writer, str(last).encode())
        signal.pause()
    assert os.read(reader, 100) == b"999"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert RecordIds(home / "record_id").take() == 1000


@pytest.mark.parametrize("size", [1, 7, 9, 5000])
def test_damaged_counter_starts_at_0_and_says_so(home: Path, size: int) -> None:
    path = home / "record_id"
    path.write_bytes(b"\xff" * size)
    ids = RecordIds(path)
    assert (ids.take(), ids.take()) == (0, 1)
    assert f"{size} bytes" in ids.warning
    ids.close()
    assert path.read_bytes() == struct.pack("=Q", 2)


def test_counter_at_its_end_goes_on_at_0(home: Path) -> None:
    (home / "record_id").write_bytes(b"\xff" * 8)
    ids = RecordIds(home / "record_id")
    assert (ids.take(), ids.take()) == (2**64 - 1, 0)


@pytest.mark.parametrize("what", ["directory", "missing directory", "link"])
def test_unusable_counter_counts_in_memory_and_says_so(home: Path, what: str) -> None:
    path = home / "record_id"
    if what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to("elsewhere")
    else:
        path = home / "none" / "record_id"
    ids = RecordIds(path)
    assert (ids.take(), ids.take()) == (0, 1)
    assert str(path) in ids.warning
    ids.close()
    assert not (home / "elsewhere").exists()


def test_fifo_in_place_of_the_counter_counts_in_memory(home: Path) -> None:
    os.mkfifo(home / "record_id")
    ids = RecordIds(home / "record_id")
    assert (ids.take(), ids.take()) == (0, 1)
    assert "record_id" in ids.warning
