# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import random
import struct
import threading
from binascii import crc32
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.bpf.cache_file import Kept
from sysmonlx.bpf.cached_object import PreparedObject
from sysmonlx.bpf.object_info import MapInfo
from sysmonlx.bpf.program_cache import (
    MapPlan,
    Plans,
    ProgramPlan,
    read_plans,
    with_maps,
)

DEADLINE_S = 20.0
KEY = {"build": "aa", "files": [[1, 2, 3]]}
LOAD_MAP_5 = struct.pack("=BBhiiI", 0x18, 0x11, 0, 5, 0, 0)
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def plans() -> Plans:
    """One map, one program that uses it, one program that was refused."""
    ring = MapInfo("ring", 27, 0, 0, 4096, 0, 0, 0)
    return Plans(
        facts={"has_bpf_loop": True},
        types=b"\x9f\xeb types \n",
        maps={"ring": MapPlan(ring, 0, b"\n{data}")},
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
        lambda data: data.replace(b'"form": 2', b'"form": 0'),
        lambda data: b"[]\n",
        lambda data: b"\xff" + data,
    ],
)
def test_damaged_file_has_no_plans(damage) -> None:  # type: ignore[no-untyped-def]  # lambdas above
    data = plans().to_bytes(KEY, "boot")
    assert damage(data) != data
    assert read_plans(damage(data), KEY, "boot") is None


def with_checksum(text: bytes) -> bytes:
    return b"%08x\n%b" % (crc32(text), text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind": 27', b'"kind": -27'),
        (b'"kind": 27', b'"kind": "x"'),
        (b'"kind": 27', b'"kind": 4294967296'),
        (b'"kind": 27', b'"kind": true'),
        (b'"kind": 27', b'"kind": NaN'),
        (b'"kind": 27', b'"kind": ' + b"[" * 100_000),
        (b'"has_bpf_loop": true', b'"has_bpf_loop": 1'),
        (b'"refused": {', b'"refused": {"a": [], '),
        (b'{"ring": {', b'{"rang": 7, "ring": {'),
        (b'[[0, "ring"]]', b"[[0]]"),
        (b'[[0, "ring"]]', b"7"),
        (b'"bytes": 8}', b'"bytes": -8}'),
        (b'"bytes": 8}', b'"bytes": 8.0}'),
    ],
)
def test_values_of_another_kind_are_no_plans(old: bytes, new: bytes) -> None:
    text = plans().to_bytes(KEY, "boot").partition(b"\n")[2]
    assert read_plans(with_checksum(text), KEY, "boot") == plans()
    assert old in text
    assert read_plans(with_checksum(text.replace(old, new)), KEY, "boot") is None


@given(st.integers(0, 1 << 31))
def test_a_changed_bit_or_a_cut_is_seen(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(plans().to_bytes(KEY, "boot"))
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    assert read_plans(bytes(data), KEY, "boot") is None
    assert read_plans(bytes(data[:at]), KEY, "boot") is None


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
    kept.settle(DEADLINE_S)

    again = Kept(tmp_path / "programs", [object_file], "")
    again.read()
    assert again.plans == plans()
    object_file.write_bytes(b"ELF, built anew")
    changed = Kept(tmp_path / "programs", [object_file], "")
    changed.read()
    assert changed.plans == Plans()


def test_a_reader_leaves_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "programs"
    kept = Kept(file, [], "")
    kept.read()
    kept.plans = plans()
    kept.write()
    kept.settle(DEADLINE_S)
    before = file.stat().st_mtime_ns, file.read_bytes()

    reader = Kept(file, [], "", may_write=False)
    reader.read()
    assert reader.plans == plans()
    reader.plans = Plans()
    reader.write()
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before


def test_nobody_waits_for_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, fsync = Event(), os.fsync

    def wait(fd: int) -> None:
        assert answers.wait(DEADLINE_S)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", wait)
    kept = Kept(tmp_path / "programs", [], "")
    kept.read()
    kept.plans = plans()
    kept.write()
    kept.settle(0.05)
    was_busy = kept.is_busy
    answers.set()
    kept.settle(DEADLINE_S)
    assert (was_busy, kept.is_busy) == (True, False)
    assert (tmp_path / "programs").exists()


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    kept = Kept(None, [], "")
    kept.read()
    kept.plans = plans()
    kept.write()
    assert list(tmp_path.iterdir()) == []


def test_programs_are_loaded_though_no_thread_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = [f"program{number}" for number in range(5)]
    found = PreparedObject.__new__(PreparedObject)
    found._plans = SimpleNamespace(  # type: ignore[assignment]  # a part of it
        programs={name: SimpleNamespace(code=b"", attach_kind=0) for name in names}
    )
    found._programs = {}
    found._attach_kinds = {}
    monkeypatch.setattr(found, "_load", lambda name, plan, fds: names.index(name))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    found.load(names, {})
    assert found._programs == {name: at for at, name in enumerate(names)}
