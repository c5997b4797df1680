# SPDX-License-Identifier: MIT
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sysmonlx.bpf.btf import Btf, Kind
from sysmonlx.bpf.libbpf import library
from sysmonlx.capture.records import Layouts
from sysmonlx.errors import LayoutError

CLANG = shutil.which("clang") or "clang"
BASE = """
typedef unsigned int __u32;
typedef unsigned short __u16;
typedef unsigned short __be16;
typedef _Bool bool;
enum record_flag { RECORD_FLAG = 1 };
enum loss_reason { LOSS_RING_FULL, LOSS_REASON_MAX };
enum record_flag flags;
enum loss_reason reasons;
"""
ENUM = "enum record_type { RECORD_ONE = 1, RECORD_TYPE_MAX }; enum record_type types;"
Compile = Callable[[str], Btf]


@pytest.fixture
def compiled(tmp_path: Path) -> Iterator[Compile]:
    """Return a function that gives the BTF of C source."""
    pointers = []

    def compile_source(source: str) -> Btf:
        target = tmp_path / "source.o"
        options = ["-g", "-O2", "-target", "bpf", "-xc", "-c", "-"]
        command = [CLANG, *options, "-o", os.fspath(target)]
        subprocess.run(command, input=(BASE + source).encode(), check=True)
        pointers.append(library().btf__parse(os.fsencode(target), None))
        return Btf(library(), pointers[-1])

    yield compile_source
    for pointer in pointers:
        library().btf__free(pointer)


def class_of(btf: Btf, name: str) -> type[ctypes.Structure]:
    found: type[ctypes.Structure] = btf.structure(name)
    return found


def test_struct_has_the_layout_of_the_compiler(compiled: Compile) -> None:
    btf = compiled(
        "struct inner { char a; __u32 b; };"
        "struct outer { bool x; __be16 port; struct inner in[2]; long long y;"
        " union { __u32 u; signed char s; }; char name[3]; } o;"
    )
    found = class_of(btf, "outer")
    assert ctypes.sizeof(found) == 40
    offsets = {name: getattr(found, name).offset for name in ("port", "y", "u", "name")}
    assert offsets == {"port": 2, "y": 24, "u": 32, "name": 36}
    assert found(port=0x1234).port == 0x1234
    assert bytes(found(port=0x1234))[2:4] == b"\x12\x34"
    assert getattr(found(s=-1), "u") == 0xFF  # noqa: B009 made at run time


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("struct s { char a; __u32 b; } __attribute__((packed)) v;", "bytes here"),
        (
            "struct s { char a; __u32 b; char c[3]; } __attribute__((packed)) v;",
            "s",
        ),
        ("struct s { __u32 a : 3; } v;", "bit fields"),
        ("struct s { void *a; } v;", "not allowed"),
    ],
)
def test_struct_that_ctypes_cannot_lay_out_is_refused(
    source: str, message: str, compiled: Compile
) -> None:
    btf = compiled(source)
    with pytest.raises(LayoutError, match=message):
        class_of(btf, "s")


def test_missing_type_is_named(compiled: Compile) -> None:
    btf = compiled("int x;")
    with pytest.raises(LayoutError, match="struct nothing is not in the BTF"):
        btf.find("nothing", Kind.STRUCT)
    assert not btf.has("nothing", Kind.STRUCT)


@pytest.mark.parametrize(
    ("union", "odd"),
    [
        ("struct one two;", "one, two"),
        ("struct one one; struct one two;", "two"),
    ],
)
def test_records_and_their_numbers_must_pair_up(
    union: str, odd: str, compiled: Compile
) -> None:
    btf = compiled(
        ENUM + f"struct one {{ __u32 a; }}; union record {{ {union} }}; union record r;"
    )
    with pytest.raises(LayoutError, match=f"differ in {odd}$"):
        Layouts(btf)


def test_pairs_make_layouts(compiled: Compile) -> None:
    btf = compiled(
        ENUM + "struct varlen { __u16 offset, length; };"
        "struct one { __u32 a; struct varlen text; };"
        "union record { struct one one; }; union record r;"
    )
    layouts = Layouts(btf)
    layout = layouts.by_name["one"]
    assert layouts.number == {"one": 1}
    assert layouts.reasons == ("ring full",)
    assert layouts.flags == {"FLAG": 1}
    assert layout.decode(layout.encode(a=7, text=b"abc")) == (7, b"abc")


def test_variables_of_a_section(compiled: Compile) -> None:
    btf = compiled("int counter[3]; __u32 limit;")
    found = btf.variables(".bss")
    assert found["limit"].kind is ctypes.c_uint32
    assert ctypes.sizeof(found["counter"].kind) == 12
