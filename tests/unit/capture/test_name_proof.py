# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from sysmonlx.capture import name_proof
from sysmonlx.capture.name_proof import NameProof

NAME, UNPROVED = 1, 3


class Kernel:
    """Tells of each call in a directory what a test wants told."""

    def __init__(self, state: int = NAME, names: tuple[str, ...] = ()) -> None:
        self.state = state
        self.names = names or ("made", "linked", "in/it", "made", "in/it")
        self.calls = 0
        self.place = ""
        self.variables: list[tuple[str, int]] = []

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Forget the last name; the directory is where the test made it."""

    def lookup(self, key: bytes, size: int = 0) -> bytes:
        name = self.names[self.calls % len(self.names)]
        self.calls += 1
        path = os.fsencode(f"{self.place}/{name}")
        return struct.pack("=II512s", self.state, len(path), path)

    def set(self, name: str, value: int) -> None:
        self.variables.append((name, value))


def proved(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, *folders: Path) -> str:
    make = name_proof._new_directory

    def told(folder: str) -> str:
        kernel.place = make(folder)
        return kernel.place

    monkeypatch.setattr(name_proof, "_new_directory", told)
    return NameProof(kernel, kernel.set).fails(map(str, folders))


def test_each_call_must_tell_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    assert proved(kernel, monkeypatch, tmp_path) == ""
    assert kernel.calls == 8 * 5
    assert list(tmp_path.iterdir()) == []


def test_only_the_calls_of_the_thread_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    proved(kernel, monkeypatch, tmp_path)
    assert kernel.variables == [("proving_thread", os.getpid()), ("proving_thread", 0)]


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (Kernel(state=0), "mknod was not seen"),
        (Kernel(state=UNPROVED), "mknod did not tell its name"),
        (Kernel(names=("made", "made")), "link did not tell its name"),
    ],
)
def test_a_wrong_answer_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Kernel, reason: str
) -> None:
    assert proved(kernel, monkeypatch, tmp_path) == reason
    assert list(tmp_path.iterdir()) == []
    assert kernel.variables[-1] == ("proving_thread", 0)


def test_another_directory_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "absent" in proved(Kernel(), monkeypatch, tmp_path / "absent")
    assert proved(Kernel(), monkeypatch, tmp_path / "absent", tmp_path) == ""


def test_no_directory_is_a_reason() -> None:
    assert NameProof(Kernel(), Kernel().set).fails(()) == "no directory to try it in"
