# SPDX-License-Identifier: MIT
"""Maps and programs made by plans: used as a `BpfObject` is, without an object file."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ctypes import Structure, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p

from sysmonlx.bpf.held_programs import HeldPrograms
from sysmonlx.bpf.libbpf import BtfPointer, MapPointer
from sysmonlx.bpf.object import BpfMap, create_zero
from sysmonlx.bpf.program_cache import MapPlan, Plans, ProgramPlan, with_maps


class _MapOptions(Structure):
    """struct bpf_map_create_opts of libbpf 1.0, as far as we set it."""

    _fields_ = (
        ("size", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
    )


class _LoadOptions(Structure):
    """struct bpf_prog_load_opts of libbpf 1.0, as far as we set it."""

    _fields_ = (
        ("size", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_char_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
    )


class PreparedMap(BpfMap):
    """A map made by its plan."""

    def __init__(self, fd: int, plan: MapPlan, max_entries: int) -> None:
        super().__init__(MapPointer())
        self._fd = fd
        self._plan = plan
        self._max_entries = max_entries

    @property
    def fd(self) -> int:
        """The map's file descriptor."""
        return self._fd

    @property
    def max_entries(self) -> int:
        """Number of entries, or the ring buffer's size in bytes."""
        return self._max_entries

    @property
    def value_bytes(self) -> int:
        """Size of one value, on one processor."""
        return self._plan.info.value_bytes


class PreparedObject(HeldPrograms):
    """Maps and programs by plans; `maps` of another object may be shared."""

    def __init__(self, plans: Plans) -> None:
        super().__init__()
        self._plans = plans
        self._types = self._lib.bpf_btf_load(plans.types, len(plans.types), None)
        self._made: list[int] = [self._types]
        self.btf = self._lib.btf__new(plans.types, len(plans.types))

    def close(self) -> None:
        """Detach and unload everything."""
        super().close()
        for fd in self._made:
            os.close(fd)
        self._made.clear()
        if self.btf:
            self._lib.btf__free(self.btf)
            self.btf = BtfPointer()

    def make_maps(
        self, sizes: Mapping[str, int], constants: bytes
    ) -> dict[str, PreparedMap]:
        """Make all maps; `sizes` are other numbers of entries, `constants` .rodata.

        Raises:
            LibbpfError: the kernel refuses one.
        """
        found = {}
        for name, plan in self._plans.maps.items():
            entries = sizes.get(name, plan.info.max_entries)
            fd = self._make_map(plan, entries)
            self._made.append(fd)
            data = constants if name == ".rodata" else plan.data
            if data:
                self._lib.bpf_map_update_elem(fd, bytes(4), data, 0)
                self._lib.bpf_map_freeze(fd)
            found[name] = PreparedMap(fd, plan, entries)
        return found

    def _make_map(self, plan: MapPlan, entries: int) -> int:
        info = plan.info
        has_types = info.key_type or info.value_type
        options = _MapOptions(
            size=ctypes.sizeof(_MapOptions),
            btf_fd=self._types if has_types else 0,
            btf_key_type_id=info.key_type,
            btf_value_type_id=info.value_type,
            map_flags=info.flags,
        )
        inner = -1
        if plan.inner_bytes:
            inner = create_zero("inner", plan.inner_bytes)
            options.inner_map_fd = inner
        try:
            return int(
                self._lib.bpf_map_create(
                    info.kind,
                    info.kernel_name.encode(),
                    info.key_bytes,
                    info.value_bytes,
                    entries,
                    byref(options),
                )
            )
        finally:
            if inner >= 0:
                os.close(inner)

    def load(
        self, names: Iterable[str], maps: Mapping[str, BpfMap], threads: int = 0
    ) -> None:
        """Load programs; the verifier takes most of the time.

        Args:
            names: The programs; there is a plan for each.
            maps: The maps that they use, by name.
            threads: How many threads load, this one included; 0: one a processor.

        Raises:
            LibbpfError: the kernel refuses one.
            KeyError, struct.error: a plan is damaged.
        """
        plans = {name: self._plans.programs[name] for name in names}
        waiting = sorted(plans, key=lambda name: len(plans[name].code))
        fds = {name: each.fd for name, each in maps.items()}
        loaded: dict[str, int] = {}
        errors: list[Exception] = []

        def work() -> None:
            with suppress(IndexError):  # nothing waits any more
                while not errors:
                    name = waiting.pop()
                    try:
                        loaded[name] = self._load(name, plans[name], fds)
                    except Exception as error:
                        errors.append(error)  # raised below, where it is heard

        most = threads or len(os.sched_getaffinity(0))
        others = _started(work, min(most, len(waiting)) - 1)
        work()
        for each in others:
            _wait_for_end(each)
        for name, fd in loaded.items():
            self._hold(name, fd, plans[name].attach_kind)
        if errors:
            raise errors[0]

    def _load(self, name: str, plan: ProgramPlan, fds: Mapping[str, int]) -> int:
        options = _LoadOptions(
            size=ctypes.sizeof(_LoadOptions),
            expected_attach_type=plan.attach_kind,
            prog_btf_fd=self._types,
            prog_flags=plan.flags,
            attach_btf_id=plan.attach_type,
            func_info=plan.functions,
            func_info_cnt=len(plan.functions) // 8,
            func_info_rec_size=8,
        )
        code = with_maps(plan, fds)
        return int(
            self._lib.bpf_prog_load(
                plan.kind, name.encode(), b"GPL", code, len(code) // 8, byref(options)
            )
        )


def _started(work: Callable[[], None], count: int) -> list[threading.Thread]:
    """Return threads that work: `count`, or fewer where the kernel gives no more."""
    threads: list[threading.Thread] = []
    with suppress(RuntimeError):  # the kernel gives no thread
        for _ in range(count):
            thread = threading.Thread(target=work)
            thread.start()
            threads.append(thread)
    return threads


def _wait_for_end(thread: threading.Thread) -> None:
    """Wait until the kernel has removed a thread; join() returns a moment earlier.

    The caller drops capabilities next, and no other thread may keep them.
    """
    thread.join()
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):
        time.sleep(0.0005)
