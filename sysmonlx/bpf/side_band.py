# SPDX-License-Identifier: MIT
"""eBPF programs that get an id, as perf_event_open(2) tells them beside its events.

The kernel writes a PERF_RECORD_BPF_EVENT for each program, whoever loads it: also for
one that another program loads, which is in no system call of its own. A record
PERF_RECORD_KSYMBOL before it has the program's name. Each processor has a ring of its
own, mapped here; to read it asks nobody. Layouts: <linux/perf_event.h>.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import struct
from collections.abc import Iterator
from contextlib import suppress
from errno import ENODEV
from typing import NamedTuple

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_ONLINE = "/sys/devices/system/cpu/online"

#: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY, CLOCK_BOOTTIME, PERF_FLAG_FD_CLOEXEC.
_SOFTWARE, _DUMMY, _BOOTTIME, _CLOEXEC = 1, 9, 7, 8
#: PERF_SAMPLE_TID and _TIME: thread and time stand at the end of each record.
_SAMPLE = 1 << 1 | 1 << 2
#: watermark, sample_id_all, use_clockid, ksymbol, bpf_event: bits of perf_event_attr.
_FLAGS = 1 << 14 | 1 << 18 | 1 << 25 | 1 << 29 | 1 << 30
#: The reader is woken when this many bytes are there.
_WATERMARK = 1
_ATTRIBUTES = struct.Struct("=IIQQQQQI40xi16x")

#: A program that is loaded and goes again takes 270 bytes: this is room for 240 of
#: them, on each processor. The kernel lets a user lock 516 KiB for each.
_DATA_BYTES = max(64 << 10, mmap.PAGESIZE)
#: Where there is less room than this, the next record may have been lost. The kernel
#: says so in front of the first one that finds room again, which may be much later.
_LARGEST = 128
#: Words of struct perf_event_mmap_page: data_head and data_tail.
_HEAD, _TAIL = 1024 // 8, 1032 // 8

_LOST, _KSYMBOL, _BPF_EVENT = 2, 17, 18
_LOADED = 1  # PERF_BPF_EVENT_PROG_LOAD
_HEADER = struct.Struct("=IHH")
_LOST_COUNT = struct.Struct("=8x8xQ")
_PROGRAM = struct.Struct("=8xHHI")
_NAME_AT = 24
_END = struct.Struct("=IIQ")
_PREFIX = b"bpf_prog_"
_PREFIX_BYTES = len(_PREFIX) + 16 + 1  # with the tag and an underscore
#: BPF_OBJ_NAME_LEN, without the NUL: symbols have longer names than programs.
_NAME_BYTES = 15
_MOST_NAMES = 256


class ToldProgram(NamedTuple):
    """An eBPF program that the kernel gave an id, and the thread that loaded it.

    `boot_ns` is when, in nanoseconds since boot. `name` is b"" where the kernel did not
    tell it.
    """

    boot_ns: int
    tgid: int
    tid: int
    program_id: int
    name: bytes


class SideBand:
    """Reads which eBPF programs perf tells, from `open` to `close`.

    The descriptor of `fileno` is the same all the time. It is readable when perf has
    told something new.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._rings: dict[int, _PerfRing] = {}
        #: By thread, for the program that comes next.
        self._names: dict[int, bytes] = {}
        self.lost = 0
        """Records of the kernel that found no room in a ring, since the start.

        A program has up to four records; two of them tell its end.
        """

    def open(self) -> None:
        """Have perf tell programs that are loaded from now on, on all processors.

        Raises:
            OSError: the kernel refuses perf_event_open(2).
        """
        try:
            for processor in _online():
                self._add(processor)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Have perf tell nothing more; `open` may follow."""
        for processor in [*self._rings]:
            self._remove(processor)

    @property
    def is_open(self) -> bool:
        """Whether perf tells programs now."""
        return bool(self._rings)

    def end(self) -> None:
        """Close the rings and the descriptor of `fileno`; nothing may follow."""
        self.close()
        self._epoll.close()

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._epoll.fileno()

    def follow_processors(self) -> None:
        """Open a ring for each processor that came online; close those of the others.

        Raises:
            OSError: the kernel refuses a new ring.
        """
        online = {*_online()} if self._rings else self._rings.keys()
        if online == self._rings.keys():
            return
        for processor in self._rings.keys() - online:
            self._remove(processor)
        for processor in online - self._rings.keys():
            self._add(processor)

    def read(self) -> list[ToldProgram]:
        """Return the programs loaded since the last call, the earliest first."""
        self._epoll.poll(0)  # else it stays readable
        found = [each for ring in self._rings.values() for each in self._records(ring)]
        found.sort()
        return [*self._programs(found)]

    def _programs(self, found: list[_Told]) -> Iterator[ToldProgram]:
        """Yield the loaded programs of these records, each with its name.

        The name is in the first symbol that the same thread got before the program.
        """
        names = self._names
        for boot_ns, kind, tgid, tid, data in found:
            if kind == _BPF_EVENT:
                what, _, program_id = _PROGRAM.unpack_from(data)
                name = names.pop(tid, b"")
                if what == _LOADED:
                    yield ToldProgram(boot_ns, tgid, tid, program_id, name)
            elif data.startswith(_PREFIX, _NAME_AT):
                names.setdefault(tid, _name_of(data))
        if len(names) > _MOST_NAMES:  # their programs were lost
            names.clear()

    def _records(self, ring: _PerfRing) -> Iterator[_Told]:
        data, at = ring.read(), 0
        if len(data) > _DATA_BYTES - _LARGEST:
            self.lost += ring.hint()
        while at < len(data):
            kind, _, size = _HEADER.unpack_from(data, at)
            if not _HEADER.size <= size <= len(data) - at:  # no record
                self.lost += 1
                return
            record = data[at : at + size]
            if kind == _LOST:
                self.lost += _LOST_COUNT.unpack_from(record)[0] - ring.take_hint()
            elif kind in (_KSYMBOL, _BPF_EVENT):
                tgid, tid, boot_ns = _END.unpack_from(record, size - _END.size)
                yield _Told(boot_ns, kind, tgid, tid, record)
            at += size

    def _add(self, processor: int) -> None:
        try:
            ring = _PerfRing(processor)
        except OSError as error:
            if error.errno == ENODEV:  # it went offline
                return
            raise
        self._rings[processor] = ring
        self._epoll.register(ring.fd, select.EPOLLIN)

    def _remove(self, processor: int) -> None:
        ring = self._rings.pop(processor)
        with suppress(OSError):
            self._epoll.unregister(ring.fd)
        ring.close()


class _Told(NamedTuple):
    """A record of a perf ring; `kind` is its type.

    Of records with one `boot_ns`, a symbol sorts before its program.
    """

    boot_ns: int
    kind: int
    tgid: int
    tid: int
    data: bytes


def _name_of(record: bytes) -> bytes:
    """Return the name of a program out of a record of its symbol.

    The symbol is "bpf_prog_", 16 digits of the tag, "_" and the name. The result is b""
    where no name stands there.
    """
    symbol = record[_NAME_AT : -_END.size].partition(b"\0")[0]
    return symbol[_PREFIX_BYTES:][:_NAME_BYTES]


class _PerfRing:
    """The mapped ring of perf on one processor."""

    def __init__(self, processor: int) -> None:
        self.fd = _perf_event_open(processor)
        try:
            self._map = mmap.mmap(self.fd, mmap.PAGESIZE + _DATA_BYTES)
        except BaseException:
            os.close(self.fd)
            raise
        self._words = memoryview(self._map).cast("Q")
        self._hints = 0

    def hint(self) -> int:
        """Note that a record was lost which the kernel has not told yet; return 1."""
        self._hints += 1
        return 1

    def take_hint(self) -> int:
        """Return how many were noted since the last call: the kernel tells them now."""
        hints, self._hints = self._hints, 0
        return hints

    def read(self) -> bytes:
        """Return the bytes of the new records, each whole, and give their room back."""
        head, tail = self._words[_HEAD], self._words[_TAIL]
        if head == tail:
            return b""
        begin = mmap.PAGESIZE + tail % _DATA_BYTES
        end, most = begin + head - tail, mmap.PAGESIZE + _DATA_BYTES
        data = self._map[begin : min(end, most)]
        if end > most:
            data += self._map[mmap.PAGESIZE : end - _DATA_BYTES]
        self._words[_TAIL] = head
        return data

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self.fd)


def _perf_event_open(processor: int) -> int:
    attributes = _ATTRIBUTES.pack(
        *(_SOFTWARE, _ATTRIBUTES.size, _DUMMY, 0, _SAMPLE, 0, _FLAGS, _WATERMARK),
        _BOOTTIME,
    )
    libc = ctypes.CDLL(None, use_errno=True)
    call = ctypes.c_long(_SYSCALL[os.uname().machine])
    whose, group = ctypes.c_int(-1), ctypes.c_int(-1)
    where, flags = ctypes.c_int(processor), ctypes.c_ulong(_CLOEXEC)
    fd = int(libc.syscall(call, attributes, whose, where, group, flags))
    if fd < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"perf_event_open: {os.strerror(errno)}")
    return fd


def _online() -> list[int]:
    """Return the numbers of the processors that are online.

    The kernel writes them as ranges: "0-3,6".
    """
    try:
        with open(_ONLINE, encoding="ascii") as file:
            ranges = [each.partition("-") for each in file.read().strip().split(",")]
        return [
            number
            for first, _, last in ranges
            for number in range(int(first), int(last or first) + 1)
        ]
    except (OSError, ValueError):  # no sysfs here
        return [*range(os.cpu_count() or 1)]
