# SPDX-License-Identifier: MIT
"""Takes records out of the ring buffer, and says when to look there again.

After a pause all caches of the processor are cold, so that few looks at many records
cost less than many looks at few. While records come there is one look each tick
(`ReadInterval`). The kernel side wakes the reader early where that does not do
(`wake_flags` in ebpf/emit/ring.bpf.h): for a new program file, which must be opened
before it can vanish; for a record that makes somebody ask a file system (hasty ones);
and when the ring buffer fills. Where hasty records go on coming there is a look every
10 ms, and none wakes the reader. While no record comes, only the first one does.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence

from sysmonlx.host.machine import measure_boot_offset
from sysmonlx.service.wiring import Parts

#: The longest tick in seconds where somebody watches, events wait for hashes, or this
#: part of the ring buffer was found full.
SHORT_TICK_S, _FLOOD_FILL = 0.05, 1 / 16
#: A hasty record is read within this time in seconds.
SOON_S = 0.01
#: After this many looks in a row at an empty ring buffer the reader sleeps until the
#: kernel wakes it. At the first look the kernel learns that the reader is about to
#: sleep. The second look finds a record that was begun before that.
QUIET_LOOKS = 2
#: Records that are written together: at most, and at least where each takes long.
_BATCH, _LEAST_BATCH = 256, 16
#: Seconds for which records are taken before other work has its turn. A batch that has
#: begun is taken to its end.
_TURN_S = 0.04
#: Intervals of the chores in seconds: while records come, and while none comes. Chores
#: are nearly all that an idle daemon costs.
_CHORES_S, _CHORES_AT_REST_S = 1, 2
#: While no record comes, the files of names are looked at after this time in seconds
#: instead of at each round: for rules in the kernel, which compare names of users.
_REST_S = 4
#: Shortages of memory or descriptors in a row that end the daemon, and the pause after
#: each, in seconds.
_SHORTAGES, _SHORTAGE_S = 100, 0.05


class Reader:
    """Reads the ring buffer, in the one thread that all records pass through.

    `quiet` is how many looks in a row, a tick apart, found nothing. `is_watched`:
    somebody sees the events come.
    """

    def __init__(self, parts: Parts, *, is_watched: bool = False) -> None:
        self._capture = parts.capture
        self._context = parts.context
        self._health = parts.health
        self._output = parts.output
        self._pipeline = parts.pipeline
        self._programs = parts.programs
        self._is_watched = is_watched
        self._pauses = parts.capture.pauses
        self.quiet = 0
        self._is_soon = self._is_flood = False
        self._batch = _BATCH
        self._rested_s = 0
        self._shortages = 0

    def work(self) -> bool:
        """Take what the ring buffer holds, in batches; True: there may be more.

        It ends after `_TURN_S`, so that requests and chores have their turn however
        long the records of a flood take.
        """
        ring = self._capture.ring
        fill = ring.fill()
        self._is_flood = fill >= _FLOOD_FILL
        self._health.peak_fill = max(self._health.peak_fill, fill)
        if self._programs.is_due:  # before the records, of which some are older
            self._programs.look()
        begun_s = before_s = time.monotonic()
        while True:
            limit = self._batch
            records = ring.read(limit)
            if records and self._rested_s:
                self._renew_names()
            if records:
                self.quiet = 0
            elif not self._is_soon:
                self.quiet += 1
            self._take(records, is_last=len(records) < limit)
            if len(records) < limit:
                return False
            now_s = time.monotonic()
            took_s, before_s = now_s - before_s, now_s
            self._batch = _fitting(limit, took_s)
            if now_s - begun_s > _TURN_S:
                return True

    def _take(self, records: Sequence[bytes], *, is_last: bool) -> None:
        pipeline = self._pipeline
        if self._programs.is_waiting:
            self._programs.take_among(records, pipeline.take, is_last=is_last)
        elif records or pipeline.held:
            pipeline.take(records)
        if pipeline.held:
            pipeline.take_hashes()
        self._output.flush()

    @property
    def is_at_rest(self) -> bool:
        """Whether the last looks found nothing, so that only the kernel wakes it."""
        return self.quiet >= QUIET_LOOKS

    def chores_s(self) -> int:
        """Return the time until the next round of chores, in seconds."""
        return _CHORES_AT_REST_S if self.is_at_rest else _CHORES_S

    def work_on(self) -> bool:
        """Do `work`; where memory or descriptors are short, pause and go on.

        Records that were not taken stay in the ring buffer.

        Raises:
            MemoryError, OSError: the shortage lasts; another daemon may do better.
        """
        try:
            has_more = self.work()
        except (MemoryError, OSError) as error:
            self._shortages += 1
            if not _is_shortage(error) or self._shortages > _SHORTAGES:
                raise
            self._pipeline.account.note(error)
            time.sleep(_SHORTAGE_S)
            return False
        self._shortages = 0
        return has_more

    def tick_s(self) -> float:
        """Return the longest time that records wait to be read together, in seconds."""
        tick_s = self._context.settings.read_interval_ms / 1000
        is_short = self._is_watched or self._is_flood or self._pipeline.held
        return min(tick_s, SHORT_TICK_S) if is_short else tick_s

    def pause_s(self, next_chores_s: float) -> float:
        """Return how long to wait for the next look, in seconds.

        Args:
            next_chores_s: When other work is due, by the monotonic clock.
        """
        if self._programs.is_due or self._programs.is_waiting:
            return min(SOON_S, self.tick_s())
        pauses = self._pauses
        pause = self._capture.variable("reader_pause")
        self._is_soon = pause < pauses["READER_PAUSES"]
        if self._is_soon:
            # After a time without a hasty record they wake it again. That is for the
            # next look but one: a record may be on its way that was made before.
            is_asked = pause == pauses["READER_IS_ASKED"]
            self._say("READER_LOOKS_SOON" if is_asked else "READER_PAUSES")
            return min(SOON_S, self.tick_s())
        waits = self._capture.ring.fill() or self._pipeline.held
        if self.quiet < 1 or waits or self._output.is_moving():
            return self.tick_s()
        if pause != pauses["READER_SLEEPS"]:
            self._say("READER_SLEEPS")
            return self.tick_s()
        if self.quiet < QUIET_LOOKS:
            return self.tick_s()
        return max(0.0, next_chores_s - time.monotonic())

    def _say(self, pause: str) -> None:
        """Tell the programs when the next look is."""
        self._capture.set_variable("reader_pause", self._pauses[pause])

    def look_at_names(self) -> None:
        """Look at the files of names, less often while no record comes.

        Called with each round of chores. The next record has new names whenever it
        comes.
        """
        if not self.is_at_rest or self._rested_s >= _REST_S:
            self._renew_names()
        else:
            self._rested_s += _CHORES_AT_REST_S

    def _renew_names(self) -> None:
        self._rested_s = 0
        self._context.set_clock(measure_boot_offset())
        try:
            self._context.renew()
        except Exception as error:  # no record waits for this
            self._pipeline.account.note(error)


def _fitting(batch: int, took_s: float) -> int:
    """Return the size of the next batch; this one took `took_s` seconds."""
    if took_s > _TURN_S:
        return max(_LEAST_BATCH, batch // 2)
    return min(_BATCH, batch * 2) if took_s < _TURN_S / 4 else batch


def _is_shortage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
    return True
