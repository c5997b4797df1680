# SPDX-License-Identifier: MIT
"""Lines to a file descriptor, whatever file system it is on.

Writing to memory, a pipe or a terminal is quick, and is done at once. On any other file
system a call may take for ever: one of the network or of a user's program need not
answer, and a disk may be frozen for a backup, fail, or have to write first what others
have filled memory with. A thread does it then, one call at a time; it alone has the
descriptor, and the spool is its queue. A disk of this machine answers at once nearly
always, so the caller waits for it, for a moment.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial

from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.host.root_files import is_in_memory, is_local
from sysmonlx.output.sinks.spool import CHUNK_BYTES, TRY_LATER, SpoolingSink

#: Bytes of one write that a thread does.
ASIDE_BYTES = 2 << 20

#: How long the caller waits for a thread to open the destination, in seconds: when the
#: sink is made or reopened, and at each later look.
_FIRST_WAIT_S, _NEXT_WAIT_S = 0.5, 0.02
#: How long the caller waits for a thread that writes to a near disk, in seconds.
NEAR_WAIT_S = 0.03


@dataclass(frozen=True, slots=True)
class Stream:
    """An open descriptor; `goes_aside`: a write to it may take for ever.

    `is_near`: a disk of this machine takes it, at once nearly always. `size_bytes` and
    `changed_s` are those of the file when it was opened. `shown_fd` is the same file in
    the hands of the caller, for questions that wait for nobody; -1: there is none.
    """

    fd: int
    is_regular: bool
    goes_aside: bool
    size_bytes: int = 0
    changed_s: float = 0.0
    is_near: bool = False
    shown_fd: int = -1


def examined(fd: int) -> Stream:
    """Return the kind of an open descriptor; to ask may take for ever, too."""
    try:
        found = os.fstat(fd)
    except OSError:
        return Stream(fd, is_regular=False, goes_aside=False)
    is_regular = stat.S_ISREG(found.st_mode)
    goes_aside, is_near = True, False
    with contextlib.suppress(OSError):
        goes_aside = is_regular and not is_in_memory(fd)
        is_near = goes_aside and is_local(fd)
    return Stream(fd, is_regular, goes_aside, found.st_size, found.st_mtime, is_near)


class StreamSink(SpoolingSink):
    """A sink that writes to a descriptor; `name` stands at the beginning of `trouble`.

    When the destination takes nothing (a full disk), it is tried again after a pause,
    and the line goes on where it was cut off.
    """

    def __init__(self, name: str, spool_limit_bytes: int, retry_s: float) -> None:
        super().__init__(spool_limit_bytes, retry_s)
        self._name = name
        self._stream: Stream | None = None
        self._worker: Worker | None = None
        self._opening: Call[Stream] | None = None
        self._writing: Call[int] | None = None
        self._is_stuck = False
        self._shall_reopen = False
        self._open(_FIRST_WAIT_S)

    @abstractmethod
    def _opened(self) -> Stream:
        """Open the destination; called in the thread.

        Raises:
            OSError: it cannot be opened.
        """

    def _new_worker(self) -> Worker:
        return Worker()

    def _close(self, stream: Stream) -> None:
        """Close a descriptor that no thread has."""
        os.close(stream.fd)

    def fileno(self) -> int | None:
        """Return the descriptor; None for a regular file, which cannot be polled."""
        stream = self._stream
        return None if stream is None or stream.is_regular else stream.fd

    def reopen(self) -> None:
        """Open the destination anew: the file was moved away."""
        self._retry_at = 0.0
        if self._writing is not None or self._opening is not None:
            self._shall_reopen = True
            self.flush()
            return
        self._open_anew(
            _FIRST_WAIT_S
        )  # the program that rotates waits for the new file
        self.flush()

    def _open_anew(self, wait_s: float = _NEXT_WAIT_S) -> None:
        """Close the destination, and begin to open it; no write is under way."""
        self._retry_at = 0.0
        self._disconnect()
        self._open(wait_s)

    def flush(self) -> None:
        """Write the spool; where it is empty, look whether the trouble is over."""
        if self.trouble and not self._spool.messages:
            self._connected()
        super().flush()

    def close(self, timeout_s: float) -> None:
        """Write the spool for `timeout_s` at most, count the rest as lost, close."""
        deadline = time.monotonic() + timeout_s
        self._retry_at = 0.0
        self.flush()
        while self._spool.messages and (call := self._writing or self._opening):
            if not call.wait(max(0.0, deadline - time.monotonic())):
                break
            self.flush()
        super().close(max(0.0, deadline - time.monotonic()))

    def _open(self, wait_s: float) -> None:
        """Begin to open the destination, or look whether that is done."""
        if self._opening is None:
            if not self._may_retry():
                return
            try:
                self._worker = worker = self._new_worker()
            except OSError as error:
                self._say(error.strerror)
                return
            self._opening = worker.begin(partial(self._open_for, worker))
        if not self._opening.wait(wait_s):
            if self._opening.is_late or wait_s == _FIRST_WAIT_S:
                self._say("does not answer")
            return
        call, self._opening = self._opening, None
        try:
            self._stream = self._taken(call.result())
            self.trouble = ""
        except OSError as error:
            self._say(error.strerror)
        if self._stream is None or not self._stream.goes_aside:
            self._end_worker()

    def _open_for(self, worker: Worker) -> Stream:
        """Open, in the thread; hand a descriptor over that needs no thread."""
        stream = self._opened()
        if not stream.goes_aside:
            worker.hand_over(stream.fd)
        elif stream.is_near:
            worker.hand_over(os.open(f"/proc/thread-self/fd/{stream.fd}", os.O_PATH))
        return stream

    def _taken(self, stream: Stream) -> Stream:
        """Return the thread's stream; take over a descriptor that needs no thread."""
        if self._worker is None or (stream.goes_aside and not stream.is_near):
            return stream
        fd = self._worker.take_over()
        if stream.is_near:
            return replace(stream, shown_fd=fd)
        return replace(stream, fd=fd, shown_fd=fd)

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _connected(self) -> bool:
        if self._writing is not None and not self._has_written(self._writing):
            return False
        if self._shall_reopen and self._opening is None:
            self._shall_reopen = False
            self._disconnect()
        if self._stream is None:
            self._open(_NEXT_WAIT_S)
        elif self._is_stuck:
            self._is_stuck = not self._may_retry()
        if self._shall_reopen and self._stream is not None:
            return self._connected()
        return self._stream is not None and not self._is_stuck

    def _has_written(self, call: Call[int]) -> bool:
        """Return whether the thread's write has ended well; count its lines."""
        if not call.wait(0):
            if call.is_late:
                self._say("does not answer")
            return False
        self._writing = None
        self._spool.release()
        try:
            self._took(call.result())
        except OSError as error:
            return self._failed(error)
        return True

    def _took(self, size_bytes: int) -> None:
        self._spool.written(size_bytes, b"\n")
        self.trouble = ""

    def _write_some(self) -> bool:
        stream = self._stream
        if stream is None or not self._spool.messages:
            return False
        if self._worker is None:
            return self._write_here(stream)
        data = self._spool.hold(b"\n", self._most_bytes(ASIDE_BYTES))
        call = self._writing = self._worker.begin(partial(os.write, stream.fd, data))
        return stream.is_near and call.wait(NEAR_WAIT_S) and self._has_written(call)

    def _write_here(self, stream: Stream) -> bool:
        data = self._spool.chunk(b"\n", self._most_bytes(CHUNK_BYTES))
        self._took(os.write(stream.fd, data))
        return True

    def _most_bytes(self, usual: int) -> int:
        """Return how many bytes the next write may have."""
        return usual

    def _failed(self, error: OSError) -> bool:
        if error.errno not in TRY_LATER:
            self._say(error.strerror)
            self._is_stuck = True
            self._put_off()
        return False

    def _disconnect(self) -> None:
        """Let go of the destination; a thread closes its own when its call returns."""
        if self._stream is not None:
            self._let_go(self._stream)
        self._end_worker()
        self._opening = self._writing = self._stream = None
        self._is_stuck = False
        self._spool.restart()

    def _let_go(self, stream: Stream) -> None:
        if not stream.goes_aside:
            self._close(stream)
        elif stream.shown_fd >= 0:
            os.close(stream.shown_fd)

    def _say(self, reason: str | None) -> None:
        self.trouble = f"{self._name}: {reason}"
