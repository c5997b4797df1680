# SPDX-License-Identifier: MIT
"""Programs as the kernel took them before: no search through its types again.

libbpf fits every program to the types of the running kernel, which takes longer than
all else at a start. The result is kept, and holds as long as the kernel is the same
build and the object the same file. The kernel verifies the programs at each start.
"""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from sysmonlx.bpf.object import BpfMap, BpfObject
from sysmonlx.bpf.object_info import MapInfo, map_info, program_attachment

#: Of instructions, <linux/bpf.h>: 8 bytes each; these load an address, or call.
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_ADDRESS, _CALL = 0x18, 0x85
_OF_MAP, _IN_MAP, _OF_FUNCTION = 1, 2, 4
_TO_FUNCTION, _TO_KERNEL = 1, 2
_FUNCTION = struct.Struct("=II")  # struct bpf_func_info
_READ_ONLY = 0x80  # BPF_F_RDONLY_PROG
_SLEEPABLE = 0x10  # BPF_F_SLEEPABLE
#: Sections of programs that a link or its tracepoint attaches, or that are run.
_KINDS = (
    *("tp_btf", "raw_tp", "fentry", "fexit", "fmod_ret", "lsm", "iter"),
    *("cgroup_skb", "cgroup/", "syscall"),
)
_Value = TypeVar("_Value")
_FORM = 2
_LARGEST_WORD = (1 << 32) - 1


class MapPlan(NamedTuple):
    """One map, by what the kernel says of it.

    `inner_bytes` is the size of a value of the maps that this one holds, 0 for a map of
    data. `data` is what a map of constants holds.
    """

    info: MapInfo
    inner_bytes: int = 0
    data: bytes = b""


class ProgramPlan(NamedTuple):
    """One program: `maps` says which instruction takes the address of which map."""

    kind: int
    attach_kind: int
    attach_type: int
    flags: int
    maps: tuple[tuple[int, str], ...]
    code: bytes
    functions: bytes


@dataclass(slots=True)
class Plans:
    """All that is known of one object on one kernel; `facts` are its switches."""

    facts: dict[str, bool] = field(default_factory=dict)
    types: bytes = b""
    maps: dict[str, MapPlan] = field(default_factory=dict)
    programs: dict[str, ProgramPlan] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def learn(
        self,
        found: BpfObject,
        names: Iterable[str],
        maps: Mapping[str, BpfMap],
        inner_bytes: Mapping[str, int],
    ) -> None:
        """Note how libbpf made `maps`, and how it loaded the programs `names`.

        Maps are noted at the first call only. Programs that only libbpf can load again
        are left out.
        """
        if not self.maps:
            self.types = found.types()
            self.maps = {
                name: _map_plan(each, inner_bytes.get(name, 0))
                for name, each in maps.items()
            }
        for name in names:
            plan = _program_plan(found, name, {each.fd: k for k, each in maps.items()})
            if plan is not None:
                self.programs[name] = plan

    def to_bytes(self, key: Mapping[str, object], boot: str) -> bytes:
        """Return all of it: a checksum, a line of JSON, what that calls by length."""
        blobs: list[bytes] = []

        def plain(value: object) -> object:
            if isinstance(value, bytes):
                blobs.append(value)
                return {"bytes": len(value)}
            if isinstance(value, dict):
                return {name: plain(each) for name, each in value.items()}
            return value

        plans = {
            "facts": self.facts,
            "types": self.types,
            "maps": {name: _plain_map(each) for name, each in self.maps.items()},
            "programs": {name: each._asdict() for name, each in self.programs.items()},
            "refused": self.refused,
        }
        head = {"form": _FORM, "key": key, "boot": boot, "plans": plain(plans)}
        text = b"\n".join((json.dumps(head).encode(), b"".join(blobs)))
        return b"%08x\n%b" % (crc32(text), text)


def read_plans(data: bytes, key: Mapping[str, object], boot: str) -> Plans | None:
    """Return what `Plans.to_bytes` wrote, None when it does not hold here and now.

    A program that was refused may be allowed after the next boot: a refusal holds for
    this boot only.
    """
    checksum, _, text = data.partition(b"\n")
    if checksum != b"%08x" % crc32(text):
        return None
    line, _, rest = text.partition(b"\n")
    at = 0

    def full(value: dict[str, object]) -> object:
        nonlocal at
        if value.keys() != {"bytes"}:
            return value
        start = at
        at += _word(value["bytes"])
        return rest[start:at]

    try:
        head = json.loads(line, object_hook=full)
        if head["form"] != _FORM or head["key"] != key or at != len(rest):
            return None
        found = _plans(**head["plans"])
        is_same_boot = head["boot"] == boot
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    except (RecursionError, MemoryError):
        return None
    if not is_same_boot:
        found.refused = {}
    return found


