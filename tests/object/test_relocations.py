# SPDX-License-Identifier: MIT
"""Relocations in the objects: of which types of the kernel the programs ask.

A struct of ours among them is a mistake that no compiler tells: where the instruction
is reached, no kernel that has no such struct loads the program.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.libbpf import library
from sysmonlx.capture.loader import OBJECTS

SOURCES = Path(__file__).parents[2] / "ebpf"

#: struct btf_ext_header and struct bpf_core_relo, <linux/btf.h> and <linux/bpf.h>.
HEADER = struct.Struct("=HBBIIIIIII")
SECTION = struct.Struct("=II")
RELOCATION = struct.Struct("=IIII")


def asked_types(path: Path, dump: Path) -> Iterator[str]:
    """Yield the name of the type that each relocation begins at."""
    subprocess.run(
        ["llvm-objcopy", "--dump-section", f".BTF.ext={dump}", path, os.devnull],
        check=True,
    )
    data = dump.read_bytes()
    *_, header_size, _, _, _, _, start, size = HEADER.unpack_from(data)
    begin = header_size + start
    (record_size,) = struct.unpack_from("=I", data, begin)
    pointer = library().btf__parse(os.fsencode(path), None)
    btf, at = Btf(library(), pointer), begin + 4
    while at < begin + size:
        _, count = SECTION.unpack_from(data, at)
        at += SECTION.size
        for _ in range(count):
            _, type_id, _, _ = RELOCATION.unpack_from(data, at)
            yield btf.type(type_id).name
            at += record_size
    library().btf__free(pointer)


def own_types() -> set[str]:
    """Return the structs and enumerations that our sources define."""
    paths = [p for p in SOURCES.rglob("*.[ch]") if p.name != "vmlinux.h"]
    found = [
        re.findall(r"^(?:struct|union|enum) (\w+) \{", path.read_text(), re.MULTILINE)
        for path in paths
        if path.suffix in (".c", ".h")
    ]
    return {name for names in found for name in names if "___" not in name}


@pytest.mark.parametrize("path", OBJECTS, ids=["newer", "uncast", "older"])
def test_kernels_are_asked_for_types_of_theirs_alone(
    path: Path, tmp_path: Path
) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not built: make bpf")
    asked = set(asked_types(path, tmp_path / "ext"))
    assert {"task_struct", "dentry", "cred"} < asked
    assert {"process_fork", "children", "filter_known"} < own_types()
    assert asked & own_types() == set()
