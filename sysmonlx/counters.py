# SPDX-License-Identifier: MIT
"""What the kernel side counts for each kind of record."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from sysmonlx.btf import Btf, Kind
from sysmonlx.decode import Layouts


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """What the kernel side counted for one record type, summed over processors."""

    seen: int
    filtered: int
    submitted: int
    lost: tuple[int, ...]


class Counters:
    """Reads the map `counters`: a struct record_counters for each processor."""

    def __init__(self, btf: Btf, layouts: Layouts) -> None:
        self._class = btf.ctype(btf.find("record_counters", Kind.STRUCT))
        self._layouts = layouts
        self.size_bytes = (ctypes.sizeof(self._class) + 7) & ~7
        """What the counters of one processor take in a lookup."""

    def sum(self, data: bytes) -> dict[str, RecordCounts]:
        """Return the counts by record name, from those of all processors."""
        starts = range(0, len(data), self.size_bytes)
        parts = [self._class.from_buffer_copy(data, start) for start in starts]
        return {
            name: RecordCounts(
                sum(part.seen[number] for part in parts),
                sum(part.filtered[number] for part in parts),
                sum(part.submitted[number] for part in parts),
                tuple(
                    sum(part.lost[number][reason] for part in parts)
                    for reason in range(len(self._layouts.reasons))
                ),
            )
            for name, number in self._layouts.number.items()
        }
