# SPDX-License-Identifier: MIT
"""Events to every sink: collected in a batch, numbered, rendered, written.

`Output.emit` only appends an event to the batch. `Output.flush`, after each round of
the main loop, takes the batch to each sink: EventRecordIDs are taken for it, the
renderer of the sink makes its lines, and the sink writes or spools them (`sinks.base`).

Each event is one line for each sink. Whatever fails, each line is delivered, spooled or
lost in the end, and `due` is the sum.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from sysmonlx.bounded import CacheUse
from sysmonlx.event import Event
from sysmonlx.output.forms import LineMaker
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.sinks.base import Sink
from sysmonlx.output.sinks.kinds import open_sink
from sysmonlx.policy import SIGMA_PREFIX, Settings, SinkChoice

#: Takes event id and texts of an event; the live view on a terminal is one.
Watcher = Callable[[int, Sequence[str]], None]

#: Returns what makes the lines of a sink.
MakeRenderer = Callable[[SinkChoice], LineMaker]

#: What a sink was opened by: the setting without its form, the spool's limit in bytes.
Target = tuple[SinkChoice, int]

_event_id = itemgetter(0)

#: Lines that are rendered and written together. With more, their bytes do not stay in
#: the processor's cache between the two.
_TOGETHER = 64
#: A spool of which this part is full is filling: 1/16.
_PRESSING_PARTS = 16
#: Time that a sink has to write its spool when no policy wants it any more, in seconds.
_RETIRE_S = 0.2


class Channel(NamedTuple):
    """One sink, the setting that it was opened by, and the renderer for it.

    `only_hits`: it takes events that rules of Sigma hit, and no others.
    """

    target: Target
    sink: Sink
    renderer: LineMaker
    only_hits: bool = False


class Output:
    """All sinks of a configuration.

    EventRecordIDs are given here, in the order of the output. `watch`, where given, is
    called with every event too.
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
        self.tap: Callable[[Sequence[Event]], object] | None = None
        """Shown each batch before it is written; a self-test reads its events there."""
        self.counts: Counter[int] = Counter()
        """Events emitted, by event id."""
        self.past_losses: dict[str, int] = {}
        self._past_delivered = 0
        self._past_news: list[str] = []
        self._due = 0
        self.note: Callable[[Exception], object] = lambda error: None
        """Takes an error that nobody expected and by which lines may be lost."""

    def configure(self, settings: Settings, make_renderer: MakeRenderer) -> None:
        """Open the sinks of `settings`.

        Sinks that are open already are kept with their spools, so that a change of the
        rules loses nothing.
        """
        self.retire(self.use(self.prepare(settings, make_renderer)))

    def prepare(self, settings: Settings, make_renderer: MakeRenderer) -> list[Channel]:
        """Return the channels of `settings`, for `use`; `retire` closes them.

        A sink that is open already becomes a part of them. Nothing is written to a new
        sink yet.
        """
        limit = settings.spool_limit_bytes
        have = {channel.target: channel.sink for channel in self._channels}
        made: list[Channel] = []
        try:
            for only_hits, choice in (
                *((False, each) for each in settings.sinks),
                *((True, each) for each in settings.hit_sinks),
            ):
                wanted = (choice._replace(form=""), limit)
                renderer = make_renderer(choice)
                sink = have.pop(wanted, None) or open_sink(*wanted)
                made.append(Channel(wanted, sink, renderer, only_hits))
        except BaseException:
            self.retire(made)
            raise
        return made

    def use(self, channels: list[Channel]) -> list[Channel]:
        """Write to these channels from now on; return the former ones, for `retire`.

        The present batch still goes to the former ones.
        """
        self.flush()
        before, self._channels = self._channels, channels
        return before

    def retire(self, channels: Iterable[Channel]) -> None:
        """Close the sinks of these channels, except those that are in use."""
        in_use = {id(channel.sink) for channel in self._channels}
        for channel in channels:
            if id(channel.sink) not in in_use:
                self._retire(channel.sink, _RETIRE_S)

    def _emit_and_show(self, event: Event) -> None:
        self._batch.append(event)
        if self._watch is not None:
            try:
                self._watch(event[0], event[1])
            except Exception as error:  # `flush` raises it: the event is not at fault
                self._watch, self._failed = None, error

    def flush(self) -> None:
        """Write the batch to all sinks; without a batch, let them write their spools.

        TimeCreated is the time of rendering, one for all lines rendered together.

        Raises:
            Exception: the error of `watch`, after which it is not called any more.
        """
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error
        events = self._batch.copy()
        self._batch.clear()
        self.counts.update(map(_event_id, events))
        if self.tap is not None:
            self._show(self.tap, events)
        for start in range(0, len(events), _TOGETHER):
            self._write(events[start : start + _TOGETHER])
        if not events:
            for channel in self._channels:
                if channel.sink.spooled_bytes or channel.sink.trouble:
                    self._write_on(channel.sink)

    def _show(
        self, tap: Callable[[Sequence[Event]], object], events: Sequence[Event]
    ) -> None:
        try:
            tap(events)
        except Exception as error:  # the events are written all the same
            self.note(error)

    def _write_on(self, sink: Sink) -> None:
        """Let a sink write its spool; after an error the lines stay there."""
        try:
            sink.flush()
        except Exception as error:
            self.note(error)

    def _write(self, events: Sequence[Event]) -> None:
        first, wall_ns = self._record_ids.take(len(events)), time.time_ns()
        for channel in self._channels:
            if channel.only_hits:
                self._write_hits(channel, events, first, wall_ns)
                continue
            self._due += len(events)
            try:
                self._write_to(channel, events, first, wall_ns)
            except Exception as error:
                self._write_singly(channel, events, first, wall_ns, error)

    def _write_hits(
        self, channel: Channel, events: Sequence[Event], first: int, wall_ns: int
    ) -> None:
        """Write those of the events that rules of Sigma hit; they are few."""
        for number, event in enumerate(events, first):
            if event[1][0].startswith(SIGMA_PREFIX):
                self._due += 1
                try:
                    self._write_to(channel, [event], number, wall_ns)
                except Exception as error:
                    self._lose(1, error)

    def _write_to(
        self, channel: Channel, events: Sequence[Event], first: int, wall_ns: int
    ) -> None:
        _, sink, renderer, _ = channel
        before = sink.before(wall_ns // 1_000_000_000)
        lines = renderer.lines(events, first, wall_ns, before)
        fates = _fates_of(sink)
        try:
            sink.write_framed(lines)
        except Exception as error:
            left = fates + len(events) - _fates_of(sink)
            self._lose(left, error)

    def _write_singly(
        self,
        channel: Channel,
        events: Sequence[Event],
        first: int,
        wall_ns: int,
        error: Exception,
    ) -> None:
        """Write events one by one after an error: it may be that of a single one."""
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

    @property
    def due(self) -> int:
        """Lines that sinks were to get: an event counts once for each that takes it.

        Of a sink with several readers, each reader counts.
        """
        return self._due + sum(each.sink.more_due for each in self._channels)

    def attend(self) -> None:
        """Let sinks look after their destinations; call it every second or two."""
        for channel in self._channels:
            try:
                channel.sink.attend()
            except Exception as error:
                self.note(error)

    def news(self) -> list[str]:
        """Return what sinks have to tell by event 255, a text each; each comes once."""
        told, self._past_news = self._past_news, []
        return told + [text for each in self._channels for text in each.sink.news()]

    def readers(self) -> dict[str, dict[str, int]]:
        """Return who reads where programs connect to a sink, by its path."""
        return {
            channel.target[0].place: channel.sink.readers
            for channel in self._channels
            if channel.sink.readers
        }

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

    def pressing(self) -> list[int]:
        """Return the descriptors of sinks whose spool is filling, to poll for writing.

        Others have time: what little waits there is written at the next `flush`.
        """
        return [
            fd
            for channel in self._channels
            if channel.sink.spooled_bytes * _PRESSING_PARTS > channel.target[1]
            and channel.sink.wants_writable()
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

    def template_use(self) -> CacheUse:
        """Return how often lines that recur were there in pieces, in all sinks."""
        uses = [channel.renderer.template_use() for channel in self._channels]
        return CacheUse(*map(sum, zip((0, 0, 0), *uses, strict=True)))

    def spooled_bytes(self) -> int:
        """Return the size of the lines that wait in all sinks, in bytes."""
        return sum(channel.sink.spooled_bytes for channel in self._channels)

    def is_moving(self) -> bool:
        """Return whether some sink has a spool that it can write soon.

        A sink in trouble has none: it tries again by itself, once in a while.
        """
        sinks = (channel.sink for channel in self._channels)
        return any(sink.spooled_bytes and not sink.trouble for sink in sinks)

    def send_aside(self) -> bool:
        """Have threads send what waits; True: all that can be sent soon is in hands."""
        moving = [
            channel.sink
            for channel in self._channels
            if channel.sink.spooled_bytes and not channel.sink.trouble
        ]
        for sink in moving:
            sink.send_aside()
        return all(sink.is_sent_aside for sink in moving)

    def troubles(self) -> list[str]:
        """Return why sinks do not write at present."""
        return [each.sink.trouble for each in self._channels if each.sink.trouble]

    def close(self, timeout_s: float) -> None:
        """Write batch and spools, each sink for `timeout_s` at most, and close all."""
        self.flush()
        for channel in self._channels:
            self._retire(channel.sink, timeout_s)
        self._channels = []
        self._record_ids.close()

    def _retire(self, sink: Sink, timeout_s: float) -> None:
        sink.close(timeout_s)
        self._past_delivered += sink.delivered
        self._past_news += sink.news()
        self._due += sink.more_due
        for reason, count in sink.losses.items():
            self.past_losses[reason] = self.past_losses.get(reason, 0) + count


def _fates_of(sink: Sink) -> int:
    """Return how many lines of a sink have a fate: delivered, spooled or lost.

    With several readers, a line counts once.
    """
    return sink.delivered + sink.spooled + sink.lost - sink.more_due
