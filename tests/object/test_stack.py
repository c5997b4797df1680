# SPDX-License-Identifier: MIT
"""Calls in programs: what they need of the stack, which some kernels count closely."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from sysmonlx.capture.loader import OBJECTS

#: MAX_BPF_STACK, and the steps in which v6.1 counts what a function takes of it:
#: check_max_stack_depth(). Newer kernels count closer.
STACK_BYTES = 512
STEP_BYTES = 32

#: ELF, elf(5): the fields used of headers, symbols and relocations.
FILE = struct.Struct("=40xQ10xHH2x")
SECTION = struct.Struct("=IIQQQQIIQQ")
SYMBOL = struct.Struct("=IBBHQQ")
RELOCATION = struct.Struct("=QQ")
SYMBOLS, RELOCATIONS = 2, 9
SECTION_ITSELF, FUNCTION = 3, 2

#: <linux/bpf.h>: 8 bytes each; classes are the low three bits of the first.
INSTRUCTION = struct.Struct("=BBhi")
LOAD, STORE, STORE_REGISTER, ALU32, ALU = 1, 2, 3, 4, 7
LOAD_ADDRESS, CALL, COPY, ADD = 0x18, 0x85, 0xBF, 0x07
OF_OBJECT_FUNCTION = 1
FRAME = 10


class Place(NamedTuple):
    """A function's or an instruction's: section number and offset in bytes."""

    section: int
    offset: int


class Object:
    """The functions of an object: what each takes of the stack, and whom it calls."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        at, size, count = FILE.unpack_from(self._data)
        self._sections = [
            SECTION.unpack_from(self._data, at + size * each) for each in range(count)
        ]
        ((symbols, names),) = [
            (self._bytes(each), self._bytes(self._sections[each[6]]))
            for each in self._sections
            if each[1] == SYMBOLS
        ]
        self._symbols = list(SYMBOL.iter_unpack(symbols))
        self.functions = {
            Place(section, value): (names[name : names.index(0, name)].decode(), size)
            for name, info, _, section, value, size in self._symbols
            if info & 15 == FUNCTION
        }
        self._targets = self._relocated()
        self.depth: dict[Place, int] = {}
        self.calls: dict[Place, set[Place]] = defaultdict(set)
        for place, (_, size) in self.functions.items():
            self._walk(place, size)

    def _bytes(self, section: tuple[int, ...]) -> bytes:
        return self._data[section[4] : section[4] + section[5]]

    def _relocated(self) -> dict[Place, tuple[int, int, int]]:
        """Return (kind, section, value) of the symbol that an instruction is about."""
        found = {}
        for section in self._sections:
            if section[1] == RELOCATIONS:
                for offset, info in RELOCATION.iter_unpack(self._bytes(section)):
                    _, kind, _, home, value, _ = self._symbols[info >> 32]
                    found[Place(section[7], offset)] = kind & 15, home, value
        return found

    def _walk(self, place: Place, size: int) -> None:
        start = place.offset
        code = self._bytes(self._sections[place.section])[start : start + size]
        pointers: set[int] = set()
        deepest = 0
        for at, one in enumerate(INSTRUCTION.iter_unpack(code)):
            what, registers, offset, value = one
            to, source = registers & 15, registers >> 4
            self._note_call(place, Place(place.section, start + at * 8), one)
            if what & 7 in (STORE, STORE_REGISTER) and to == FRAME:
                deepest = max(deepest, -offset)
            if what & 7 == LOAD and source == FRAME:
                deepest = max(deepest, -offset)
            if what == ADD and to in pointers:
                deepest = max(deepest, -value)
            if what & 7 in (0, LOAD, ALU32, ALU):
                pointers.discard(to)
            if what == COPY and source == FRAME:
                pointers.add(to)
        self.depth[place] = deepest

    def _note_call(
        self, caller: Place, at: Place, instruction: tuple[int, int, int, int]
    ) -> None:
        what, registers, _, value = instruction
        kind, section, base = self._targets.get(at, (SECTION_ITSELF, 0, 0))
        if what == CALL and registers >> 4 == OF_OBJECT_FUNCTION:
            if at not in self._targets:
                target = Place(at.section, at.offset + 8 + value * 8)
            elif kind == SECTION_ITSELF:
                target = Place(section, base + (value + 1) * 8)
            else:
                target = Place(section, base)
        elif what == LOAD_ADDRESS and at in self._targets:  # for bpf_loop()
            target = Place(section, base + value)
        else:
            return
        if target in self.functions:  # else it is the kernel's
            self.calls[caller].add(target)

    def deepest(self, place: Place) -> tuple[int, tuple[str, ...]]:
        """Return the bytes of the deepest chain of calls from here, and its names."""
        inner = max(map(self.deepest, self.calls[place]), default=(0, ()))
        own = max(1, -(-self.depth[place] // STEP_BYTES)) * STEP_BYTES
        return own + inner[0], (f"{self.functions[place][0]} {own}", *inner[1])


@pytest.mark.parametrize("path", OBJECTS, ids=["newer", "uncast", "older"])
def test_no_chain_of_calls_needs_more_stack_than_a_program_has(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not built: make bpf")
    found = Object(path)
    assert any(found.calls.values())
    chains = [found.deepest(place) for place in found.functions]
    assert [each for each in chains if each[0] > STACK_BYTES] == []
