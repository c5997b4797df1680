# SPDX-License-Identifier: MIT
"""BTF to ctypes classes: what the C side says about its own types.

struct btf_type and its tails are stable interface, <linux/btf.h>.
"""

from __future__ import annotations

import ctypes
import operator
import sys
from collections.abc import Iterator
from ctypes import Structure, c_uint32
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sysmonlx.bpf.libbpf import BtfPointer
from sysmonlx.errors import LayoutError

if TYPE_CHECKING:
    from mmap import mmap

    #: A class of ctypes: of a number, an array, a struct or a union.
    CType = type[ctypes._CData]


StructClass = type[Structure]


class Kind(IntEnum):
    """Kinds of BTF types, <linux/btf.h>."""

    INT = 1
    POINTER = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    TYPE_TAG = 18


class _Type(Structure):
    _fields_ = (("name", c_uint32), ("info", c_uint32), ("size", c_uint32))


class _Words(Structure):
    """struct btf_member, btf_array and btf_var_secinfo are three words each."""

    _fields_ = (("first", c_uint32), ("second", c_uint32), ("third", c_uint32))


class _Enumerator(Structure):
    _fields_ = (("name", c_uint32), ("value", ctypes.c_int32))


class Member(NamedTuple):
    """One member of a struct or union; `offset` in bytes."""

    name: str
    type_id: int
    offset: int


class Variable(NamedTuple):
    """A variable of a data section; `offset` is in bytes from where the section begins.

    `pack` and `read` are for those of whole numbers and truth values.
    """

    offset: int
    kind: CType

    def pack(self, value: int) -> bytes:
        """Return the bytes of a value; OverflowError: the variable is too small."""
        size = ctypes.sizeof(self.kind)
        return int(value).to_bytes(size, sys.byteorder, signed=value < 0)

    def read(self, section: bytes | mmap) -> int:
        """Return the value in the bytes of its section, taken as unsigned."""
        found = section[self.offset : self.offset + ctypes.sizeof(self.kind)]
        return int.from_bytes(found, sys.byteorder)


class Type(NamedTuple):
    """One type: `size` is the size in bytes, or the type that it refers to."""

    kind: int
    name: str
    size: int
    length: int
    tail: int
    flag: bool


_UNSIGNED = {
    1: ctypes.c_uint8,
    2: ctypes.c_uint16,
    4: ctypes.c_uint32,
    8: ctypes.c_uint64,
}
_SIGNED = {1: ctypes.c_int8, 2: ctypes.c_int16, 4: ctypes.c_int32, 8: ctypes.c_int64}
_BIG_ENDIAN: dict[str, CType] = {
    "__be16": ctypes.c_uint16.__ctype_be__,
    "__be32": ctypes.c_uint32.__ctype_be__,
}
_TRANSPARENT = {Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG}


