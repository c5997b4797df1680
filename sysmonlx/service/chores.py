# SPDX-License-Identifier: MIT
"""The daemon's chores: its regular work besides reading records.

They are due every second, and every other second while no record comes.
"""

from __future__ import annotations

import time

from sysmonlx.host import memory
from sysmonlx.host.machine import measure_boot_offset
from sysmonlx.pipeline.correlation_news import CorrelationNews
from sysmonlx.service import systemd
from sysmonlx.service.metrics_writer import MetricsWriter
from sysmonlx.service.reader import Reader
from sysmonlx.service.requests import Requests
from sysmonlx.service.rereading import Rereading
from sysmonlx.service.standing import Standing
from sysmonlx.service.storing import Storing
from sysmonlx.service.wiring import Parts

#: Memory is trimmed in every 60th round of chores, for the first time in the fifth: the
#: first hashes are done then. All objects are looked at the first time, and every 30th.
_TRIM_EVERY, _TRIM_FIRST, _LOOK_AT_ALL_EVERY = 60, 5, 30


class Chores:
    """The chores by name, in the order in which `do_all` does them."""

    def __init__(
        self,
        parts: Parts,
        reader: Reader,
        requests: Requests,
        rereading: Rereading,
        storing: Storing,
        metrics: MetricsWriter,
        standing: Standing,
        manager: systemd.Reports,
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._rereading = rereading
        self._storing = storing
        self._standing = standing
        self._manager = manager
        self._rounds = self._trims = 0
        self._trimmed_after: dict[str, int] | None = None
        self._news = CorrelationNews()
        self._all = (
            self._renew_clock_and_names,
            storing.look,
            requests.expire,
            self._put_kernel_side_right,
            self._find_lost_processes,
            self._tell_overdue_questions,
            self._tell_of_correlations,
            rereading.look,
            self._tell_of_files,
            parts.capture.keep,
            parts.capture.told_programs.side_band.follow_processors,
            parts.capture.quiet_requests.look,
            self._trim_memory,
            metrics.write,
            parts.output.attend,
            self._tell_of_readers,
            self._tell_manager,
        )

    def do_all(self) -> None:
        """Do one round of all chores; a chore that fails keeps no other back."""
        for chore in self._all:
            try:
                chore()
            except Exception as error:  # it is told by event 255, and tried again
                self._parts.pipeline.account.note(error)
        self._parts.output.flush()
        self._parts.health.note_echo()

    def _renew_clock_and_names(self) -> None:
        """Follow the clock and the files of names; tell the kernel names learnt."""
        parts = self._parts
        parts.context.set_clock(measure_boot_offset())
        parts.aside.renew()
        self._reader.look_at_names()
        for uid, name in parts.users.names.take_learnt().items():
            parts.filter.add_user(uid, name)

    def _put_kernel_side_right(self) -> None:
        """Look whether others changed programs or maps, and report what they did."""
        at_rest = self._reader.is_at_rest
        self._parts.health.tell(self._parts.guard.look(at_rest=at_rest))

    def _find_lost_processes(self) -> None:
        """Report losses; where records of processes are among them, look at all."""
        parts = self._parts
        parts.processes.expire(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if parts.health.check() or parts.processes.unknown:
            parts.census.repeat()
        else:
            parts.census.follow_up()

    def _tell_overdue_questions(self) -> None:
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._parts.pipeline.dns.tell_overdue(boot_ns)

    def _tell_of_correlations(self) -> None:
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        texts = [*self._news.texts(self._parts.pipeline.correlator, boot_ns)]
        if texts:
            self._parts.health.tell(("Sigma", text) for text in texts)

    def _tell_of_readers(self) -> None:
        """Report readers of a socket that were dropped."""
        if texts := [*self._parts.output.news()]:
            self._parts.health.tell(("Reader", text) for text in texts)

    def _tell_of_files(self) -> None:
        """Report rules that are not stored, and a configuration file that hangs."""
        texts = [*self._storing.news(), *self._rereading.news()]
        if texts:
            self._parts.health.tell(("Configuration", text) for text in texts)

    def _trim_memory(self) -> None:
        self._rounds += 1
        if self._rounds % _TRIM_EVERY != _TRIM_FIRST:
            return
        received = dict(self._parts.pipeline.received)
        if received != self._trimmed_after:  # else nothing has happened since
            self._trimmed_after = received
            # Also cycles: none are meant to be there.
            memory.give_back(of_new=self._trims % _LOOK_AT_ALL_EVERY != 0)
            self._trims += 1

    def _tell_manager(self) -> None:
        self._manager.status(self._standing.status())
