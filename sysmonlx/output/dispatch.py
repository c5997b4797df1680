# SPDX-License-Identifier: MIT
"""Events to every sink: numbered, rendered once for each form, written in batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from sysmonlx.event import Event
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.render import Renderer
from sysmonlx.output.sinks.base import Sink
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.stdout import StdoutSink
from sysmonlx.output.sinks.syslog import SyslogSink
from sysmonlx.policy import Settings

Watcher = Callable[[int, Sequence[str]], None]

#: Kind, path and spool limit of a sink.
Target = tuple[str, str, int]

_event_id = itemgetter(0)

#: Lines that are written together: as many as stay in the processor's cache.
_TOGETHER = 64
#: Time for a sink that is wanted no more to write what it holds, in seconds.
_RETIRE_S = 0.2


class Channel(NamedTuple):
    """One sink, what it was opened as, and the renderer of its form."""

    target: Target
    sink: Sink
    renderer: Renderer


class Output:
    """All sinks of a configuration. EventRecordID is given here, in output order.

    `watch`, where given, sees every event too (the view on a terminal).
    """

    def __init__(self, record_ids: RecordIds, watch: Watcher | None = None) -> None:
        self._record_ids = record_ids
        self._watch = watch
        self._channels: list[Channel] = []
        self._failed: Exception | None = None
        self._batch: list[Event] = []
        self.emit: Callable[[Event], None]
        """Take one event, whose values change no more; `flush` writes it."""
        self.emit = self._batch.append if watch is None else self._emit_and_show
        self.counts: Counter[int] = Counter()
        """Events emitted, by event id."""
        self.past_losses: dict[str, int] = {}
        self._past_delivered = 0
        self.due = 0
        """Lines that sinks were to get: each event once for each of them."""
        self.note: Callable[[Exception], object] = lambda error: None
        """Takes an error that nobody expected, for which lines were lost."""

    def configure(
        self, settings: Settings, make_renderer: Callable[[str, int], Renderer]
    ) -> None:
        """Open the sinks of `settings`; those that are open already stay as they are.

        `make_renderer` takes the form of a sink and the longest line that it may write.

        Their spools stay with them: a change of the rules loses nothing.
        """
        self.retire(self.use(self.prepare(settings, make_renderer)))

    def prepare(
        self, settings: Settings, make_renderer: Callable[[str, int], Renderer]
    ) -> list[Channel]:
        """Return the channels of `settings`, for `use`; `retire` closes them.

        A sink that is open already is taken over. Nothing is written to the others yet.
        """
        limit = settings.spool_limit_bytes
        have = {channel.target: channel.sink for channel in self._channels}
        made: list[Channel] = []
        try:
            for kind, form, target in settings.sinks:
                wanted = (kind, target, limit)
                renderer = make_renderer(form, settings.line_limit_of(kind))
                sink = have.pop(wanted, None) or open_sink(*wanted)
                made.append(Channel(wanted, sink, renderer))
        except BaseException:
            self.retire(made)
            raise
        return made

    def use(self, channels: list[Channel]) -> list[Channel]:
        """Write to these channels from now on; return those before, for `retire`.

        What was emitted until now goes to those before.
        """
        self.flush()
        before, self._channels = self._channels, channels
        return before

    def retire(self, channels: Iterable[Channel]) -> None:
        """Close the sinks of channels, but for those in use."""
        in_use = {id(channel.sink) for channel in self._channels}
        for channel in channels:
            if id(channel.sink) not in in_use:
                self._retire(channel.sink, _RETIRE_S)

    def _emit_and_show(self, event: Event) -> None:
        self._batch.append(event)
        if self._watch is not None:
            try:
                self._watch(event[0], event[1])
            except Exception as error:  # `flush` raises it: no event is at fault
                self._watch, self._failed = None, error

    def flush(self) -> None:
        """Number and render the batch, hand it to the sinks, and what they still have.

        Lines that are written together have one TimeCreated: that of their formatting.
        """
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error
        events = self._batch.copy()
        self._batch.clear()
        self.counts.update(map(_event_id, events))
        for start in range(0, len(events), _TOGETHER):
            self._write(events[start : start + _TOGETHER])
        if not events:
            for channel in self._channels:
                if channel.sink.spooled_bytes or channel.sink.trouble:
                    self._write_on(channel.sink)

    def _write_on(self, sink: Sink) -> None:
        """Let a sink write what waits; an error leaves it waiting."""
        try:
            sink.flush()
        except Exception as error:
            self.note(error)

    def _write(self, events: Sequence[Event]) -> None:
        first, wall_ns = self._record_ids.take(len(events)), time.time_ns()
        for channel in self._channels:
            self.due += len(events)
            try:
                self._write_to(channel, events, first, wall_ns)
            except Exception as error:
                self._write_singly(channel, events, first, wall_ns, error)

    def _write_to(
        self, channel: Channel, events: Sequence[Event], first: int, wall_ns: int
    ) -> None:
        _, sink, renderer = channel
        before = sink.before(wall_ns // 1_000_000_000)
        lines = renderer.lines(events, first, wall_ns, before)
        fates = fates_of(sink)
        try:
            sink.write_framed(lines)
        except Exception as error:
            left = fates + len(events) - fates_of(sink)
            self._lose(left, error)

    def _write_singly(
        self,
        channel: Channel,
        events: Sequence[Event],
        first: int,
        wall_ns: int,
        error: Exception,
    ) -> None:
        """Write those of the events that can be written: not all are at fault."""
        if len(events) == 1:
            self._lose(1, error)
            return
        for number, event in enumerate(events, first):
            try:
                self._write_to(channel, [event], number, wall_ns)
            except Exception as error_of_one:
                self._lose(1, error_of_one)

    def _lose(self, count: int, error: Exception) -> None:
        self.note(error)
        if count:
            reason = f"error: {type(error).__name__}"
            self.past_losses[reason] = self.past_losses.get(reason, 0) + count

    def emitted(self) -> Counter[int]:
        """Return the events emitted, by event id, the present batch included."""
        return self.counts + Counter(map(_event_id, self._batch))

    def delivered(self) -> int:
        """Return the lines that the kernel took, since the start."""
        return self._past_delivered + sum(
            each.sink.delivered for each in self._channels
        )

    def spooled(self) -> int:
        """Return the lines that wait in all sinks."""
        return sum(each.sink.spooled for each in self._channels)

    def waiting(self) -> list[int]:
        """Return the descriptors to poll for writing."""
        return [
            fd
            for channel in self._channels
            if channel.sink.wants_writable()
            for fd in (channel.sink.fileno(),)
            if fd is not None
        ]

    def reopen(self) -> None:
        """Open every destination anew, after rotation."""
        for channel in self._channels:
            channel.sink.reopen()

    def losses(self) -> dict[str, int]:
        """Return lines given up, by reason, since the start."""
        total = dict(self.past_losses)
        for channel in self._channels:
            for reason, count in channel.sink.losses.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def spooled_bytes(self) -> int:
        """Return how much waits in all sinks."""
        return sum(channel.sink.spooled_bytes for channel in self._channels)

    def is_moving(self) -> bool:
        """Say whether a sink holds lines that it can write soon.

        A sink in trouble tries again once in a while; there is nothing to look at.
        """
        sinks = (channel.sink for channel in self._channels)
        return any(sink.spooled_bytes and not sink.trouble for sink in sinks)

    def troubles(self) -> list[str]:
        """Return why sinks do not write at present."""
        return [each.sink.trouble for each in self._channels if each.sink.trouble]

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and close all."""
        self.flush()
        for channel in self._channels:
            self._retire(channel.sink, timeout_s)
        self._channels = []
        self._record_ids.close()

    def _retire(self, sink: Sink, timeout_s: float) -> None:
        sink.close(timeout_s)
        self._past_delivered += sink.delivered
        for reason, count in sink.losses.items():
            self.past_losses[reason] = self.past_losses.get(reason, 0) + count


def fates_of(sink: Sink) -> int:
    """Return how many lines of a sink have a fate: delivered, spooled or lost."""
    return sink.delivered + sink.spooled + sink.lost


def open_sink(kind: str, target: str, spool_limit_bytes: int) -> Sink:
    """Return the sink of a setting: syslog, file or stdout; `target` may be empty."""
    if kind == "file":
        return FileSink(target, spool_limit_bytes)
    if kind == "stdout":
        return StdoutSink(spool_limit_bytes=spool_limit_bytes)
    return SyslogSink(target or "/dev/log", spool_limit_bytes)
