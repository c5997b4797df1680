# SPDX-License-Identifier: MIT
"""Lines that a full destination did not take: when they are written, and how quietly.

A log socket with the kernel's default queue takes eleven lines and is full until its
reader has taken one; then it is writable again, for one line. A writer that waits for
that wakes for each line. Here a thread of the sink waits for it (`Output.send_aside`).
Where a sink has none, its destination has a moment to take what it has, and the ring
buffer is not read because of it. The first pauses are short enough for the caches of
the processor to be warm after them.
"""

from __future__ import annotations

import time

from sysmonlx.output.dispatch import Output
from sysmonlx.service.loop import Loop

#: Pauses before the next try to write what waits, in seconds. Each that was in vain
#: doubles the next one.
FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0003, 0.1
#: After this time in seconds somebody looks whether a thread goes on: it gives up where
#: its destination is stalled.
_LONGEST_ASIDE_S = 0.25
#: Shorter waits are rounded up by epoll_wait(2).
_EPOLL_LEAST_S = 0.001


class Flushing:
    """Waits for descriptors, and writes what waits in the sinks meanwhile."""

    def __init__(self, loop: Loop, output: Output) -> None:
        self._loop = loop
        self._output = output
        self._pause_s = FIRST_PAUSE_S
        self._delivered = 0

    def wait(self, timeout_s: float) -> None:
        """Wait until a descriptor is readable, for this time at most.

        A destination of which much waits is written to as soon as it takes a line.
        """
        end_s = time.monotonic() + timeout_s
        left_s = timeout_s
        while left_s > 0 and self._output.is_moving():
            if self._write_on(left_s):
                return
            left_s = end_s - time.monotonic()
        if left_s > 0:  # nothing waits any more
            self._pause_s = FIRST_PAUSE_S
        self._loop.wait(max(0.0, left_s))

    def _write_on(self, left_s: float) -> bool:
        """Let what waits be written; True: a descriptor is readable, or time is up."""
        pressing = self._output.pressing()
        if not pressing and self._output.send_aside():
            is_readable = self._loop.wait(min(left_s, _LONGEST_ASIDE_S))
            self._output.flush()  # counts what was sent
            return is_readable
        self._set_pause()
        if pressing or self._pause_s >= left_s:
            self._loop.wait(left_s, pressing)
            return True
        if self._rest():
            return True
        self._output.flush()
        return False

    def _rest(self) -> bool:
        """Pause; True: a descriptor is readable."""
        if self._pause_s >= _EPOLL_LEAST_S:
            return self._loop.wait(self._pause_s)
        time.sleep(self._pause_s)
        return self._loop.wait(0)

    def _set_pause(self) -> None:
        """Begin with the first pause again, after something was taken."""
        before, self._delivered = self._delivered, self._output.delivered()
        is_in_vain = self._delivered == before
        self._pause_s = (
            min(2 * self._pause_s, _LONGEST_PAUSE_S) if is_in_vain else FIRST_PAUSE_S
        )
