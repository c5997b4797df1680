# SPDX-License-Identifier: MIT
"""A file that is set aside when it is large, or when a period is over."""

from __future__ import annotations

import os
import time
from functools import partial

from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.output.sinks import set_aside
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.spool import RETRY_S, SPOOL_LIMIT_BYTES
from sysmonlx.output.sinks.streams import Stream
from sysmonlx.policy import Rotation

#: Pause after a file could not be set aside, in seconds: it is written to meanwhile.
_AGAIN_S = 60.0


class RotatingFileSink(FileSink):
    """A file of its own rotation; no line is in two files.

    The thread that opens the file sets the former one aside. Another one compresses
    and removes.
    """

    def __init__(
        self,
        path: str,
        rotation: Rotation,
        group: str = "",
        prefix: str = "",
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self._rotation = rotation
        self._size_bytes = 0
        self._changed_s = self._now_s = 0.0
        self._sets_aside = False
        self._again_at = 0.0
        self._aside_remark = self._tidy_remark = ""
        self._tidier: Worker | None = None
        self._tidying: Call[None] | None = None
        self._is_untidy = True
        super().__init__(path, group, prefix, spool_limit_bytes, retry_s)

    def before(self, wall_s: int) -> str:
        """Return what each line of that second begins with; learn the time."""
        self._now_s = wall_s
        return super().before(wall_s)

    def attend(self) -> None:
        """Set the file aside in time, also without a line; see to the others."""
        super().attend()
        self._now_s = time.time()
        self._renew_size()
        if self._is_due() and not self._spool.messages and not self._is_busy():
            self._begin_anew()
            self.flush()
        self._see_to_others()

    def close(self, timeout_s: float) -> None:
        """Close; what is not compressed yet is compressed after the next start."""
        super().close(timeout_s)
        if self._tidier is not None:
            self._tidier.end()
            self._tidier = None

    def _renew_size(self) -> None:
        """Learn of a file that another program cut."""
        stream = self._stream
        if stream is not None and stream.shown_fd >= 0 and stream.is_regular:
            self._size_bytes = os.fstat(stream.shown_fd).st_size

    def _is_due(self) -> bool:
        stream, rotation = self._stream, self._rotation
        if stream is None or not stream.is_regular or not self._size_bytes:
            return False
        if self._again_at and time.monotonic() < self._again_at:
            return False
        if rotation.size_bytes and self._size_bytes >= rotation.size_bytes:
            return True
        every_s = rotation.every_s
        return every_s > 0 and self._now_s // every_s > self._changed_s // every_s

    def _begin_anew(self) -> None:
        """Set the file aside and open a new one, at the end of a line."""
        self._sets_aside = True
        self._open_anew()

    def _write_some(self) -> bool:
        if self._is_due() and not self._spool.is_within_line:
            self._begin_anew()
            return self._stream is not None
        return super()._write_some()

    def _most_bytes(self, usual: int) -> int:
        """Return what is left of the size, at least to the end of the line."""
        to_end = self._spool.left_of_first(b"\n")
        if self._is_due():
            return to_end
        size = self._rotation.size_bytes
        return min(usual, max(size - self._size_bytes, to_end)) if size else usual

    def _opened(self) -> Stream:
        if self._sets_aside:
            self._sets_aside = False
            try:
                set_aside.set_aside(self._path, self._now_s)
            except OSError as error:
                self._again_at = time.monotonic() + _AGAIN_S
                reason = f"cannot be set aside: {error.strerror}"
                self._aside_remark = f"{self._path}: {reason}"
            else:
                self._again_at, self._aside_remark = 0.0, ""
                self._is_untidy = True
        return super()._opened()

    def _taken(self, stream: Stream) -> Stream:
        self._size_bytes, self._changed_s = stream.size_bytes, stream.changed_s
        return super()._taken(stream)

    def _open(self, wait_s: float) -> None:
        super()._open(wait_s)
        self._add_remarks()

    def _took(self, size_bytes: int) -> None:
        super()._took(size_bytes)
        self._size_bytes += size_bytes
        self._changed_s = self._now_s
        self._add_remarks()

    def _add_remarks(self) -> None:
        self.trouble = self.trouble or self._aside_remark or self._tidy_remark

    def _see_to_others(self) -> None:
        """Have a thread compress and remove; learn what became of it."""
        if self._tidying is not None:
            if not self._tidying.wait(0):
                return
            call, self._tidying = self._tidying, None
            self._end_tidier(call)
        if self._is_untidy:
            self._is_untidy = False
            try:
                self._tidier = Worker()
            except OSError:
                self._is_untidy = True
                return
            job = partial(set_aside.tidy, self._path, self._rotation)
            self._tidying = self._tidier.begin(job)

    def _end_tidier(self, call: Call[None]) -> None:
        if self._tidier is not None:
            self._tidier.end()
            self._tidier = None
        try:
            call.result()
            self._tidy_remark = ""
        except OSError as error:
            reason = f"files set aside are not all as they should be: {error.strerror}"
            self._tidy_remark = f"{self._path}: {reason}"
            self._add_remarks()
