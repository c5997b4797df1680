# SPDX-License-Identifier: MIT
"""Puts eBPF programs that perf told between the records of the ring buffer.

A record of the ring buffer names the process that acted, and which image of it. perf
names a process id and a time. The process table knows who that was when all records
from before that time, and none from after it, were taken.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

from sysmonlx.bpf.side_band import ToldProgram
from sysmonlx.capture.told_programs import LiveProgram, ToldPrograms
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable

#: Each look has the kernel tell all programs that it has. There may be this many looks
#: in a row, and then one in each pause of this time in seconds.
_LOOKS, SOON_S = 20, 0.01
#: Where nobody can be found: no process starts then, and no user has this number.
_NOBODY = (0, 0, 0xFFFFFFFF)
#: Looks for who loaded a program, one for each batch of records.
_TRIES = 3

_BOOT_NS = struct.Struct("=8xQ")

#: Takes records as the pipeline does.
Take = Callable[[Sequence[bytes]], None]


class _Waiting:
    """A program that perf told and of which no record was made yet.

    `tries` counts the looks for the process that loaded it.
    """

    __slots__ = ("live", "told", "tries")

    def __init__(self, told: ToldProgram, live: LiveProgram | None) -> None:
        self.told = told
        self.live = live
        self.tries = 0


class LoadedPrograms:
    """Makes a record of each program that perf tells, and hands it on at its time.

    Nothing here waits for another process.

    Args:
        programs: Reads what perf tells.
        processes: The process table, where the process that loaded one is found.
        own_pid: Programs that this process has loaded are left out.
        knows_pids: Whether perf names processes by the numbers of the initial pid
            namespace, as records do.
    """

    def __init__(
        self,
        programs: ToldPrograms,
        processes: ProcessTable,
        own_pid: int,
        *,
        knows_pids: bool,
    ) -> None:
        self._programs = programs
        self._processes = processes
        self._own_pid = own_pid
        self._knows_pids = knows_pids
        self._waiting: list[_Waiting] = []
        self._looks_left = float(_LOOKS)
        self._looked_s = 0.0
        self.is_due = False
        """Whether perf has told something that `look` has not read yet."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when perf has told something."""
        return self._programs.side_band.fileno()

    def note(self) -> None:
        """Note that perf has told something: set `is_due`."""
        self.is_due = True

    @property
    def is_waiting(self) -> bool:
        """Whether programs wait for their place between records."""
        return bool(self._waiting)

    def look(self) -> None:
        """Read the programs that perf told, unless looks are too many just now.

        Programs that the hook of bpf(2) has reported are left out.
        """
        if not self._may_look():
            return
        self.is_due = False
        new = [
            told
            for told in self._programs.side_band.read()
            if told.tgid != self._own_pid and self._programs.claim(told.program_id)
        ]
        if new:
            alive = self._programs.alive()
            self._waiting += [_Waiting(t, alive.get(t.program_id)) for t in new]

    def _may_look(self) -> bool:
        now_s = time.monotonic()
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        self._looks_left = min(self._looks_left + passed_s / SOON_S, _LOOKS)
        if self._looks_left < 1:
            return False
        self._looks_left -= 1
        return True

    def take_among(
        self, records: Sequence[bytes], take: Take, *, is_last: bool
    ) -> None:
        """Call `take` with the records, and with those of waiting programs, by time.

        Args:
            records: A batch of the ring buffer.
            take: Takes records, as the pipeline does.
            is_last: Whether the ring buffer is empty behind this batch. If so, no
                program waits any more when this returns.
        """
        waiting, self._waiting = self._waiting, []
        at = 0
        for each in waiting:
            end = _place(records, at, each.told.boot_ns)
            if end > at:
                take(records[at:end])
                at = end
            is_later = end == len(records) and not is_last
            if is_later or not self._tell(each, take):
                self._waiting.append(each)
        if at < len(records) or not records:
            take(records[at:])
        if is_last:
            late, self._waiting = self._waiting, []
            for each in late:
                self._tell(each, take, is_last_try=True)

    def _tell(self, each: _Waiting, take: Take, *, is_last_try: bool = False) -> bool:
        """Call `take` with the record of a program; return whether that was done.

        It is not done while the process that loaded the program may become known yet.
        """
        each.tries += 1
        is_last_try = is_last_try or each.tries >= _TRIES
        told = each.told if self._knows_pids else each.told._replace(tgid=0, tid=0)
        process = self._who(told, is_last_try=is_last_try)
        if process is None and not is_last_try:
            return False
        who = (
            (process.start_boot_ns, process.exec_id, process.uid)
            if process is not None
            else _NOBODY
        )
        take([self._programs.record(told, each.live, who)])
        return True

    def _who(self, told: ToldProgram, *, is_last_try: bool) -> Process | None:
        if not self._knows_pids:
            return None
        process = self._processes.at(told.tgid, told.boot_ns)
        if process is None and (fork := self._programs.fork_untold(told.tgid)):
            self._processes.fork(fork)
            process = self._processes.at(told.tgid, told.boot_ns)
        if process is None and is_last_try:
            process = self._processes.seek(told.tgid, told.boot_ns)
        return process


def _place(records: Sequence[bytes], begin: int, boot_ns: int) -> int:
    """Return the index of the first record later than a time, from `begin` on.

    `boot_ns` is in nanoseconds since boot. Where no record is later, the index is their
    number.
    """
    for at in range(begin, len(records)):
        data = records[at]
        if len(data) >= _BOOT_NS.size and _BOOT_NS.unpack_from(data)[0] > boot_ns:
            return at
    return len(records)
