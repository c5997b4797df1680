# SPDX-License-Identifier: MIT
"""The kernel side, loaded and attached: programs by what is wanted, maps, counters."""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from errno import EAGAIN, EINTR, ENOMEM, EPERM
from itertools import islice
from pathlib import Path
from typing import Any

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.cache_file import Kept
from sysmonlx.bpf.cached_object import PreparedObject
from sysmonlx.bpf.libbpf import (
    LINK_OF_CGROUP,
    library,
    link_info,
    possible_cpus,
    program_asker,
    program_id,
    program_info,
)
from sysmonlx.bpf.object import BpfMap, BpfObject
from sysmonlx.bpf.refusal import is_trampoline, reason_of
from sysmonlx.bpf.ringbuffer import RingBuffer
from sysmonlx.capture.counters import Counters, RecordCounts
from sysmonlx.capture.floods import Floods
from sysmonlx.capture.hooks import IDENTIFY_PROGRAM, PROCESS_HOOKS, SCAN_PROGRAM, Hook
from sysmonlx.capture.kernel_facts import cgroup2_mount, facts_of_kernel
from sysmonlx.capture.records import Layouts
from sysmonlx.errors import CaptureError, LibbpfError, SysmonlxError
from sysmonlx.host.file_identity import FILE_FIELDS, FILE_ID_FIELDS, FileId

OBJECT = Path(__file__).parents[1] / "sysmonlx.bpf.o"
#: The same programs for kernels without bpf_loop(), before v5.17.
OLDER_OBJECT = Path(__file__).parents[1] / "sysmonlx_older.bpf.o"
#: Maps of kinds that kernels without bpf_loop() lack, and programs for them do not use.
_OPTIONAL_MAPS = frozenset({"filter_processes"})
_FAILED_MAP = re.compile(r"map '(\w+)': failed to create")
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_FAILED_PROGRAM = re.compile(r"prog '(\w+)': (?:BPF program load failed|failed to)")
#: Errors that the next start need not meet.
_PASSING = (EAGAIN, EINTR, ENOMEM)
#: Variables that programs set as well.
_CHANGED_BY_KERNEL = frozenset({"reader_sleeps"})


@dataclass(frozen=True, slots=True)
class Missing:
    """A hook that no group of programs could serve, and why."""

    hook: Hook
    program: str
    reason: str

    def __str__(self) -> str:
        return f"{self.hook.missing} ({self.program}: {self.reason})"


