# SPDX-License-Identifier: MIT
"""How programs and maps get into the kernel: in batches that share the maps.

A batch is loaded by libbpf from the object file, or by plans that were kept when libbpf
loaded the same programs before. A program that the kernel refuses is noted, and the
next alternative of its hook is loaded instead.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from errno import EAGAIN, EINTR, ENOMEM, EPERM
from itertools import islice
from pathlib import Path

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.cache_file import Kept
from sysmonlx.bpf.cached_object import PreparedObject
from sysmonlx.bpf.held_programs import HeldPrograms, held_of
from sysmonlx.bpf.libbpf import library, possible_cpus
from sysmonlx.bpf.object import BpfMap, BpfObject
from sysmonlx.bpf.program_cache import Plans
from sysmonlx.bpf.refusal import NO_SUCH_HOOK, is_trampoline, reason_of
from sysmonlx.capture.hooks import (
    ATTACH_TYPES,
    IDENTIFY_PROGRAM,
    PLACES,
    PROCESS_HOOKS,
    SCAN_PROGRAM,
    Hook,
    program_of,
)
from sysmonlx.capture.kernel_facts import facts_of_kernel
from sysmonlx.errors import CaptureError, LibbpfError, SysmonlxError

OBJECT = Path(__file__).parents[1] / "sysmonlx.bpf.o"
#: The same programs for kernels without bpf_rdonly_cast(), v5.17 to v6.1.
UNCAST_OBJECT = OBJECT.with_name("sysmonlx_uncast.bpf.o")
#: The same programs for kernels without bpf_loop(), before v5.17.
OLDER_OBJECT = OBJECT.with_name("sysmonlx_older.bpf.o")
OBJECTS = (OBJECT, UNCAST_OBJECT, OLDER_OBJECT)
#: Maps of kinds that kernels without bpf_loop() lack, and programs for them do not use.
_OPTIONAL_MAPS = frozenset({"filter_processes"})
_FAILED_MAP = re.compile(r"map '(\w+)': failed to create")
_FAILED_PROGRAM = re.compile(r"prog '(\w+)': (?:BPF program load failed|failed to)")
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
#: Transient: a refusal with one of these errors is not kept for the next start.
_PASSING = (EAGAIN, EINTR, ENOMEM)

Object = BpfObject | HeldPrograms


@dataclass(slots=True)
class Loaded:
    """The loaded objects, programs and maps, and those that the kernel refused."""

    objects: list[Object] = field(default_factory=list)
    """In the order in which they were loaded; the maps belong to the first one."""
    programs: dict[str, Object] = field(default_factory=dict)
    """The object of each loaded program, by the name of the program."""
    maps: dict[str, BpfMap] = field(default_factory=dict)
    """By name; a global section is ".bss", ".rodata"."""
    omitted: set[str] = field(default_factory=set)
    """Names of maps that this kernel cannot make."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why a program was refused, by the name of the program."""
    lasting: dict[str, str] = field(default_factory=dict)
    """Those of `refused` that the next start would meet again."""
    inner_bytes: dict[str, int] = field(default_factory=dict)
    """Size of values of the maps in a map, in bytes, by the name of the outer map."""
    by_plan: PreparedObject | None = None
    """The object of all programs that were loaded by plans."""
    are_plans_wrong: bool = False
    has_news: bool = False
    """Whether there is something that the kept plans lack."""

    def copy(self) -> Loaded:
        """Return a copy to which another thread may add; the objects are the same."""
        return Loaded(
            [*self.objects],
            {**self.programs},
            {**self.maps},
            {*self.omitted},
            {**self.refused},
            {**self.lasting},
            {**self.inner_bytes},
            self.by_plan,
            self.are_plans_wrong,
            self.has_news,
        )

    def take_over(self, other: Loaded) -> None:
        """Add programs loaded into a copy; those loaded here meanwhile stay."""
        self.objects += [each for each in other.objects if each not in self.objects]
        self.programs = {**other.programs, **self.programs}
        self.refused = {**other.refused, **self.refused}
        self.lasting = {**other.lasting, **self.lasting}
        self.by_plan = self.by_plan or other.by_plan
        self.are_plans_wrong |= other.are_plans_wrong
        self.has_news |= other.has_news

    def group(self, hook: Hook) -> tuple[str, ...]:
        """Return the first group of programs of a hook of which none was refused."""
        for group in hook.alternatives:
            if not any(self.refusal(name) for name in group):
                return group
        return ()

    def refusal(self, name: str) -> str:
        """Return why a program, or its place, was refused; empty: it was not."""
        return self.refused.get(name, "") or self.refused.get(program_of(name), "")

    def holder(self, name: str) -> Object:
        """Return the object of a loaded program, by its name or that of a place.

        Raises:
            KeyError: it is not loaded.
        """
        return self.programs[program_of(name)]

    def lacks(self, hooks: Iterable[Hook]) -> set[str]:
        """Return the names of the programs that hooks need and that are not loaded."""
        names = {program_of(each) for hook in hooks for each in self.group(hook)}
        return names - self.programs.keys()

    def close(self) -> None:
        """Detach and unload everything."""
        for each in reversed(self.objects):
            each.close()


