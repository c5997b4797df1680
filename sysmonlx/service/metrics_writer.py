# SPDX-License-Identifier: MIT
"""Writes the counters to the file of `MetricsFile`, where the policy names one."""

from __future__ import annotations

from sysmonlx.service.metrics import MetricsFile
from sysmonlx.service.own_events import OwnEvents
from sysmonlx.service.prometheus import prometheus
from sysmonlx.service.standing import Standing
from sysmonlx.service.statistics import Statistics

#: Longest wait for the removal of the file at the end, in seconds.
_REMOVAL_S = 0.5


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

    @property
    def trouble(self) -> str:
        """Why the file is not written at present, with its path; else empty."""
        return self._file.trouble

    def write(self) -> None:
        """Write all counters; the same trouble is reported only once."""
        path = self._standing.policy.settings.metrics_file
        if not path:
            self._file.end()
            return
        self._file.write(path, prometheus(self._statistics.collect(())).encode())
        if self.trouble not in ("", self._told):
            self._told = self.trouble
            self._own_events.error("MetricsFile", self.trouble)

    def close(self) -> None:
        """Remove the file: old counters would look like new ones."""
        self._file.end(_REMOVAL_S)