class Capture:
    """Loaded programs and their maps. Programs come in batches that share the maps.

    `load`, then `attach_processes`, then `want`, which attaches and detaches the rest,
    also long after. CaptureError: processes cannot be watched at all, and why.
    Which object suits the kernel is found out unless one is given. What was found out
    is read from the file `keep_in`, and written to it by `keep`.
    """

    def __init__(
        self,
        ring_size_bytes: int,
        wake_bytes: int,
        object_path: Path | None = None,
        btf_path: str = "",
        keep_in: Path | None = None,
    ) -> None:
        self._path = os.fspath(object_path or "")
        self._btf_path = btf_path
        self._kept = Kept(keep_in, (OBJECT, OLDER_OBJECT), btf_path)
        self._ring_size_bytes = ring_size_bytes
        self._rodata: dict[str, int | bool] = {
            "wake_bytes": wake_bytes,
            "shared_bytes": ring_size_bytes // 4 * 3,
        }
        self._objects: list[BpfObject | PreparedObject] = []
        self._loaded: dict[str, BpfObject | PreparedObject] = {}
        self._prepared: PreparedObject | None = None
        self._refused: dict[str, str] = {}
        self._omitted: set[str] = set()
        self._has_news = False
        self._inner_bytes: dict[str, int] = {}
        self._serving: dict[Hook, tuple[str, ...]] = {}
        self._cgroup_fd = -1
        self._set: dict[str, bytes] = {}
        self.missing: tuple[Missing, ...] = ()
        self.misses: dict[str, int] = {}
        """How often programs were kept from running, as `is_at_hook` saw it last."""
        self.maps: dict[str, BpfMap] = {}

    def load(self, wanted: Iterable[Hook] = ()) -> None:
        """Load the programs of processes and of `wanted`; nothing is attached yet."""
        self._kept.read()
        plans = self._kept.plans
        self._refused.update(plans.refused)
        facts = plans.facts = plans.facts or facts_of_kernel(self._btf_path)
        self._rodata.update(facts)
        if not self._path:
            self._path = str(OBJECT if facts["has_bpf_loop"] else OLDER_OBJECT)
        if not os.path.exists(self._path):
            raise CaptureError(f"{self._path} is missing: build it with make bpf")
        hooks = (*PROCESS_HOOKS, *wanted)
        self._load_for(hooks, (SCAN_PROGRAM,), (IDENTIFY_PROGRAM,))
        base = self._objects[0]
        btf = Btf(library(), base.btf)
        self.btf = btf
        self.layouts = Layouts(btf)
        self._counters = Counters(btf, self.layouts)
        self._variables = btf.variables(".bss")
        self._bss = mmap.mmap(self.maps[".bss"].fd, mmap.PAGESIZE)
        self.set_variable("own_tgid", os.getpid())
        ring = self.maps["records"]
        self.ring = RingBuffer(ring.fd, ring.max_entries)

    def keep(self) -> None:
        """Write down what was found out, where that is new, for the next start."""
        if not self._has_news:
            return
        self._has_news = False
        for found in self._objects:
            if isinstance(found, BpfObject):
                names = {name for name, each in self._loaded.items() if each is found}
                maps = {
                    k: v for k, v in _by_short_name(found).items() if k in self.maps
                }
                self._kept.plans.learn(found, names, maps, self._inner_bytes)
        self._kept.write()

    def forget_modules(self) -> None:
        """Load later programs without the types of kernel modules.

        libbpf 1.1 fails where it may not list them, which takes CAP_SYS_ADMIN. It does
        not try to when it is told where the types of the kernel are.
        """
        self._btf_path = self._btf_path or _KERNEL_BTF

    def attach_processes(self) -> None:
        """Attach what every event needs."""
        self._attach_all(PROCESS_HOOKS)
        if self.missing:
            raise CaptureError(f"cannot watch processes: {self.missing[0]}")

    def want(self, hooks: Iterable[Hook]) -> None:
        """Attach exactly the hooks of processes and these; the others are detached.

        What cannot be had is in `missing` afterwards.
        """
        wanted = tuple(hooks)
        for hook in set(self._serving) - {*wanted, *PROCESS_HOOKS}:
            gone = self._serving.pop(hook)
            for program in set(gone).difference(*self._serving.values()):
                self._loaded[program].detach(program)
        self._load_for(wanted)
        self._attach_all(wanted)

    def set_variable(self, name: str, value: Any) -> None:
        """Set a global variable of the programs (scalar, in .bss)."""
        offset, kind = self._variables[name]
        memory = bytes(kind(value))
        self._bss[offset : offset + len(memory)] = memory
        self._set[name] = memory

    def restore_variables(self) -> list[str]:
        """Set the variables again that others have changed; return their names."""
        changed = []
        for name, memory in self._set.items():
            if name in _CHANGED_BY_KERNEL:
                continue
            offset, _ = self._variables[name]
            if self._bss[offset : offset + len(memory)] != memory:
                self._bss[offset : offset + len(memory)] = memory
                changed.append(name)
        return changed

    def variable(self, name: str) -> Any:
        """Return a global variable of the programs (scalar, in .bss)."""
        offset, kind = self._variables[name]
        return kind.from_buffer_copy(self._bss, offset).value

    def mark_known(self, file: bytes) -> None:
        """Tell the kernel that execs of this file need not wake the reader.

        `file` are the bytes of a struct file_identity.
        """
        self.maps["known_files"].update(file, b"\1")

    def identifier(self) -> Callable[[int], FileId] | None:
        """Return what says to which file a descriptor of this process leads.

        It asks no file system, so it never waits. None: this kernel cannot say.
        """
        if IDENTIFY_PROGRAM not in self._loaded:
            return None
        program = self._loaded[IDENTIFY_PROGRAM].program_fd(IDENTIFY_PROGRAM)
        layout = self.layouts.by_name["process_create"]
        read, file = layout.reader(*FILE_ID_FIELDS), layout.span(*FILE_FIELDS)
        nothing = bytes(file.stop - file.start)
        before, behind = bytes(file.start), bytes(layout.size - file.stop)

        ask = program_asker(program, len(nothing) + 8)

        def identify(fd: int) -> FileId:
            found = ask(nothing + fd.to_bytes(8, sys.byteorder))[:-8]
            return FileId(*read(before + found + behind))

        return identify

    def scan(self) -> list[bytes]:
        """Return a process_scan record of every running process.

        Those of user space have the flag ARGS_UNREADABLE: an iterator that read their
        memory could wait for whoever serves their pages.

        Raises:
            CaptureError: the iterator could not be loaded.
            LibbpfError, OSError: it cannot be run now.
        """
        if SCAN_PROGRAM not in self._loaded:
            raise CaptureError(f"no iterator over tasks: {self._refused}")
        data = self._loaded[SCAN_PROGRAM].read_iterator(SCAN_PROGRAM)
        records, at, end = [], 0, len(data)
        while at < end:
            (size,) = _SIZE.unpack_from(data, at)
            records.append(data[at : at + size])
            at += size
        return records

    def floods(self) -> Floods:
        """Return the maps by which floods are sampled."""
        return Floods(self.maps, self.btf)

    def counts(self) -> dict[str, RecordCounts]:
        """Return the kernel's counters by record name."""
        return self._counters.sum(self._raw_counters())

    def losses(self) -> bytes:
        """Return what is another as soon as a counter of losses is."""
        return self._counters.losses(self._raw_counters())

    def _raw_counters(self) -> bytes:
        size = self._counters.size_bytes * possible_cpus()
        return self.maps["counters"].lookup(bytes(4), size)

    def program_times(self) -> dict[str, tuple[int, int, int]]:
        """Return (run_time_ns, run_count, recursion_misses) of each loaded program."""
        return {
            name: program_info(found.program_fd(name))[1:]
            for name, found in self._loaded.items()
        }

    def attached(self) -> frozenset[str]:
        """Return the names of all attached programs."""
        return frozenset().union(*(each.attached() for each in self._objects))

    def wanted_programs(self) -> frozenset[str]:
        """Return the names of all programs that serve a hook, attached or not."""
        return frozenset().union(*self._serving.values())

    def is_at_hook(self, name: str) -> bool:
        """Ask the kernel whether an attached program is still where it belongs."""
        found = self._loaded[name]
        try:
            link = link_info(found.link_fd(name))
            program = program_info(found.program_fd(name))
        except KeyError:  # it is not attached
            return False
        except LibbpfError:  # somebody closed a descriptor of this process
            return False
        self.misses[name] = program.misses
        is_detached = link.kind == LINK_OF_CGROUP and not link.cgroup_id
        return link.program_id == program.number and not is_detached

    def attach_again(self, name: str) -> None:
        """Attach a program that others have taken off its hook.

        Raises:
            LibbpfError, OSError, CaptureError: it stays off, and why.
        """
        found = self._loaded[name]
        if name in found.attached():
            self._let_go(found, name)
        hook = next(h for h, names in self._serving.items() if name in names)
        try:
            program_id(found.program_fd(name))
        except LibbpfError:  # the program has gone with its descriptor
            del self._loaded[name]
            self._load_for((hook,))
            found = self._loaded[name]
        if hook.kind != "cgroup":
            found.attach(name)
            return
        try:
            found.attach(name, self._cgroup())
        except (LibbpfError, OSError):  # the cgroup may be another one by now
            self._leave_cgroup()
            found.attach(name, self._cgroup())

    def _leave_cgroup(self) -> None:
        fd, self._cgroup_fd = self._cgroup_fd, -1
        with suppress(OSError):
            if stat.S_ISDIR(os.fstat(fd).st_mode):  # else it is another file by now
                os.close(fd)

    def _let_go(self, found: BpfObject | PreparedObject, name: str) -> None:
        try:
            link_info(found.link_fd(name))
        except LibbpfError:  # the number may belong to another file by now
            found.forget(name)
        else:
            found.detach(name)

    def detach_all(self) -> None:
        """Stop seeing anything new; what is in the ring can still be read."""
        for hook in tuple(self._serving):
            for program in self._serving.pop(hook):
                self._loaded[program].detach(program)

    def close(self) -> None:
        """Detach everything and give the memory back."""
        if hasattr(self, "ring"):
            self.ring.close()
            self._bss.close()
        for found in reversed(self._objects):
            found.close()
        if self._cgroup_fd >= 0:
            os.close(self._cgroup_fd)

    def _load_for(self, hooks: Iterable[Hook], *extras: tuple[str, ...]) -> None:
        """Load what hooks need and is not loaded, without what the kernel refuses.

        Of each of `extras` the first that the kernel takes is loaded too.
        """
        hooks = tuple(hooks)
        while True:
            names = {name for hook in hooks for name in self._group(hook)}
            for extra in extras:
                taken = (name for name in extra if name not in self._refused)
                names |= set(islice(taken, 1))
            names -= self._loaded.keys()
            if not names:
                return
            if self._load(names):
                return

    def _group(self, hook: Hook) -> tuple[str, ...]:
        """Return the first group of programs that the kernel has not refused."""
        for group in hook.alternatives:
            if not any(name in self._refused for name in group):
                return group
        return ()

    def _load(self, names: set[str]) -> bool:
        """Load these programs; False: one was refused, it is noted."""
        names = names - self._load_prepared(names)
        if not names:
            return True
        self._has_news = True
        found = BpfObject(self._path, self._btf_path)
        try:
            known = found.programs()
            for name in names - known.keys():
                raise CaptureError(f"{self._path} has no program {name}")
            for name in known:
                found.set_autoload(name, name in names)
            self._prepare(found)
            found.load()
        except LibbpfError as error:
            sections = found.programs()
            found.close()
            self._refuse(error, {name: sections[name] for name in names})
            return False
        self._objects.append(found)
        self._loaded.update(dict.fromkeys(names, found))
        if not self.maps:
            self.maps = _by_short_name(found)
            for name in self._omitted:  # they have no descriptor
                del self.maps[name]
        return True

    def _load_prepared(self, names: set[str]) -> set[str]:
        """Load those of `names` that there are plans for; return them."""
        plans = self._kept.plans
        names = names & plans.programs.keys()
        if not names:
            return names
        try:
            if self._prepared is None:
                self._prepared = PreparedObject(plans)
                self._objects.append(self._prepared)
            if not self.maps:
                self._make_maps(self._prepared)
            self._prepared.load(names, self.maps)
        except (SysmonlxError, LookupError, ValueError, TypeError, struct.error):
            plans.programs.clear()  # libbpf will say what is wrong
            return set()
        self._loaded.update(dict.fromkeys(names, self._prepared))
        return names

    def _make_maps(self, found: PreparedObject) -> None:
        plans = self._kept.plans
        constants = bytearray(plans.maps[".rodata"].data)
        variables = Btf(library(), found.btf).variables(".rodata")
        for name, value in self._rodata.items():
            if name in variables:
                offset, kind = variables[name]
                kind.from_buffer(constants, offset).value = value
        sizes = {"records": self._ring_size_bytes, "task_scratch": possible_cpus()}
        self.maps = dict(found.make_maps(sizes, bytes(constants)))
        self._omitted = set(_OPTIONAL_MAPS - self.maps.keys())

    def _refuse(self, error: LibbpfError, sections: dict[str, str]) -> None:
        """Note the program or map refused, and the programs alike that would be."""
        for name in {*_FAILED_MAP.findall(error.log)} & _OPTIONAL_MAPS - self._omitted:
            self._omitted.add(name)
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
        self._refused.update(found)
        if error.errno not in _PASSING:
            self._kept.plans.refused.update(found)

    def _prepare(self, found: BpfObject) -> None:
        maps = _by_short_name(found)
        for name in self._omitted:
            maps[name].omit()
        for name, known in self.maps.items():
            if name != ".rodata":
                maps[name].reuse(known.fd)
        if not self.maps:
            self._inner_bytes = {n: each.inner_bytes() for n, each in maps.items()}
            maps["records"].resize(self._ring_size_bytes)
            maps["task_scratch"].resize(possible_cpus())
        address, _ = maps[".rodata"].initial_value()
        for name, (offset, kind) in (
            Btf(library(), found.btf).variables(".rodata").items()
        ):
            if name in self._rodata:
                kind.from_address(address + offset).value = self._rodata[name]

    def _attach_all(self, hooks: Iterable[Hook]) -> None:
        missing = []
        for hook in hooks:
            while hook not in self._serving:
                group = self._group(hook)
                if not group:
                    missing.append(self._why(hook))
                    break
                self._load_for((hook,))
                if group == self._group(hook) and self._attach(hook, group):
                    self._serving[hook] = group
        self.missing = tuple(missing)

    def _attach(self, hook: Hook, group: tuple[str, ...]) -> bool:
        attached: list[str] = []
        for name in group:
            try:
                if name in self._loaded[name].attached():
                    continue  # another hook has it
                cgroup = self._cgroup() if hook.kind == "cgroup" else -1
                self._loaded[name].attach(name, cgroup)
                attached.append(name)
            except (LibbpfError, OSError) as error:
                self._refused[name] = str(error)
                for each in attached:
                    self._loaded[each].detach(each)
                return False
        return True

    def _cgroup(self) -> int:
        if self._cgroup_fd < 0:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._cgroup_fd = os.open(cgroup2_mount(), flags)
        return self._cgroup_fd

    def _why(self, hook: Hook) -> Missing:
        names = [name for group in hook.alternatives for name in group]
        program = next(name for name in names if name in self._refused)
        return Missing(hook, program, self._refused[program])


#: `size` in struct record_header; the scan reads it before any layout.
_SIZE = struct.Struct("=4xI")


def _by_short_name(found: BpfObject) -> dict[str, BpfMap]:
    """Return the maps by name, global sections without the object's name."""
    return {
        name[name.rfind(".") :] if "." in name else name: each
        for name, each in found.maps().items()
    }
