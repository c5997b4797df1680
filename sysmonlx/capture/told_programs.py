# SPDX-License-Identifier: MIT
"""Records of eBPF programs that perf tells, and how none is reported twice.

The hook of bpf(2) reports most programs. perf tells all of them. The map
`programs_told` has an entry for each program that was reported by either of the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from errno import EEXIST
from typing import NamedTuple

from sysmonlx.bpf.object import BpfMap
from sysmonlx.bpf.side_band import SideBand, ToldProgram
from sysmonlx.capture.counters import RecordCounts
from sysmonlx.capture.records import Layouts
from sysmonlx.errors import LibbpfError

#: Name of the record that is made of what perf tells.
PROGRAM_RECORD = "bpf_program_load"
_NO_EXIST = 1  # BPF_NOEXIST
_ONE_ENTRY = b"\1"
#: NO_PROGRAM_TYPE in ebpf/record.h.
_NO_TYPE = 0xFFFFFFFF


class LiveProgram(NamedTuple):
    """What the kernel keeps of a program: its type, its name, and who loaded it."""

    kind: int
    name: bytes
    uid: int


class ToldPrograms:
    """The side band of programs, with what makes records of it.

    Args:
        maps: Those of the programs in the kernel, by name.
        layouts: Where the fields of records lie.
        set_variable: Sets a variable of the programs in the kernel.
        read_alive: Runs the iterator over all eBPF programs, see ebpf/hooks.
    """

    def __init__(
        self,
        maps: Mapping[str, BpfMap],
        layouts: Layouts,
        set_variable: Callable[[str, bool], None],
        read_alive: Callable[[], bytes],
    ) -> None:
        self._maps = maps
        self._layouts = layouts
        self._set_variable = set_variable
        self._read_alive = read_alive
        self._layout = layouts.by_name[PROGRAM_RECORD]
        self._read = self._layout.reader("uid", "program_id", "program_type", "name")
        self.side_band = SideBand()
        self.count = 0
        """Records that were made of what perf told."""

    def open(self) -> None:
        """Have perf tell programs from now on; one that is loaded now may be missed.

        Raises:
            OSError: the kernel refuses.
        """
        self._set_variable("programs_by_perf", True)
        try:
            self.side_band.open()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Have perf tell no more programs; `open` may follow."""
        self._set_variable("programs_by_perf", False)
        self.side_band.close()

    def end(self) -> None:
        """Close the side band for good."""
        self.side_band.end()

    def alive(self) -> dict[int, LiveProgram]:
        """Return the eBPF programs that the kernel has now, by id.

        The result is empty where the kernel refuses to list them.
        """
        try:
            data = self._read_alive()
        except (LibbpfError, OSError):
            return {}
        found, size = {}, self._layout.size
        for at in range(0, len(data), size):
            uid, program_id, kind, name = self._read(data[at : at + size])
            found[program_id] = LiveProgram(kind, name, uid)
        return found

    def claim(self, program_id: int) -> bool:
        """Tell whether the program is perf's to report; note that it is reported.

        It is not where the hook of bpf(2) has reported it. After True the hook leaves
        it out.
        """
        key = program_id.to_bytes(4, sys.byteorder)
        try:
            self._maps["programs_told"].update(key, _ONE_ENTRY, _NO_EXIST)
        except LibbpfError as error:
            return error.errno != EEXIST
        return True

    def fork_untold(self, tgid: int) -> bytes:
        """Return the process_fork record of a process that the kernel has not sent yet.

        The result is b"" where there is none.
        """
        key = tgid.to_bytes(4, sys.byteorder)
        size = self._layouts.by_name["process_fork"].size
        try:
            return self._maps["untold_forks"].lookup(key, size)
        except LibbpfError:
            return b""

    def record(
        self, told: ToldProgram, live: LiveProgram | None, who: tuple[int, int, int]
    ) -> bytes:
        """Return a bpf_program_load record of a program, and count it in `count`.

        Args:
            told: What perf told of the program.
            live: What the kernel has of the program; None: the program had gone when
                the service looked.
            who: The process that loaded it: start_boot_ns, exec_id and uid. The uid is
                used only where `live` is None.
        """
        start_boot_ns, exec_id, uid = who
        kind, name, uid = live or LiveProgram(_NO_TYPE, told.name, uid)
        self.count += 1
        return self._layout.encode(
            type=self._layouts.number[PROGRAM_RECORD],
            size=self._layout.size,
            boot_ns=told.boot_ns,
            start_boot_ns=start_boot_ns,
            tgid=told.tgid,
            exec_id=exec_id,
            tid=told.tid,
            uid=uid,
            program_id=told.program_id,
            program_type=kind,
            name=name,
        )

    def added_to(self, counts: dict[str, RecordCounts]) -> dict[str, RecordCounts]:
        """Return the kernel's counters with the programs that perf told added.

        They count as if the ring buffer had carried them. Records that found no room in
        perf's rings count as lost (ring full).
        """
        made, lost = self.count, self.side_band.lost
        if made or lost:
            before = counts[PROGRAM_RECORD]
            at = self._layouts.reasons.index("ring full")
            losses = [*before.lost]
            losses[at] += lost
            counts[PROGRAM_RECORD] = replace(
                before,
                seen=before.seen + made + lost,
                submitted=before.submitted + made,
                lost=tuple(losses),
            )
        return counts
