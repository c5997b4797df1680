# SPDX-License-Identifier: MIT
"""Bytes of the ring buffer to records.

A record is a named tuple whose fields are the members of its C struct, nested ones
flattened (`record.tgid`, `record.file_inode` for `struct file_identity file`), each
`struct varlen` replaced by its bytes. The layouts come from the BTF of the object.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sysmonlx.bpf.btf import Btf, Kind
from sysmonlx.errors import LayoutError

#: A named tuple made from the C struct; its fields are known at run time only.
Record = Any

_CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q"}
_CODES |= {(1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}


class _Field(NamedTuple):
    """A flattened member: `how` is "", "be16", "be32", "text" or "varlen"."""

    name: str
    offset: int
    code: str
    how: str


class Layout:
    """One record type: its fields, and the function that decodes it."""

    def __init__(self, name: str, fields: list[_Field], size: int) -> None:
        self.name = name
        self.size = size
        self.fields = tuple(field.name for field in fields)
        make: Any = namedtuple  # mypy knows only those written out
        self.record = make(name, self.fields)
        self._packed = fields
        self.decode: Callable[[bytes], Record]
        """Return the record in the bytes; struct.error: shorter than the fixed part."""
        self.decode = self._compiled(fields, "new(record, ({},))")

    def reader(self, *names: str) -> Callable[[bytes], tuple[Any, ...]]:
        """Return a function that takes a record's bytes and returns the fields `names`.

        Each string has two more fields. For `args`, `args_offset` is where its bytes
        begin in the record, 0 when there are none; `args_length` is their number.
        The function raises struct.error for a record that is too short.

        Raises:
            LayoutError: the record type has no such field.
        """
        fields = self._find(names)
        if not any(field.how for field in fields) and fields == sorted(
            fields, key=lambda field: field.offset
        ):
            return self._unpacker(_generate(fields)[0])
        return self._compiled(fields, "({},)")

    def span(self, *names: str) -> slice:
        """Return where these fields lie in a record's bytes, one behind the other.

        LayoutError: there is something else between them.
        """
        fields = self._find(names)
        ends = [each.offset + struct.calcsize("=" + each.code) for each in fields]
        if [each.offset for each in fields[1:]] != ends[:-1]:
            raise LayoutError(f"{self.name} does not have {', '.join(names)} in a row")
        return slice(fields[0].offset, ends[-1])

    def offset(self, name: str) -> int:
        """Return where a field lies in a record's bytes."""
        return self._find([name])[0].offset

    def _find(self, names: Sequence[str]) -> list[_Field]:
        found = {field.name: field for field in self._packed}
        for field in self._packed:
            if field.how == "varlen":
                for at, name in enumerate(("offset", "length")):
                    name = f"{field.name}_{name}"
                    found[name] = _Field(name, field.offset + 2 * at, "H", "")
        if unknown := [name for name in names if name not in found]:
            raise LayoutError(f"{self.name} has no {', '.join(unknown)}")
        return [found[name] for name in names]

    def _compiled(self, fields: list[_Field], result: str) -> Callable[[bytes], Any]:
        form, names, values = _generate(fields)
        scope: dict[str, Any] = {
            "unpack": self._unpacker(form),
            "new": tuple.__new__,
            "record": self.record,
        }
        source = (
            f"def decode(data):\n    {names}, = unpack(data)\n"
            f"    return {result.format(values)}\n"
        )
        exec(compile(source, f"<decode {self.name}>", "exec"), scope)
        decode: Callable[[bytes], Any] = scope["decode"]
        return decode

    def _unpacker(self, form: str) -> Callable[[bytes], tuple[Any, ...]]:
        rest = self.size - struct.calcsize(form)
        return struct.Struct(f"{form}{rest}x").unpack_from

    def encode(self, **values: Any) -> bytes:
        """Return a record of these field values, others zero, as bytes."""
        tail, offset, packed = b"", self.size, bytearray(self.size)
        for field in reversed(self._packed):
            is_bytes = field.code[-1] == "s" and field.how != "be32"
            empty: object = b"" if is_bytes or field.how == "varlen" else 0
            value = values.pop(field.name, empty)
            if field.how == "varlen":
                struct.pack_into("=HH", packed, field.offset, offset, len(value))
                tail, offset = tail + value, offset + len(value)
            elif field.how.startswith("be"):
                code = ">H" if field.how == "be16" else ">I"
                struct.pack_into(code, packed, field.offset, value)
            else:
                struct.pack_into("=" + field.code, packed, field.offset, value)
        if values:
            raise LayoutError(f"{self.name} has no {', '.join(values)}")
        return bytes(packed) + tail