class Loader:
    """Loads programs of the object file that suits the running kernel.

    How programs fit this kernel, as libbpf found out at an earlier start, is read
    from the file `keep_in`. `keep` writes it there, unless `only_reads` is set.
    """

    def __init__(
        self,
        ring_size_bytes: int,
        wake_bytes: int,
        object_path: Path | None = None,
        btf_path: str = "",
        keep_in: Path | None = None,
        *,
        only_reads: bool = False,
    ) -> None:
        """Find out what the kernel offers.

        Raises:
            CaptureError: its types are not known, or the object file is missing.
        """
        self._btf_path = btf_path
        self._kept = Kept(keep_in, OBJECTS, btf_path, may_write=not only_reads)
        self._kept.read()
        plans = self.plans
        facts = plans.facts = plans.facts or facts_of_kernel(btf_path)
        self._entries = {"records": ring_size_bytes, "task_scratch": possible_cpus()}
        self._constants: dict[str, int | bool] = {
            "wake_bytes": wake_bytes,
            "shared_bytes": ring_size_bytes // 4 * 3,
            **facts,
        }
        self.path = object_path or _suitable_object(facts)
        if not self.path.exists():
            raise CaptureError(f"{self.path} is missing: build it with make bpf")

    @property
    def plans(self) -> Plans:
        """The plans of programs: how each was loaded the last time on this kernel."""
        return self._kept.plans

    def load_first(self, wanted: Iterable[Hook]) -> Loaded:
        """Load the programs of processes, those of `wanted`, and those that are run.

        Raises:
            CaptureError, LibbpfError: nothing stays loaded.
        """
        loaded = Loaded(refused=dict(self.plans.refused))
        for name, place in PLACES.items():
            # To attach would fail, but only after the verifier's work.
            if not self.plans.facts[place.fact]:
                loaded.refused[name] = NO_SUCH_HOOK
        hooks = (*PROCESS_HOOKS, *wanted)
        try:
            self.load(loaded, hooks, (SCAN_PROGRAM,), (IDENTIFY_PROGRAM,))
        except BaseException:
            loaded.close()
            raise
        return loaded

    def load(
        self,
        loaded: Loaded,
        hooks: Iterable[Hook],
        *extras: tuple[str, ...],
        threads: int = 0,
    ) -> None:
        """Load what hooks need and is not loaded, without what the kernel refuses.

        Args:
            loaded: Gets what is loaded and what is refused.
            hooks: Of each the first group of programs that the kernel takes is loaded.
            extras: Of each the first program that the kernel takes is loaded, too.
            threads: How many threads load programs by plans; 0: one a processor.

        Raises:
            CaptureError, LibbpfError: the kernel refuses something else than a program.
        """
        hooks = tuple(hooks)
        while True:
            names = loaded.lacks(hooks)
            for extra in extras:
                taken = (name for name in extra if name not in loaded.refused)
                names |= {*islice(taken, 1)} - loaded.programs.keys()
            names -= self._load_by_plan(loaded, names, threads)
            if not names or self._load_by_libbpf(loaded, names):
                return

    def keep(self, loaded: Loaded) -> None:
        """Write down what libbpf found out, where that is new, for the next start."""
        if not loaded.has_news or self._kept.is_busy:
            return
        loaded.has_news = False
        if loaded.are_plans_wrong:
            loaded.are_plans_wrong = False
            self.plans.programs.clear()
        self.plans.refused.update(loaded.lasting)
        for found in loaded.objects:
            if isinstance(found, BpfObject):
                names = {name for name, at in loaded.programs.items() if at is found}
                maps = {
                    name: each
                    for name, each in _by_short_name(found).items()
                    if name in loaded.maps
                }
                self.plans.learn(found, names, maps, loaded.inner_bytes)
        self._kept.write()
        for found in loaded.objects[1:]:
            if isinstance(found, BpfObject) and not found.attached():
                self._slim(loaded, found)

    def settle(self, timeout_s: float) -> None:
        """Wait for what `keep` writes, this long at most."""
        self._kept.settle(timeout_s)

    def _slim(self, loaded: Loaded, found: BpfObject) -> None:
        """Keep of an object, whose maps nobody uses, no more than its programs."""
        names = {name for name, at in loaded.programs.items() if at is found}
        if not names <= self.plans.programs.keys():
            return
        kinds = {name: self.plans.programs[name].attach_kind for name in names}
        if (held := held_of(found, kinds)) is not None:
            loaded.objects[loaded.objects.index(found)] = held
            loaded.programs.update(dict.fromkeys(names, held))

    def forget_modules(self) -> None:
        """Load later programs without the types of kernel modules.

        libbpf 1.1 fails where it may not list them, which takes CAP_SYS_ADMIN. It does
        not try to when it is told where the types of the kernel are.
        """
        self._btf_path = self._btf_path or _KERNEL_BTF

    def _load_by_plan(self, loaded: Loaded, names: set[str], threads: int) -> set[str]:
        """Load those of `names` that there are plans for; return them."""
        names = names & self.plans.programs.keys()
        if not names or loaded.are_plans_wrong:
            return set()
        try:
            if loaded.by_plan is None:
                loaded.by_plan = PreparedObject(self.plans)
                loaded.objects.append(loaded.by_plan)
            if not loaded.maps:
                self._make_maps(loaded, loaded.by_plan)
            loaded.by_plan.load(names, loaded.maps, threads)
        except (SysmonlxError, LookupError, ValueError, TypeError, struct.error):
            loaded.are_plans_wrong = True  # libbpf will say what is wrong
            return set()
        loaded.programs.update(dict.fromkeys(names, loaded.by_plan))
        return names

    def _make_maps(self, loaded: Loaded, found: PreparedObject) -> None:
        constants = bytearray(self.plans.maps[".rodata"].data)
        variables = Btf(library(), found.btf).variables(".rodata")
        for name, value in self._constants.items():
            if name in variables:
                packed = variables[name].pack(value)
                at = variables[name].offset
                constants[at : at + len(packed)] = packed
        loaded.maps = dict(found.make_maps(self._entries, bytes(constants)))
        loaded.omitted = set(_OPTIONAL_MAPS - loaded.maps.keys())

    def _load_by_libbpf(self, loaded: Loaded, names: set[str]) -> bool:
        """Load these programs. False: one was refused, or a map; that is noted."""
        loaded.has_news = True
        found = BpfObject(os.fspath(self.path), self._btf_path)
        try:
            sections = found.programs()
            for name in ATTACH_TYPES.keys() & sections.keys():
                found.set_attach_type(name, ATTACH_TYPES[name])
            if absent := names - sections.keys():
                self._note_absent(loaded, absent)
                found.close()
                return False
            for name in sections:
                found.set_autoload(name, name in names)
            self._prepare(loaded, found)
            found.load()
        except LibbpfError as error:
            found.close()
            _note_refusal(loaded, error, {name: sections[name] for name in names})
            return False
        except BaseException:
            found.close()
            raise
        loaded.objects.append(found)
        loaded.programs.update(dict.fromkeys(names, found))
        if not loaded.maps:
            loaded.maps = _by_short_name(found)
            for name in loaded.omitted:  # they have no descriptor
                del loaded.maps[name]
        return True

    def _note_absent(self, loaded: Loaded, names: set[str]) -> None:
        """Note programs as refused which the object for older kernels does not have.

        Raises:
            CaptureError: it is another object, which should have all programs.
        """
        if self.path != OLDER_OBJECT:
            raise CaptureError(f"{self.path} has no program {min(names)}")
        loaded.refused.update(dict.fromkeys(names, "needs a newer kernel"))

    def _prepare(self, loaded: Loaded, found: BpfObject) -> None:
        """Adjust the maps of an object before it is loaded."""
        maps = _by_short_name(found)
        for name in loaded.omitted:
            maps[name].omit()
        for name, known in loaded.maps.items():
            if name != ".rodata":
                maps[name].reuse(known.fd)
        if not loaded.maps:
            loaded.inner_bytes = {n: each.inner_bytes() for n, each in maps.items()}
            for name, entries in self._entries.items():
                maps[name].resize(entries)
        address, _ = maps[".rodata"].initial_value()
        variables = Btf(library(), found.btf).variables(".rodata")
        for name, variable in variables.items():
            if name in self._constants:
                packed = variable.pack(self._constants[name])
                ctypes.memmove(address + variable.offset, packed, len(packed))


