# SPDX-License-Identifier: MIT
"""Writes the counters to the file of `MetricsFile`, where the policy names one."""

from __future__ import annotations

import time

from sysmonlx.service.metrics import MetricsFile
from sysmonlx.service.own_events import OwnEvents
from sysmonlx.service.prometheus import prometheus
from sysmonlx.service.standing import Standing
from sysmonlx.service.statistics import Statistics

#: Longest wait for the removal of the file at the end, in seconds.
_REMOVAL_S = 0.5
#: Where nothing has happened the file is written again after this time in seconds: to
#: collect all counters costs as much as all else that an idle service does.
_REST_S = 10.0


class MetricsWriter:
    """Has the file written by another thread; an event says why there is none."""

    def __init__(
        self, statistics: Statistics, standing: Standing, own_events: OwnEvents
    ) -> None:
        self._statistics = statistics
        self._standing = standing
        self._own_events = own_events
        self._file = MetricsFile()
        self._told = ""
        self._path = ""
        self._counted: tuple[int, ...] = ()
        self._rests_until_s = 0.0

    @property
    def trouble(self) -> str:
        """Why the file is not written at present, with its path; else empty."""
        return self._file.trouble

    def write(self) -> None:
        """Write all counters, seldom while nothing is counted.

        The same trouble is reported only once.
        """
        path = self._standing.policy.settings.metrics_file
        is_new, self._path = path != self._path, path
        if not path:
            self._file.end()
            return
        is_busy = self._file.is_busy()
        if self.trouble not in ("", self._told):
            self._told = self.trouble
            self._own_events.error("MetricsFile", self.trouble)
        if is_new or not (is_busy or self._rests()):
            self._file.write(path, prometheus(self._statistics.collect(())).encode())

    def _rests(self) -> bool:
        """Say whether what was written will do for a while."""
        now_s = time.monotonic()
        before, self._counted = self._counted, self._statistics.signs()
        if self._counted == before and now_s < self._rests_until_s:
            return not self.trouble
        self._rests_until_s = now_s + _REST_S
        return False

    def close(self) -> None:
        """Remove the file: old counters would look like new ones."""
        self._file.end(_REMOVAL_S)