def _generate(fields: list[_Field]) -> tuple[str, str, str]:
    """Return the struct format of these fields, names for it, and their values."""
    form, at, names = "=", 0, []
    for number, field in sorted(enumerate(fields), key=lambda each: each[1].offset):
        if field.offset < at:
            raise LayoutError(f"{field.name} is read twice")
        form += f"{field.offset - at}x{field.code}" if field.offset > at else field.code
        at = field.offset + struct.calcsize("=" + field.code)
        names.append(f"v{number}")
        if field.how == "varlen":
            names.append(f"l{number}")
    values = [_VALUE[field.how].format(number) for number, field in enumerate(fields)]
    return form, ", ".join(names), ", ".join(values)


_VALUE = {
    "": "v{0}",
    "text": "v{0}.partition(b'\\0')[0]",
    "be16": "(v{0} >> 8 | (v{0} & 0xff) << 8)",
    "be32": "int.from_bytes(v{0}, 'big')",
    "varlen": "data[v{0}:v{0}+l{0}]",
}


class Layouts:
    """Every record type of an object, by name.

    Raises:
        LayoutError: enum record_type and union record do not pair up.
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        members = {
            m.name: m.type_id for m in btf.members(btf.find("record", Kind.UNION))
        }
        numbers = btf.enumerators("record_type")
        del numbers["RECORD_TYPE_MAX"]
        types = {n.removeprefix("RECORD_").lower(): v for n, v in numbers.items()}
        if members.keys() != types.keys():
            odd = ", ".join(sorted(members.keys() ^ types.keys()))
            raise LayoutError(f"enum record_type and union record differ in {odd}")
        self.number = types
        self.by_name = {name: self._layout(name, members[name]) for name in types}
        self.name = {number: name for name, number in types.items()}
        self.flags = {
            name.removeprefix("RECORD_"): value
            for name, value in btf.enumerators("record_flag").items()
        }
        reasons = btf.enumerators("loss_reason")
        del reasons["LOSS_REASON_MAX"]
        self.reasons = tuple(
            name.removeprefix("LOSS_").lower().replace("_", " ")
            for name, _ in sorted(reasons.items(), key=lambda item: item[1])
        )

    def _layout(self, name: str, type_id: int) -> Layout:
        self._btf.ctype(type_id)  # refuses what ctypes lays out otherwise
        fields = self._flatten(type_id, 0, "")
        return Layout(name, fields, self._btf.resolve(type_id)[0].size)

    def _flatten(self, type_id: int, base: int, prefix: str) -> list[_Field]:
        fields: list[_Field] = []
        for member in self._btf.members(type_id):
            name = prefix + member.name
            offset = base + member.offset
            found, _ = self._btf.resolve(member.type_id)
            if found.kind == Kind.STRUCT and found.name == "varlen":
                fields.append(_Field(name, offset, "HH", "varlen"))
            elif found.kind == Kind.STRUCT:
                inner = "" if member.name == "header" else f"{name}_"
                fields += self._flatten(self._id(member.type_id), offset, inner)
            elif not member.name.startswith("pad"):
                fields.append(self._scalar(name, offset, member.type_id))
        return fields

    def _id(self, type_id: int) -> int:
        found = self._btf.type(type_id)
        while found.kind not in (Kind.STRUCT, Kind.UNION):
            type_id = found.size
            found = self._btf.type(type_id)
        return type_id

    def _scalar(self, name: str, offset: int, type_id: int) -> _Field:
        found, _ = self._btf.resolve(type_id)
        if found.name == "__be16":
            return _Field(name, offset, "H", "be16")
        if found.name == "__be32":
            return _Field(name, offset, "4s", "be32")
        if found.kind == Kind.ARRAY:
            element, count = self._btf.array(found)
            is_text = self._btf.resolve(element)[0].name == "char"
            return _Field(name, offset, f"{count}s", "text" if is_text else "")
        if found.kind == Kind.ENUM:
            return _Field(name, offset, "I", "")
        if found.kind != Kind.INT:
            raise LayoutError(f"{name}: BTF kind {found.kind} not allowed in a record")
        if found.name in ("_Bool", "bool"):
            return _Field(name, offset, "?", "")
        signed = self._btf.is_signed(found)
        return _Field(name, offset, _CODES[found.size, signed], "")
