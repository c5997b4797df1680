# SPDX-License-Identifier: MIT
"""The counters of the kernel side, for each kind of record."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from sysmonlx.bpf.btf import Btf
from sysmonlx.capture.records import Layouts


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """The counts of one record type, summed over processors."""

    seen: int
    filtered: int
    submitted: int
    left_out: int
    lost: tuple[int, ...]


class Counters:
    """Reads the map `counters`: a struct record_counters for each processor."""

    def __init__(self, btf: Btf, layouts: Layouts) -> None:
        counters = btf.structure("record_counters")
        names = ("seen", "filtered", "submitted", "left_out", "lost")
        arrays = [getattr(counters, name) for name in names]
        self._layouts = layouts
        #: Where each array of 64-bit words begins, in words.
        self._starts = [each.offset // 8 for each in arrays]
        self._lost_end = arrays[-1].offset + arrays[-1].size
        self.size_bytes = (ctypes.sizeof(counters) + 7) & ~7
        """The bytes that the counters of one processor take in a lookup."""

    def losses(self, data: bytes) -> bytes:
        """Return the raw counters of losses of all processors."""
        return b"".join(
            data[at + 8 * self._starts[-1] : at + self._lost_end]
            for at in range(0, len(data), self.size_bytes)
        )

    def sum(self, data: bytes) -> dict[str, RecordCounts]:
        """Return the counts by record name, from those of all processors."""
        words, step = memoryview(data).cast("Q"), self.size_bytes // 8
        reasons = range(len(self._layouts.reasons))
        seen, filtered, submitted, left_out, lost = self._starts

        def total(at: int) -> int:
            return sum(words[at::step])

        return {
            name: RecordCounts(
                total(seen + number),
                total(filtered + number),
                total(submitted + number),
                total(left_out + number),
                tuple(total(lost + number * len(reasons) + each) for each in reasons),
            )
            for name, number in self._layouts.number.items()
        }
