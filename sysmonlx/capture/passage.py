# SPDX-License-Identifier: MIT
"""Processes whose records the kernel's filter lets pass: `ebpf/filter/passage.bpf.h`.

Each has an entry that the kernel side itself gives up, after a time and after some
records. Without entries a variable says so, and the kernel side looks for none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.object import BpfMap
from sysmonlx.errors import LibbpfError

_MAP = "passing_processes"
_PROCESS = struct.Struct("=QII")  # struct passing_process
_PASSAGE = struct.Struct("=Qq")  # struct passage


class Passage:
    """The processes that pass now; on kernels without a filter there is nothing to do.

    `set_variable` is `Capture.set_variable`.
    """

    def __init__(
        self,
        maps: Mapping[str, BpfMap],
        btf: Btf,
        set_variable: Callable[[str, bool], None],
    ) -> None:
        self._map = maps.get(_MAP)
        self._set_variable = set_variable
        limits = btf.enumerators("passage_limit")
        self.most_processes = limits["PASSAGE_PROCESSES"]
        self._records = limits["PASSAGE_RECORDS"]
        self._passing: list[bytes] = []

    def let_pass(
        self, processes: Iterable[tuple[int, int]], until_boot_ns: int
    ) -> None:
        """Let records of these processes, pairs of tgid and start, reach user space.

        Raises:
            LibbpfError: the kernel refuses; none of them passes.
        """
        if self._map is None:
            return
        passage = _PASSAGE.pack(until_boot_ns, self._records)
        try:
            for tgid, start_boot_ns in processes:
                key = _PROCESS.pack(start_boot_ns, tgid, 0)
                self._map.update(key, passage)
                self._passing.append(key)
        except LibbpfError:
            self.end()
            raise
        self._set_variable("processes_pass", True)

    def end(self) -> None:
        """Let nobody pass any more."""
        passing, self._passing = self._passing, []
        if self._map is None or not passing:
            return
        self._set_variable("processes_pass", False)
        for key in passing:
            with suppress(LibbpfError):
                self._map.delete(key)
