# SPDX-License-Identifier: MIT
"""Length and end of modules, packed and not, however they come in."""

from __future__ import annotations

import gzip
import lzma
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.hashing import module_content
from sysmonlx.hashing.module_content import TAIL_BYTES, ModuleContent

MODULE = b"\x7fELF" + random.Random(6).randbytes(90_000) + bytes(400_000) + b"the end"
PACKED = {
    "plain": MODULE,
    "xz": lzma.compress(MODULE),
    "gzip": gzip.compress(MODULE),
}


def zstd(length: int, *, single: bool = True) -> bytes:
    """Return the begin of a file as zstd(1) makes it of so many bytes."""
    sizes = {1: 0, 2: 1, 4: 2, 8: 3}
    width = 1 if length < 256 else 2 if length < 65_792 else 4
    field = length - 256 if width == 2 else length
    descriptor = sizes[width] << 6 | (0x20 if single else 0) | 4
    window = b"" if single else b"\x50"
    frame = bytes((descriptor,)) + window + field.to_bytes(width, "little")
    return b"\x28\xb5\x2f\xfd" + frame + bytes(100)


def taken(data: bytes, piece: int = 1 << 18) -> ModuleContent:
    content = ModuleContent()
    for at in range(0, len(data), piece):
        content.take(memoryview(data)[at : at + piece])
    content.take(memoryview(b""))
    return content


@pytest.mark.parametrize("piece", [7_001, 1 << 18, 1 << 24])
@pytest.mark.parametrize("kind", PACKED)
def test_module_is_told_however_it_is_packed(kind: str, piece: int) -> None:
    content = taken(PACKED[kind], piece)
    assert content.length == len(MODULE)
    assert content.tail == MODULE[-TAIL_BYTES:]


@pytest.mark.parametrize("kind", ["xz", "gzip"])
def test_what_is_not_whole_is_not_known(kind: str) -> None:
    content = taken(PACKED[kind][:-9])
    assert (content.length, content.tail) == (-1, b"")


@pytest.mark.parametrize("kind", ["xz", "gzip"])
def test_what_is_damaged_is_not_known(kind: str) -> None:
    data = bytearray(PACKED[kind])
    data[len(data) // 2] ^= 255
    content = taken(bytes(data))
    assert (content.length, content.tail) == (-1, b"")


@pytest.mark.parametrize("kind", PACKED)
def test_file_may_be_read_twice(kind: str) -> None:
    content = ModuleContent()
    content.take(memoryview(PACKED[kind])[:5000])
    content.begin()
    content.take(memoryview(PACKED[kind]))
    assert content.length == len(MODULE)


@pytest.mark.parametrize("length", [200, 300, 65_791, 65_792, 1 << 20])
def test_zstd_tells_the_length_alone(length: int) -> None:
    content = taken(zstd(length))
    assert (content.length, content.tail) == (length, b"")


def test_zstd_with_a_window_tells_it_too() -> None:
    assert taken(zstd(1 << 20, single=False)).length == 1 << 20


def test_zstd_may_tell_no_length() -> None:
    assert taken(b"\x28\xb5\x2f\xfd\x04\x50" + bytes(100)).length == -1


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_what_unpacks_without_end_is_given_up(
    pack: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_content, "LIMIT_BYTES", 1 << 18)
    assert callable(pack)
    content = taken(pack(bytes(2 << 20)))
    assert content.length == -1
    assert content._length < 1 << 20  # it was not unpacked to its end


def test_nothing_is_nothing() -> None:
    assert (taken(b"").length, taken(b"").tail) == (-1, b"")


@given(
    st.sampled_from((b"", b"\xfd7zXZ\0", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")), st.data()
)
def test_any_bytes_are_taken(begin: bytes, more: st.DataObject) -> None:
    content = taken(begin + more.draw(st.binary(max_size=64)), piece=16)
    assert content.length >= -1
    assert len(content.tail) <= TAIL_BYTES


@pytest.mark.skipif(not os.path.exists("/usr/bin/zstd"), reason="no zstd(1)")
@pytest.mark.parametrize("length", [100, 300, 70_000])
def test_zstd_itself_writes_what_is_read(length: int) -> None:
    import subprocess
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(length))
        file.flush()
        packed = subprocess.run(
            ["/usr/bin/zstd", "-q", "-c", file.name], capture_output=True, check=True
        ).stdout
    assert taken(packed).length == length