def _plans(
    facts: object, types: object, maps: object, programs: object, refused: object
) -> Plans:
    """Return plans of which every value has its type.

    Raises:
        ValueError, TypeError, KeyError: one has not.
    """
    return Plans(
        {_a(str, name): _a(bool, fact) for name, fact in _a(dict, facts).items()},
        _a(bytes, types),
        {name: _map(each) for name, each in _a(dict, maps).items()},
        {name: _program(each) for name, each in _a(dict, programs).items()},
        {_a(str, name): _a(str, why) for name, why in _a(dict, refused).items()},
    )


def _plain_map(plan: MapPlan) -> dict[str, object]:
    more = {"inner_bytes": plan.inner_bytes, "data": plan.data}
    return {**plan.info._asdict(), **more}


def _map(values: dict[str, object]) -> MapPlan:
    name, data = _a(str, values.pop("kernel_name")), _a(bytes, values.pop("data"))
    inner_bytes = _word(values.pop("inner_bytes"))
    numbers = {key: _word(each) for key, each in values.items()}
    return MapPlan(MapInfo(kernel_name=name, **numbers), inner_bytes, data)


def _program(values: dict[str, object]) -> ProgramPlan:
    pairs = _a(list, values.pop("maps"))
    maps = tuple((_word(at), _a(str, name)) for at, name in pairs)
    code, functions = _a(bytes, values.pop("code")), _a(bytes, values.pop("functions"))
    numbers = {key: _word(each) for key, each in values.items()}
    return ProgramPlan(maps=maps, code=code, functions=functions, **numbers)


def _a(kind: type[_Value], value: object) -> _Value:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} is expected")
    return value


def _word(value: object) -> int:
    if not 0 <= (number := _a(int, value)) <= _LARGEST_WORD:
        raise ValueError("a number of 32 bits is expected")
    return number


def _map_plan(found: BpfMap, inner_bytes: int) -> MapPlan:
    """Return how to make a map again that libbpf has made."""
    info = map_info(found.fd)
    data = found.lookup(bytes(4)) if info.flags & _READ_ONLY else b""
    return MapPlan(info, inner_bytes, data)


def _program_plan(
    found: BpfObject, name: str, names_of_maps: Mapping[int, str]
) -> ProgramPlan | None:
    """Return how to load a program again that libbpf has loaded.

    `names_of_maps` are by descriptor. None: it is of a kind that libbpf is needed for.
    """
    section = found.programs()[name].lstrip("?")
    attachment = program_attachment(found.program_fd(name))
    if attachment is None or not section.startswith(_KINDS):
        return None
    code = found.code(name)
    uses, starts = _walk(code)
    if uses is None or any(fd not in names_of_maps for _, fd in uses):
        return None
    if len(starts) != len(attachment.function_types):
        return None  # the kernel has left one out
    kind, attach_kind = found.kinds(name)
    pairs = zip(starts, attachment.function_types, strict=True)
    return ProgramPlan(
        kind,
        attach_kind,
        attachment.type_id,
        _SLEEPABLE if _is_sleepable(section) else 0,
        tuple((at, names_of_maps[fd]) for at, fd in uses),
        code,
        b"".join(_FUNCTION.pack(*pair) for pair in pairs),
    )


def _is_sleepable(section: str) -> bool:
    return section == "syscall" or section.partition("/")[0].endswith(".s")


def _walk(code: bytes) -> tuple[list[tuple[int, int]] | None, list[int]]:
    """Return (instruction, descriptor) where maps are used, and where functions begin.

    No uses at all are returned for a program that calls into a kernel module.
    """
    uses: list[tuple[int, int]] = []
    starts = {0}
    is_second = False
    for at, (what, registers, offset, value) in enumerate(
        _INSTRUCTION.iter_unpack(code)
    ):
        source = registers >> 4
        if is_second:
            is_second = False
        elif what == _LOAD_ADDRESS:
            is_second = True
            if source in (_OF_MAP, _IN_MAP):
                uses.append((at, value))
            elif source == _OF_FUNCTION:
                starts.add(at + 1 + value)
        elif what == _CALL and source == _TO_FUNCTION:
            starts.add(at + 1 + value)
        elif what == _CALL and source == _TO_KERNEL and offset:
            return None, []
    return uses, sorted(starts)


def with_maps(plan: ProgramPlan, fds: Mapping[str, int]) -> bytes:
    """Return the instructions of a program with the descriptors of its maps."""
    code = bytearray(plan.code)
    for at, name in plan.maps:
        struct.pack_into("=i", code, at * _INSTRUCTION.size + 4, fds[name])
    return bytes(code)
