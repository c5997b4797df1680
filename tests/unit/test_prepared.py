# SPDX-License-Identifier: MIT
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from sysmonlx.kept import Kept
from sysmonlx.prepared import MapPlan, Plans, ProgramPlan, read_plans, with_maps

KEY = {"build": "aa", "files": [[1, 2, 3]]}
LOAD_MAP_5 = struct.pack("=BBhiiI", 0x18, 0x11, 0, 5, 0, 0)
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def plans() -> Plans:
    """One map, one program that uses it, one program that was refused."""
    return Plans(
        facts={"has_bpf_loop": True},
        types=b"\x9f\xeb types \n",
        maps={"ring": MapPlan("ring", 27, 0, 0, 4096, 0, 0, 0, 0, b"\n{data}")},
        programs={
            "exec": ProgramPlan(
                26, 23, 77, 0, ((0, "ring"),), LOAD_MAP_5 + EXIT, bytes(8)
            )
        },
        refused={"link": "Operation not permitted"},
    )


def test_what_was_written_is_read() -> None:
    assert read_plans(plans().to_bytes(KEY, "boot"), KEY, "boot") == plans()


def test_refusals_count_for_one_boot() -> None:
    found = read_plans(plans().to_bytes(KEY, "boot"), KEY, "next boot")
    assert found is not None
    assert (found.refused, found.programs) == ({}, plans().programs)


def test_another_kernel_or_object_has_no_plans() -> None:
    data = plans().to_bytes(KEY, "boot")
    assert read_plans(data, {**KEY, "build": "bb"}, "boot") is None
    assert read_plans(data, {**KEY, "files": [[1, 2, 4]]}, "boot") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data.replace(b'"kind"', b'"sort"'),
        lambda data: data.replace(b'"form": 1', b'"form": 0'),
        lambda data: b"[]\n",
        lambda data: b"\xff" + data,
    ],
)
def test_damaged_file_has_no_plans(damage) -> None:  # type: ignore[no-untyped-def]  # lambdas above
    data = plans().to_bytes(KEY, "boot")
    assert damage(data) != data
    assert read_plans(damage(data), KEY, "boot") is None


def test_program_gets_the_descriptors_of_its_maps() -> None:
    code = with_maps(plans().programs["exec"], {"ring": 41, "other": 42})
    assert code == struct.pack("=BBhiiI", 0x18, 0x11, 0, 41, 0, 0) + EXIT


def test_plans_are_kept_for_the_same_files(tmp_path: Path) -> None:
    object_file = tmp_path / "programs.o"
    object_file.write_bytes(b"ELF")
    kept = Kept(tmp_path / "programs", [object_file], "")
    kept.read()
    kept.plans = plans()
    kept.write()

    again = Kept(tmp_path / "programs", [object_file], "")
    again.read()
    assert again.plans == plans()
    object_file.write_bytes(b"ELF, built anew")
    changed = Kept(tmp_path / "programs", [object_file], "")
    changed.read()
    assert changed.plans == Plans()


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    kept = Kept(None, [], "")
    kept.read()
    kept.plans = plans()
    kept.write()
    assert list(tmp_path.iterdir()) == []