def _suitable_object(facts: Mapping[str, bool]) -> Path:
    if facts["has_rdonly_cast"]:
        return OBJECT
    return UNCAST_OBJECT if facts["has_bpf_loop"] else OLDER_OBJECT


def _note_refusal(loaded: Loaded, error: LibbpfError, sections: dict[str, str]) -> None:
    """Note the program or the map that the kernel refused.

    Programs of the same kind are noted as well where the kernel refuses the kind.

    Args:
        loaded: Gets the refusal.
        error: What libbpf said.
        sections: The section of each program that was to be loaded, by its name.

    Raises:
        CaptureError: the error is about nothing that can be left out.
    """
    failed = {*_FAILED_MAP.findall(error.log)} & _OPTIONAL_MAPS - loaded.omitted
    if failed:
        loaded.omitted.add(min(failed))
        return
    match = _FAILED_PROGRAM.search(error.log)
    if match is None or match[1] not in sections:
        log = error.log.strip().splitlines()
        raise CaptureError(
            f"the kernel refuses the eBPF programs: {error}"
            + (f" ({log[-1]})" if log else "")
        ) from error
    refused = {match[1]}
    if error.errno == EPERM and is_trampoline(sections[match[1]]):
        refused |= {name for name, each in sections.items() if is_trampoline(each)}
    found = dict.fromkeys(refused, reason_of(error))
    loaded.refused.update(found)
    if error.errno not in _PASSING:
        loaded.lasting.update(found)


def _by_short_name(found: BpfObject) -> dict[str, BpfMap]:
    """Return the maps by name, global sections without the object's name."""
    return {
        name[name.rfind(".") :] if "." in name else name: each
        for name, each in found.maps().items()
    }
