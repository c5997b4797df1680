# SPDX-License-Identifier: MIT
"""A thread that waits for room in a log socket, and sends what waits.

A log socket with the kernel's default queue takes eleven lines. Whoever is not to wait
must come back for each eleven: that is a sleep and a wake-up, and the log daemon is
woken anew each time. A call that may wait goes on as soon as the log daemon has taken a
line, while that one is still awake, and for all lines it costs a third.

The thread that events pass through waits for nobody. It hands the lines over where it
is about to sleep anyway, and looks at its next turn what became of them.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from functools import partial

from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks.datagrams import Datagrams

#: Lines that are handed over together, at most.
MOST = 1024
#: Lines of one system call. Between two calls the thread looks whether it is to stop.
_PIECE = 32
#: A line for which there is no room within this time ends the call, in seconds: the log
#: daemon is stalled, and whoever asked tries again in a while. The kernel waits for one
#: of its ticks at least, which is 10 ms at most.
_PATIENCE_S = 0.004
#: A call that was asked to stop has ended after this time, in seconds: in the worst
#: case there is room for each line of a piece just before it is given up.
STOP_S = _PIECE * (_PATIENCE_S + 0.01)
_WAITS = socket.MSG_NOSIGNAL


class PatientSender:
    """Sends datagrams to one socket, in a thread of its own."""

    def __init__(self, log: socket.socket) -> None:
        """Start the thread.

        Every send by others must say that it does not wait: the socket would.

        Raises:
            OSError: no thread can be started.
        """
        fd = log.fileno()
        self._datagrams = Datagrams(_WAITS)
        self._worker = Worker(keeps=fd)
        self._fd = fd
        self._call: Call[int] | None = None
        self._is_stopped = False
        patience = struct.pack("@ll", 0, int(_PATIENCE_S * 1e6))
        log.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        os.set_blocking(fd, True)

    @property
    def is_sending(self) -> bool:
        """Whether lines were handed over and `taken` has not been asked since."""
        return self._call is not None

    def begin(self, messages: Sequence[bytes]) -> None:
        """Hand messages over, after `taken` has told of those before."""
        self._is_stopped = False
        self._call = self._worker.begin(partial(self._send, messages))

    def _send(self, messages: Sequence[bytes]) -> int:
        """Send messages, in the thread; return how many the kernel took."""
        sent = 0
        while sent < len(messages) and not self._is_stopped:
            piece = Lines.of(messages[sent : sent + _PIECE])
            taken = self._datagrams.send_all(self._fd, piece)
            sent += taken
            if taken < len(piece):
                break
        return sent

    def taken(self, wait_s: float = 0.0) -> int | None:
        """Return how many of the lines were sent; None: the thread is at it."""
        if self._call is None or not self._call.wait(wait_s):
            return None
        call, self._call = self._call, None
        return call.result()

    def stop(self) -> int:
        """Have the call ended soon; return how many lines were sent, and let go."""
        self._is_stopped = True
        sent = self.taken(STOP_S)
        self._worker.end()
        return sent or 0
