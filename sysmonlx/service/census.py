# SPDX-License-Identifier: MIT
"""Takes processes that were not seen to start: by an iterator over all tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from sysmonlx.capture.sensor import Capture
from sysmonlx.errors import CaptureError, LibbpfError
from sysmonlx.host.process_arguments import LIMIT_BYTES, CommandLines, Job
from sysmonlx.pipeline.losses import Loss
from sysmonlx.processes.table import ProcessTable

#: Longest wait for the arguments of processes, in seconds: at the start, and later,
#: when events wait.
_START_S, _RUNNING_S = 0.5, 0.02


class Census:
    """Puts processes whose records were not seen into the table.

    Arguments of a process are read from /proc. They are taken only if a second look
    with the iterator shows that the process still runs the same image.
    """

    def __init__(
        self, capture: Capture, processes: ProcessTable, command_lines: CommandLines
    ) -> None:
        self._capture = capture
        self._processes = processes
        self._command_lines = command_lines
        self.failed = 0
        """Looks that the kernel refused, for want of memory or of descriptors."""

    def look(self) -> None:
        """Take all processes, without arguments.

        Raises:
            CaptureError, LibbpfError, OSError: the kernel refuses.
        """
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        lost = self.lost_execs()
        self._processes.scan(self._capture.scan(), boot_ns)
        self._processes.lost_before_scan = lost
        self._processes.unknown = 0

    def lost_execs(self) -> int:
        """Return how many records of new images were lost since the start."""
        return sum(self._capture.counts()["process_create"].lost)

    def read_args(self) -> None:
        """Take the arguments of all processes, before the first event is made.

        This starts a thread. A thread keeps its capabilities when the main thread drops
        its own: call this after that.
        """
        self._try(partial(self._take_args, _START_S))

    def repeat(self) -> None:
        """Take the processes that are new to the table, in a bounded time."""
        self._try(self.look)
        self._try(partial(self._take_args, _RUNNING_S))

    def follow_up(self) -> None:
        """Take the arguments that could not be read in time; waits for nothing."""
        if self._processes.has_argless:
            self._try(partial(self._take_args, 0.0))

    def losses(self) -> dict[Loss, int]:
        """Return what could not be found out since the start, by what and why."""
        return {
            ("Command lines", "no answer in time"): self._command_lines.given_up,
            ("Looks at all processes", "refused"): self.failed,
        }

    def close(self) -> None:
        """Let the reader of arguments end."""
        self._command_lines.close()

    def _try(self, step: Callable[[], None]) -> None:
        """Do a step; count it when the kernel refuses it. A later call tries again."""
        try:
            step()
        except (CaptureError, LibbpfError, OSError):
            self.failed += 1

    def _take_args(self, patience_s: float) -> None:
        lines = self._command_lines
        lines.ask(
            [
                Job(process.key, process.tgid, process.uid)
                for process in self._processes.without_args()
            ]
        )
        lines.wait(patience_s)
        answers = lines.answers()
        if answers:
            self.look()
        for key, args in answers:
            self._processes.take_args(key, args, LIMIT_BYTES)