class Btf:
    """The types of one BTF blob; `library` is libbpf, typed by `libbpf.FUNCTIONS`."""

    def __init__(self, library: ctypes.CDLL, pointer: BtfPointer) -> None:
        self._lib = library
        self._pointer = pointer
        self._classes: dict[int, CType] = {}

    def _string(self, offset: int) -> str:
        name: bytes = self._lib.btf__name_by_offset(self._pointer, offset)
        return name.decode()

    def find(self, name: str, kind: Kind) -> int:
        """Return the id of the type `name`.

        Raises:
            LayoutError: there is none.
        """
        type_id: int = self._lib.btf__find_by_name_kind(
            self._pointer, name.encode(), kind
        )
        if type_id < 0:
            raise LayoutError(f"{kind.name.lower()} {name} is not in the BTF")
        return type_id

    def has(self, name: str, kind: Kind) -> bool:
        """Say whether there is a type `name`."""
        found: int = self._lib.btf__find_by_name_kind(
            self._pointer, name.encode(), kind
        )
        return found >= 0

    def type(self, type_id: int) -> Type:
        """Return the type with this id."""
        address: int = self._lib.btf__type_by_id(self._pointer, type_id)
        raw = _Type.from_address(address)
        return Type(
            kind=raw.info >> 24 & 0x1F,
            name=self._string(raw.name),
            size=raw.size,
            length=raw.info & 0xFFFF,
            tail=address + ctypes.sizeof(_Type),
            flag=bool(raw.info >> 31),
        )

    def members(self, type_id: int) -> Iterator[Member]:
        """Yield the members of a struct or union.

        Raises:
            LayoutError: a bit field.
        """
        found = self.type(type_id)
        for member in (_Words * found.length).from_address(found.tail):
            name = self._string(member.first)
            bits, width = member.third, 0
            if found.flag:
                bits, width = member.third & 0xFFFFFF, member.third >> 24
            if width:
                raise LayoutError(f"{found.name}.{name}: bit fields are not allowed")
            yield Member(name, member.second, bits // 8)

    def parameters(self, type_id: int) -> list[int]:
        """Return the ids of the types of the parameters of a function's type."""
        found = self.type(type_id)
        words = (c_uint32 * (2 * found.length)).from_address(found.tail)
        return [*words[1::2]]

    def pointed(self, type_id: int) -> int:
        """Return the id of the type that a pointer leads to; 0: it is no pointer."""
        found, _ = self.resolve(type_id)
        return found.size if found.kind == Kind.POINTER else 0

    def enumerators(self, name: str) -> dict[str, int]:
        """Return the values of enum `name` by their names."""
        found = self.type(self.find(name, Kind.ENUM))
        values = (_Enumerator * found.length).from_address(found.tail)
        return {self._string(each.name): each.value for each in values}

    def resolve(self, type_id: int) -> tuple[Type, str]:
        """Return what is behind typedefs and qualifiers, and the last typedef name."""
        found, alias = self.type(type_id), ""
        while found.kind in _TRANSPARENT or found.kind == Kind.TYPEDEF:
            if found.kind == Kind.TYPEDEF:
                if found.name in _BIG_ENDIAN:
                    return found, found.name
                alias = found.name
            found = self.type(found.size)
        return found, alias

    def array(self, found: Type) -> tuple[int, int]:
        """Return (element type id, number of elements) of an array type."""
        words = _Words.from_address(found.tail)
        return words.first, words.third

    def variables(self, section: str) -> dict[str, Variable]:
        """Return the variables of a data section (`.bss` or its like), by name.

        Pointers and enumerations are left out.
        """
        found = self.type(self.find(section, Kind.DATASEC))
        result = {}
        for entry in (_Words * found.length).from_address(found.tail):
            variable = self.type(entry.first)
            if self.resolve(variable.size)[0].kind not in (Kind.POINTER, Kind.ENUM):
                kind = self.ctype(variable.size)
                result[variable.name] = Variable(entry.second, kind)
        return result

    def structure(self, name: str) -> StructClass:
        """Return the ctypes class of struct `name`, as `ctype` does."""
        found = self.ctype(self.find(name, Kind.STRUCT))
        assert issubclass(found, Structure)
        return found

    def ctype(self, type_id: int) -> CType:
        """Return the ctypes class of a type, its layout checked against the BTF.

        Raises:
            LayoutError: a type that records may not hold, or one that ctypes lays out
                otherwise (a packed struct).
        """
        if type_id not in self._classes:
            self._classes[type_id] = self._build(type_id)
        return self._classes[type_id]

    def _build(self, type_id: int) -> CType:
        found, _ = self.resolve(type_id)
        if found.name in _BIG_ENDIAN:
            return _BIG_ENDIAN[found.name]
        if found.kind == Kind.INT:
            return self._integer(found)
        if found.kind == Kind.ENUM:
            return _UNSIGNED[found.size]
        if found.kind == Kind.ARRAY:
            element, count = self.array(found)
            made: CType = operator.mul(self.ctype(element), count)
            return made
        if found.kind in (Kind.STRUCT, Kind.UNION):
            return self._aggregate(type_id, found)
        raise LayoutError(f"{found.name or type_id}: BTF kind {found.kind} not allowed")

    def is_signed(self, found: Type) -> bool:
        """Say whether an integer type is signed (bit 0 of its encoding)."""
        return bool(c_uint32.from_address(found.tail).value >> 24 & 1)

    def _integer(self, found: Type) -> CType:
        if found.name == "char":
            return ctypes.c_char
        if found.name in ("_Bool", "bool"):
            return ctypes.c_bool
        return (_SIGNED if self.is_signed(found) else _UNSIGNED)[found.size]

    def _aggregate(self, type_id: int, found: Type) -> CType:
        base = Structure if found.kind == Kind.STRUCT else ctypes.Union
        members = [
            each._replace(name=each.name or f"anonymous_{each.offset}")
            for each in self.members(type_id)
        ]
        namespace = {
            "_anonymous_": [m.name for m in members if m.name.startswith("anonymous_")],
            "_fields_": [(m.name, self.ctype(m.type_id)) for m in members],
        }
        made = type(found.name or f"anonymous_{type_id}", (base,), namespace)
        if ctypes.sizeof(made) != found.size:
            raise LayoutError(
                f"{found.name}: {ctypes.sizeof(made)} bytes here, {found.size} in BTF"
            )
        for member in members:
            if getattr(made, member.name).offset != member.offset:
                raise LayoutError(f"{found.name}.{member.name}: other offset in BTF")
        return made
