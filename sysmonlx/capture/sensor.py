# SPDX-License-Identifier: MIT
"""The kernel side as it runs: hooks attached by what is wanted, variables, counters."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.libbpf import library, possible_cpus, program_asker
from sysmonlx.bpf.object_info import (
    LINK_OF_CGROUP,
    link_info,
    program_id,
    program_info,
)
from sysmonlx.bpf.ringbuffer import RingBuffer
from sysmonlx.capture.counters import Counters, RecordCounts
from sysmonlx.capture.floods import Floods
from sysmonlx.capture.hooks import (
    ALIVE_PROGRAM,
    CGROUP_PROGRAMS,
    FOLLOWERS,
    IDENTIFY_PROGRAM,
    NAME_PROGRAMS,
    PLACES,
    PROCESS_HOOKS,
    QUIET_SWEEP,
    SCAN_PROGRAM,
    Hook,
    program_of,
)
from sysmonlx.capture.kernel_facts import cgroup2_mount, shared_memory_device
from sysmonlx.capture.loader import Loaded, Loader, Object
from sysmonlx.capture.loading import Loading
from sysmonlx.capture.name_proof import NameProof
from sysmonlx.capture.quiet_requests import QuietRequests
from sysmonlx.capture.records import Layouts
from sysmonlx.capture.told_programs import ToldPrograms
from sysmonlx.errors import CaptureError, LibbpfError, SysmonlxError
from sysmonlx.host.file_identity import FILE_FIELDS, FILE_ID_FIELDS, FileId

#: Variables that programs set as well.
_CHANGED_BY_KERNEL = frozenset({"reader_pause"})
#: A thread that loads programs when all ends is waited for, for this time in seconds.
_END_OF_LOADING_S = 1.0
#: How long the end waits for the file of programs, in seconds.
_END_OF_KEEPING_S = 0.1


@dataclass(frozen=True, slots=True)
class Missing:
    """A hook that no group of programs could serve, and why."""

    hook: Hook
    program: str
    reason: str

    def __str__(self) -> str:
        return f"{self.hook.missing} ({self.program}: {self.reason})"


def load_capture(
    wanted: Iterable[Hook],
    ring_size_bytes: int,
    wake_bytes: int,
    object_path: Path | None = None,
    btf_path: str = "",
    keep_in: Path | None = None,
    *,
    only_reads: bool = False,
) -> Capture:
    """Load the programs of processes and of wanted hooks; nothing is attached yet.

    Args:
        wanted: Hooks whose programs are loaded now, all at once.
        ring_size_bytes: Size of the ring buffer, a power of two.
        wake_bytes: The kernel wakes the reader when this much waits in the ring buffer.
        object_path: The object file; None: the one that suits the running kernel.
        btf_path: File with the types of the kernel; empty: the kernel's own.
        keep_in: File that keeps between starts what libbpf found out; None: none does.
        only_reads: Take what is kept, and keep nothing.

    Raises:
        CaptureError, LibbpfError: processes cannot be watched at all, and why.
    """
    sizes = ring_size_bytes, wake_bytes
    loader = Loader(*sizes, object_path, btf_path, keep_in, only_reads=only_reads)
    loaded = loader.load_first(wanted)
    try:
        return Capture(loader, loaded)
    except BaseException:
        loaded.close()
        raise


class Capture:
    """Loaded programs and their maps; `load_capture` makes one.

    `attach_processes` comes first, then `want`, which attaches and detaches the hooks
    of a policy, also long after. `want` loads programs that are not loaded yet, unless
    `begin_loading` has had a thread load them before.
    """

    def __init__(self, loader: Loader, loaded: Loaded) -> None:
        """Take what `loader` has loaded; nothing is attached yet."""
        self._loader = loader
        self._loaded = loaded
        self._loading: Loading | None = None
        self._serving: dict[Hook, tuple[str, ...]] = {}
        self._cgroup_fd = -1
        self._set: dict[str, bytes] = {}
        self._names_fail: str | None = None
        self.missing: tuple[Missing, ...] = ()
        self.misses: dict[str, int] = {}
        """How often programs were kept from running, as `is_at_hook` saw it last."""
        self._numbers: dict[str, int] = {}  # of programs, as the kernel gave them
        self.maps = loaded.maps
        self.btf = btf = Btf(library(), loaded.objects[0].btf)
        self.layouts = Layouts(btf)
        #: `enum reader_pause`: what the reader and the programs tell each other.
        self.pauses = btf.enumerators("reader_pause")
        self._counters = Counters(btf, self.layouts)
        self._variables = btf.variables(".bss")
        self._bss = mmap.mmap(self.maps[".bss"].fd, mmap.PAGESIZE)
        self.set_variable("own_tgid", os.getpid())
        self.set_variable("shared_memory_device", shared_memory_device())
        ring = self.maps["records"]
        self.ring = RingBuffer(ring.fd, ring.max_entries)
        run = self._run_iterator
        self.told_programs = ToldPrograms(
            self.maps, self.layouts, self.set_variable, partial(run, ALIVE_PROGRAM)
        )
        self.quiet_requests = QuietRequests(self.variable, partial(run, QUIET_SWEEP))

    def keep(self) -> None:
        """Write down what was found out, where that is new, for the next start."""
        if self._loading is None:  # the thread does it
            self._loader.keep(self._loaded)

    def forget_modules(self) -> None:
        """Load later programs without the types of kernel modules; see `Loader`."""
        self._loader.forget_modules()

    def begin_loading(self, hooks: Iterable[Hook]) -> Loading | None:
        """Have a thread load what hooks need; None: all of it is loaded.

        Raises:
            CaptureError: no thread can be had, or one is loading programs already.
        """
        if self._loading is not None:
            if not self._loading.has_ended():
                raise CaptureError("Programs are being loaded already: try again")
            with suppress(SysmonlxError):  # of an update that was given up
                self.finish_loading()
        hooks = tuple(hooks)
        if self._loaded.lacks(hooks):
            self._loading = Loading(self._loader, self._loaded, hooks)
        return self._loading

    def finish_loading(self) -> None:
        """Use what a thread has loaded, when it has ended.

        Raises:
            CaptureError, LibbpfError: not everything could be loaded.
        """
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.finish()

    def attach_processes(self) -> None:
        """Attach what every event needs."""
        self._attach_all(PROCESS_HOOKS)
        if self.missing:
            raise CaptureError(f"cannot watch processes: {self.missing[0]}")

    def want(self, hooks: Iterable[Hook]) -> None:
        """Attach exactly the hooks of processes and these; the others are detached.

        Hooks that this kernel refuses are in `missing` afterwards.
        """
        wanted = tuple(hooks)
        for hook in set(self._serving) - {*wanted, *PROCESS_HOOKS}:
            gone = self._serving.pop(hook)
            if hook.has_side_band:
                self.told_programs.close()
            for program in set(gone).difference(*self._serving.values()):
                self._loaded.holder(program).detach(program)
                self._note_misses(program)
        self._loader.load(self._loaded, wanted)
        self._attach_all(wanted)
        self._prove_names()

    def _note_misses(self, name: str) -> None:
        """Take what a program has missed until now: it is looked at no more."""
        found, program_name = self._loaded.holder(name), program_of(name)
        with suppress(LibbpfError):
            program = program_info(found.program_fd(program_name))
            self.misses[program_name] = program.misses

    def set_variable(self, name: str, value: int) -> None:
        """Set a global variable of the programs (a number, in .bss)."""
        memory = self._variables[name].pack(value)
        offset = self._variables[name].offset
        self._bss[offset : offset + len(memory)] = memory
        self._set[name] = memory

    def restore_variables(self) -> list[str]:
        """Set the variables again that others have changed; return their names."""
        changed = []
        for name, memory in self._set.items():
            if name in _CHANGED_BY_KERNEL:
                continue
            offset = self._variables[name].offset
            if self._bss[offset : offset + len(memory)] != memory:
                self._bss[offset : offset + len(memory)] = memory
                changed.append(name)
        return changed

    def variable(self, name: str) -> int:
        """Return a global variable of the programs (a number, in .bss)."""
        return self._variables[name].read(self._bss)

    def mark_known(self, file: bytes) -> None:
        """Tell the kernel that execs of this file need not wake the reader.

        `file` are the bytes of a struct file_identity.
        """
        self.maps["known_files"].update(file, b"\1")

    def identifier(self) -> Callable[[int], FileId] | None:
        """Return a function that says to which file a descriptor of this process leads.

        It asks no file system, so it never waits. None: this kernel cannot say.
        """
        if IDENTIFY_PROGRAM not in self._loaded.programs:
            return None
        program = self._loaded.programs[IDENTIFY_PROGRAM].program_fd(IDENTIFY_PROGRAM)
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
        if SCAN_PROGRAM not in self._loaded.programs:
            raise CaptureError(f"no iterator over tasks: {self._loaded.refused}")
        data = self._loaded.programs[SCAN_PROGRAM].read_iterator(SCAN_PROGRAM)
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
        """Return the counters by record name, programs that perf told included."""
        return self.told_programs.added_to(self._counters.sum(self._raw_counters()))

    def losses(self) -> bytes:
        """Return bytes that change whenever a counter of losses changes."""
        counters = self._counters.losses(self._raw_counters())
        return counters + b"%d" % self.told_programs.side_band.lost

    def _raw_counters(self) -> bytes:
        size = self._counters.size_bytes * possible_cpus()
        return self.maps["counters"].lookup(bytes(4), size)

    def program_times(self) -> dict[str, tuple[int, int, int]]:
        """Return (run_time_ns, run_count, recursion_misses) of each loaded program."""
        return {
            name: program_info(found.program_fd(name))[1:]
            for name, found in self._loaded.programs.items()
        }

    def attached(self) -> frozenset[str]:
        """Return the names of all attached programs."""
        return frozenset().union(*(each.attached() for each in self._loaded.objects))

    def wanted_programs(self) -> frozenset[str]:
        """Return the names of all programs that serve a hook, attached or not."""
        return frozenset().union(*self._serving.values())

    def is_at_hook(self, name: str, *, by_link: bool = False) -> bool:
        """Ask the kernel whether an attached program is still where it belongs.

        `by_link` asks for the link alone, which is half of the work: it holds the
        program whose number was found before. `misses` are left as they were.
        """
        found, program_name = self._loaded.holder(name), program_of(name)
        try:
            link = link_info(found.link_fd(name))
            if not by_link or program_name not in self._numbers:
                program = program_info(found.program_fd(program_name))
                self._numbers[program_name] = program.number
                self.misses[program_name] = program.misses
        except KeyError:  # it is not attached
            return False
        except LibbpfError:  # somebody closed a descriptor of this process
            return False
        is_detached = link.kind == LINK_OF_CGROUP and not link.cgroup_id
        return link.program_id == self._numbers[program_name] and not is_detached

    def attach_again(self, name: str) -> None:
        """Attach a program that others have taken off its hook.

        If the program itself has gone, it is loaded anew for all places that share it.

        Raises:
            LibbpfError, OSError, CaptureError: it stays off, and why.
        """
        found, program_name = self._loaded.holder(name), program_of(name)
        places = {name}
        try:
            program_id(found.program_fd(program_name))
            is_gone = False
        except LibbpfError:  # with its descriptor
            is_gone = True
            held = found.attached()
            places |= {each for each in held if program_of(each) == program_name}
        for place in places & found.attached():
            self._let_go(found, place)
        if is_gone:
            hook = next(h for h, names in self._serving.items() if name in names)
            del self._loaded.programs[program_name]
            self._numbers.pop(program_name, None)
            self._loader.load(self._loaded, (hook,))
        for place in places:
            self._attach_surely(place)

    def _attach_surely(self, name: str) -> None:
        """Attach a program, also where the control group has become another one."""
        try:
            self._attach_program(name)
        except (LibbpfError, OSError):
            if name not in CGROUP_PROGRAMS:
                raise
            self._leave_cgroup()
            self._attach_program(name)
        for follower in FOLLOWERS.get(name, ()):
            if follower in self.attached():
                self._let_go(self._loaded.holder(follower), follower)
                self._attach_program(follower)

    def _attach_program(self, name: str) -> None:
        """Attach a program at its hook, by its name or that of its place."""
        found = self._loaded.holder(name)
        if name in PLACES:
            found.attach_at(name, PLACES[name].program, PLACES[name].tracepoint)
        else:
            found.attach(name, self._cgroup() if name in CGROUP_PROGRAMS else -1)

    def _leave_cgroup(self) -> None:
        fd, self._cgroup_fd = self._cgroup_fd, -1
        with suppress(OSError):
            if stat.S_ISDIR(os.fstat(fd).st_mode):  # else it is another file by now
                os.close(fd)

    def _let_go(self, found: Object, name: str) -> None:
        try:
            link_info(found.link_fd(name))
        except LibbpfError:  # the number may belong to another file by now
            found.forget(name)
        else:
            found.detach(name)

    def detach_all(self) -> None:
        """Stop seeing anything new; records in the ring can still be read."""
        for hook in tuple(self._serving):
            for program in self._serving.pop(hook):
                self._loaded.holder(program).detach(program)

    def close(self) -> None:
        """Detach everything and give the memory back."""
        self.ring.close()
        self.told_programs.end()
        self._bss.close()
        if self._cgroup_fd >= 0:
            os.close(self._cgroup_fd)
        if self._loading is not None:
            if not self._loading.has_ended(_END_OF_LOADING_S):
                return  # the thread uses the maps; they go with the process
            with suppress(SysmonlxError):
                self.finish_loading()
        self._loader.settle(_END_OF_KEEPING_S)
        self._loaded.close()

    def _attach_all(self, hooks: Iterable[Hook]) -> None:
        missing = []
        for hook in hooks:
            while hook not in self._serving:
                group = self._loaded.group(hook)
                if not group:
                    missing.append(self._why(hook))
                    break
                self._loader.load(self._loaded, (hook,))
                if group == self._loaded.group(hook) and self._attach(hook, group):
                    self._serving[hook] = group
        names = {each.hook.name for each in missing}
        self.missing = tuple(each for each in missing if each.hook.behind not in names)

    def _prove_names(self) -> None:
        """Try once whether calls tell their names; tell it if they do not."""
        hooks = [
            hook for hook, group in self._serving.items() if group == NAME_PROGRAMS
        ]
        if not hooks:
            return
        if self._names_fail is None:
            proof = NameProof(self.maps["proved_names"], self.set_variable)
            self._names_fail = proof.fails()
            self.set_variable("names_from_frames", not self._names_fail)
        if self._names_fail:
            self.missing += (Missing(hooks[0], "name_search", self._names_fail),)

    def _attach(self, hook: Hook, group: tuple[str, ...]) -> bool:
        attached: list[str] = []
        for name in group:
            try:
                if name in self._loaded.holder(name).attached():
                    continue  # another hook has it
                self._attach_program(name)
                attached.append(name)
                if hook.has_side_band:
                    self.told_programs.open()
            except (LibbpfError, OSError) as error:
                self._loaded.refused[name] = str(error)
                for each in attached:
                    self._loaded.holder(each).detach(each)
                return False
        return True

    def _run_iterator(self, name: str) -> bytes:
        return self._loaded.programs[name].read_iterator(name)

    def _cgroup(self) -> int:
        if self._cgroup_fd < 0:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._cgroup_fd = os.open(cgroup2_mount(), flags)
        return self._cgroup_fd

    def _why(self, hook: Hook) -> Missing:
        names = [name for group in hook.alternatives for name in group]
        name = next(each for each in names if self._loaded.refusal(each))
        return Missing(hook, name, self._loaded.refusal(name))


#: `size` in struct record_header; the scan reads it before any layout.
_SIZE = struct.Struct("=4xI")
