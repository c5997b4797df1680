# SPDX-License-Identifier: MIT
"""The offset of the boot clock and the number of the machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.private import mode, private_home

from sysmonlx.host import machine
from sysmonlx.host.machine import boot_offset, machine_id
from sysmonlx.processes.identity import Identity


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return private_home(tmp_path)


def test_boot_offset_is_wall_clock_minus_boot_clock(home: Path) -> None:
    offset = boot_offset(home, "boot-1")
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset
    assert abs(now - time.time_ns()) < 1_000_000_000


def test_boot_offset_stays_for_a_boot_and_is_new_for_the_next(home: Path) -> None:
    first = boot_offset(home, "boot-1")
    assert [boot_offset(home, "boot-1") for _ in range(3)] == [first] * 3
    (home / "boot_offset").write_text("boot-1 1234\n")
    assert boot_offset(home, "boot-1") == 1234
    assert boot_offset(home, "boot-2") != 1234
    assert (home / "boot_offset").read_bytes().startswith(b"boot-2 ")
    assert mode(home / "boot_offset") == 0o600


def test_reader_uses_the_fixed_offset_and_fixes_none(home: Path) -> None:
    boot_offset(home, "boot-1", store=False)
    assert os.listdir(home) == []
    (home / "boot_offset").write_text("boot-1 1234\n")
    assert boot_offset(home, "boot-1", store=False) == 1234
    assert boot_offset(home, "boot-2", store=False) != 1234


@pytest.mark.parametrize("text", ["", "boot-1", "boot-1 x", "boot-1 1 2", "\0\xff"])
def test_damaged_boot_offset_is_measured_again(home: Path, text: str) -> None:
    (home / "boot_offset").write_text(text)
    assert abs(boot_offset(home, "boot-1") - machine.measure_boot_offset()) < 10**9


@pytest.mark.parametrize("offset", [10**30, -(10**30), 1 << 62])
def test_boot_offset_of_no_clock_is_measured_again(home: Path, offset: int) -> None:
    (home / "boot_offset").write_text(f"boot-1 {offset}\n")
    assert abs(boot_offset(home, "boot-1") - machine.measure_boot_offset()) < 10**9


@pytest.mark.parametrize("offset", [(1 << 62) - 1, 1 - (1 << 62), 0])
def test_every_boot_offset_that_is_taken_makes_guids(home: Path, offset: int) -> None:
    (home / "boot_offset").write_text(f"boot-1 {offset}\n")
    assert boot_offset(home, "boot-1") == offset
    guid = Identity(1, offset).process_guid(7, 10**18, 0)
    assert guid.startswith("{00000001-")


def test_boot_offset_that_cannot_be_stored_is_told_and_used(home: Path) -> None:
    (home / "boot_offset").mkdir()
    told: list[str] = []
    offset = boot_offset(home, "boot-1", tell=told.append)
    assert abs(offset - machine.measure_boot_offset()) < 10**9
    (text,) = told
    assert "boot_offset" in text
    assert "ProcessGuid" in text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("c30c93450000000000000000deadbeef\n", 0xC30C9345),
        ("c30c934", 0),
        ("uninitialized\n", 0),
        ("+30c9345ffff", 0),
        ("", 0),
    ],
)
def test_machine_id_is_a_number_or_0(tmp_path: Path, text: str, number: int) -> None:
    (tmp_path / "machine-id").write_text(text)
    assert machine_id(tmp_path / "machine-id") == number


def test_machine_id_without_file_is_0(tmp_path: Path) -> None:
    assert machine_id(tmp_path / "machine-id") == 0
