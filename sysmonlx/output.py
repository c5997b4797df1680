# SPDX-License-Identifier: MIT
"""Events to every sink: numbered, rendered once for each form, written in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sysmonlx.render import Renderer
from sysmonlx.ruleset import Settings
from sysmonlx.sinks import FileSink, Sink, StdoutSink, SyslogSink
from sysmonlx.state import RecordIds

Watcher = Callable[[int, Sequence[str]], None]


class _Channel:
    """One sink, the renderer of its form, and the lines of the present batch."""

    def __init__(self, sink: Sink, renderer: Renderer) -> None:
        self.sink = sink
        self.renderer = renderer
        self.batch: list[bytes] = []


class Output:
    """All sinks of a configuration. EventRecordID is given here, in output order.

    `watch`, where given, sees every event too (the view on a terminal).
    """

    def __init__(self, record_ids: RecordIds, watch: Watcher | None = None) -> None:
        self._record_ids = record_ids
        self._watch = watch
        self._channels: list[_Channel] = []
        self.counts: dict[int, int] = {}
        """Events emitted, by event id."""
        self.past_losses: dict[str, int] = {}

    def configure(
        self, settings: Settings, make_renderer: Callable[[str], Renderer]
    ) -> None:
        """Open the sinks of `settings`; those that were open are closed in order."""
        self.flush()
        for channel in self._channels:
            self._retire(channel.sink, 0.2)
        self._channels = [
            _Channel(open_sink(kind, target, settings.spool_limit_bytes), renderer)
            for kind, form, target in settings.sinks
            for renderer in (make_renderer(form),)
        ]

    def emit(self, event_id: int, values: Sequence[str]) -> None:
        """Number and render one event; `flush` writes it."""
        record_id = self._record_ids.take()
        wall_ns = time.time_ns()
        self.counts[event_id] = self.counts.get(event_id, 0) + 1
        for channel in self._channels:
            line = channel.renderer.line(event_id, values, record_id, wall_ns)
            channel.batch.append(line)
        if self._watch is not None:
            self._watch(event_id, values)

    def flush(self) -> None:
        """Hand the batch to the sinks, and what they could not write before."""
        wall_s = int(time.time())
        for channel in self._channels:
            if channel.batch:
                channel.sink.write(channel.batch, wall_s)
                channel.batch = []
            elif channel.sink.spooled_bytes:
                channel.sink.flush()

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
        for reason, count in sink.losses.items():
            self.past_losses[reason] = self.past_losses.get(reason, 0) + count


def open_sink(kind: str, target: str, spool_limit_bytes: int) -> Sink:
    """Return the sink of a setting: syslog, file or stdout; `target` may be empty."""
    if kind == "file":
        return FileSink(target, spool_limit_bytes)
    if kind == "stdout":
        return StdoutSink(spool_limit_bytes=spool_limit_bytes)
    return SyslogSink(target or "/dev/log", spool_limit_bytes)
