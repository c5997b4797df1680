# SPDX-License-Identifier: MIT
"""The maps by which the kernel side counts floods and is told what to sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sysmonlx.bpf.btf import Btf
from sysmonlx.bpf.object import BpfMap
from sysmonlx.errors import LibbpfError


class Doer(NamedTuple):
    """The process whose record was the first that was counted for a pair."""

    tgid: int
    start_boot_ns: int
    exec_id: int


class Floods:
    """The maps that `ebpf/emit/flood.bpf.h` shares; `is_there` says whether it does."""

    def __init__(self, maps: Mapping[str, BpfMap], btf: Btf) -> None:
        self.is_there = {"flood_pairs", "flood_sampled"} <= maps.keys()
        if not self.is_there:
            return
        self._pairs, self._sampled = maps["flood_pairs"], maps["flood_sampled"]
        self._pair = btf.structure("flood_pair")
        self._count = btf.structure("flood_count")
        self._sampling = btf.structure("flood_sampled")
        limits = btf.enumerators("flood_limit")
        self.keep_one_in = limits["FLOOD_KEEP_ONE_IN"]
        self.fill = limits["FLOOD_FILL_PERCENT"] / 100
        self._limit = limits["FLOOD_PAIRS"]

    def counts(self) -> dict[Pair, tuple[int, Doer]]:
        """Return the number of records by pair, and the process of the first.

        Records count that a pair made while the ring was nearly full, also those that
        were left out.
        """
        found = {}
        for key in self._pairs.keys(bytes(self._pair()), self._limit):
            try:
                data = self._pairs.lookup(key)
            except LibbpfError:
                continue  # its place was given to another meanwhile
            pair, count = self._pair.from_buffer_copy(key), self._read(data)
            found[Pair(pair.image, pair.type, pair.uid)] = count
        return found

    def _read(self, data: bytes) -> tuple[int, Doer]:
        count = self._count.from_buffer_copy(data)
        return count.sent, Doer(count.tgid, count.start_boot_ns, count.exec_id)

    def sample(self, each: Sampled) -> bool:
        """Let the kernel sample a pair from now on; False: it has no room for more."""
        value = self._sampling(until_boot_ns=each.until_ns)
        try:
            self._sampled.update(self._key(each.pair), bytes(value))
        except LibbpfError:
            return False
        return True

    def report_again(self, pair: Pair) -> int:
        """Sample a pair no more; return how many records of it were left out."""
        key = self._key(pair)
        count = self._sampling.from_buffer_copy(self._sampled.lookup(key)).left_out
        self._sampled.delete(key)
        return int(count)

    def _key(self, pair: Pair) -> bytes:
        return bytes(self._pair(image=pair.image, type=pair.type, uid=pair.uid))


class Pair(NamedTuple):
    """Which image does what, and for which user: struct flood_pair in ebpf/."""

    image: int
    type: int
    uid: int


@dataclass(slots=True)
class Sampled:
    """A pair that is sampled, until a time of the boot clock."""

    pair: Pair
    until_ns: int
    hold_s: float
    title: str = ""
    """The name of the pair in the text of event 255."""
