# SPDX-License-Identifier: MIT
"""eBPF programs that perf tells beside, and how they are kept apart from the others.

The hook of bpf(2) tells most programs. perf tells all of them. The map `programs_told`
has an entry for each program that either of the two has told, so that none comes twice.
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
        """Be told of programs from now on; one that is loaded just now may be missed.

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
        """Be told of no more programs."""
        self._set_variable("programs_by_perf", False)
        self.side_band.close()

    def end(self) -> None:
        """Give everything back."""
        self.side_band.end()

    def alive(self) -> dict[int, LiveProgram]:
        """Return the programs that the kernel has now, by id; none: it refuses."""
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
        """Say whether the hook of bpf(2) has not told a program.

        Then it never will.
        """
        key = program_id.to_bytes(4, sys.byteorder)
        try:
            self._maps["programs_told"].update(key, _ONE_ENTRY, _NO_EXIST)
        except LibbpfError as error:
            return error.errno != EEXIST
        return True

    def fork_untold(self, tgid: int) -> bytes:
        """Return the record of a fork that was not sent yet; b"": there is none."""
        key = tgid.to_bytes(4, sys.byteorder)
        size = self._layouts.by_name["process_fork"].size
        try:
            return self._maps["untold_forks"].lookup(key, size)
        except LibbpfError:
            return b""

    def record(
        self, told: ToldProgram, live: LiveProgram | None, who: tuple[int, int, int]
    ) -> bytes:
        """Return a record of a program, and count it.

        Args:
            told: What perf told.
            live: What the kernel kept of it; None: the program had gone by then.
            who: The process: its start, the number of its image, and its user where
                `live` does not tell the one who loaded it.
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
        """Add what perf told to the kernel's counters, as if the ring had carried it.

        What found no room there is counted as lost by a full ring.
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
