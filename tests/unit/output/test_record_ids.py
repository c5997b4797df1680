# SPDX-License-Identifier: MIT
"""Record ids go on where they ended, whatever happened to the file of them."""

from __future__ import annotations

import os
import signal
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from support.private import mode, private_home
from support.running import wait_until

from sysmonlx.host import root_files
from sysmonlx.output import record_ids
from sysmonlx.output.record_ids import AHEAD, RecordIds


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


# --- with a file in memory


@pytest.fixture
def live() -> Iterator[Path]:
    """The place of a file in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "record_id"


def kept(home: Path) -> int:
    """Return the number in the file that outlives the machine."""
    (number,) = struct.unpack("=Q", (home / "record_id").read_bytes()[:8])
    return int(number)


def killed_after(home: Path, live: Path, counts: list[int]) -> None:
    """Have a process take numbers, and end by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        ids = RecordIds(home / "record_id", live)
        for count in counts:
            ids.take(count)
            while ids._writing is not None and not ids._is_written():
                time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("counts", [[], [7], [60_000, 1], [60_000] * 4])
def test_numbers_go_on_without_a_gap_after_sigkill(
    home: Path, live: Path, counts: list[int]
) -> None:
    RecordIds(home / "record_id").take(5)
    killed_after(home, live, counts)
    assert RecordIds(home / "record_id", live).take() == 5 + sum(counts)


@pytest.mark.parametrize("counts", [[], [7], [60_000, 1], [60_000] * 4])
def test_no_number_is_given_twice_after_a_loss_of_power(
    home: Path, live: Path, counts: list[int]
) -> None:
    killed_after(home, live, counts)
    live.unlink()
    ids = RecordIds(home / "record_id", live)
    first = ids.take()
    assert sum(counts) <= first <= sum(counts) + AHEAD
    assert f"record ids go on at {first}, since the machine ended" in ids.warning
    ids.close()
    assert (home / "record_id").stat().st_size == 8
    assert RecordIds(home / "record_id", live).warning == ""


def test_loss_of_power_is_told_also_where_run_is_on_a_disk_then(
    home: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after(home, live, [7])
    live.unlink()
    monkeypatch.setattr(root_files, "is_in_memory", lambda _: False)
    ids = RecordIds(home / "record_id", live)
    assert f"record ids go on at {ids.take()}, since the machine" in ids.warning
    ids.close()
    assert RecordIds(home / "record_id", live).warning == ""


def test_orderly_end_leaves_the_exact_number_and_nothing_in_memory(
    home: Path, live: Path
) -> None:
    ids = RecordIds(home / "record_id", live)
    ids.take(70_000)
    assert live.exists()
    assert kept(home) > 0
    ids.close()
    assert (kept(home), live.exists()) == (70_000, False)


@pytest.mark.parametrize("what", [b"", b"x", bytes(24), b"\xff" * 24, bytes(5000)])
def test_damaged_file_in_memory_counts_as_absent(
    home: Path, live: Path, what: bytes
) -> None:
    (home / "record_id").write_bytes(struct.pack("=Q", 9))
    live.write_bytes(what)
    live.chmod(0o600)
    ids = RecordIds(home / "record_id", live)
    assert (ids.take(), ids.take(), ids.warning) == (9, 10, "")
    ids.close()
    assert kept(home) == 11


def test_file_that_was_put_back_from_elsewhere_counts(home: Path, live: Path) -> None:
    killed_after(home, live, [7])
    (home / "record_id").write_bytes(struct.pack("=Q", 1_000_000))
    assert RecordIds(home / "record_id", live).take() == 1_000_000


def test_where_run_is_on_a_disk_the_file_itself_is_mapped(
    home: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_files, "is_in_memory", lambda _: False)
    ids = RecordIds(home / "record_id", live)
    assert ids.take(3) == 0
    assert (kept(home), live.exists()) == (3, False)


def test_disk_that_hangs_delays_no_number_and_no_end(
    home: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Event()

    def hang(path: Path, number: int, mark: bytes) -> int:
        answers.wait()
        return number

    ids = RecordIds(home / "record_id", live)
    stored = kept(home)
    monkeypatch.setattr(record_ids, "_write", hang)
    monkeypatch.setattr(record_ids, "_CLOSE_S", 0.01)
    begun = time.monotonic()
    given = [ids.take(10_000) for _ in range(20)]
    ids.close()
    assert time.monotonic() - begun < 0.5
    assert given == list(range(0, 200_000, 10_000))
    assert (kept(home), live.exists()) == (stored, True)
    answers.set()
    monkeypatch.undo()
    assert RecordIds(home / "record_id", live).take() == 200_000


def test_what_cannot_be_written_is_tried_again(
    home: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_ids, "_AGAIN_S", 0.0)
    ids = RecordIds(home / "record_id", live)
    first = kept(home)
    (home / "record_id").rename(home / "away")
    (home / "record_id").mkdir()
    for _ in range(20):
        ids.take(10_000)
    wait_until(lambda: ids._writing is None or ids._is_written())
    assert ids._words[record_ids._STORED] == first
    (home / "record_id").rmdir()
    (home / "away").rename(home / "record_id")
    wait_until(lambda: ids.take() > 0 and kept(home) > 200_000)


def test_without_a_thread_numbers_go_on(
    home: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise BlockingIOError

    ids = RecordIds(home / "record_id", live)
    monkeypatch.setattr(record_ids, "Worker", refuse)
    assert [ids.take(40_000) for _ in range(3)] == [0, 40_000, 80_000]
    ids.close()
    monkeypatch.undo()
    assert RecordIds(home / "record_id", live).take() == 120_000
