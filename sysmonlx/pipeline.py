# SPDX-License-Identifier: MIT
"""Record in, event out: decode, process table, enrich, rules, output, and what waits.

An event whose Hashes are not known yet waits in its process's queue, and the process's
later events behind it; the events of other processes go on.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from sysmonlx.budget import Budget
from sysmonlx.builders import BUILDERS
from sysmonlx.catalogue import EVENT_BY_ID, PROCESS_CREATE
from sysmonlx.decode import Layouts, Record
from sysmonlx.enrich import Builder, Context, process_create, process_terminate
from sysmonlx.errors import RecordError
from sysmonlx.hashes import FileId, Hasher
from sysmonlx.output import Output
from sysmonlx.processes import Process, ProcessTable
from sysmonlx.rules import Rules

_HASHES = [field.name for field in PROCESS_CREATE.fields].index("Hashes")
_KNOWN_LIMIT = 4096
_TYPE = 16  # offset of `type` in struct record_header; types are below 256

MarkKnown = Callable[[Record], None]


def _file_id(record: Record) -> FileId:
    # Not by name: that takes three times as long.
    return tuple.__new__(
        FileId,
        (
            record.file_device,
            record.file_inode,
            record.file_size,
            record.file_mtime_ns,
            record.file_ctime_ns,
        ),
    )


def _no_such_record(data: bytes) -> Record:
    raise RecordError(f"no record has type {data[_TYPE]}")


class Held:
    """An event in a queue: `is_waiting` for its hash, `is_decided` by the rules."""

    __slots__ = ("event_id", "is_decided", "is_waiting", "queue", "values")

    def __init__(
        self,
        event_id: int,
        values: list[str],
        queue: deque[Held],
        *,
        is_waiting: bool,
        is_decided: bool,
    ) -> None:
        self.event_id = event_id
        self.values = values
        self.queue = queue
        self.is_waiting = is_waiting
        self.is_decided = is_decided


class Pipeline:
    """The stages in order. `mark_known` tells the kernel that a file needs no haste."""

    def __init__(
        self,
        layouts: Layouts,
        processes: ProcessTable,
        context: Context,
        output: Output,
        hasher: Hasher[Held],
        mark_known: MarkKnown,
    ) -> None:
        self._layouts = layouts
        self._processes = processes
        self._context = context
        self._output = output
        self._hasher = hasher
        self._mark_known = mark_known
        self._known: set[FileId] = set()
        self._received = [0] * 256
        self.filtered: Counter[int] = Counter()
        self.budget = Budget(0)
        self.bad = 0
        self.held = 0
        self._waiting: dict[Held, None] = {}
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> list[tuple[Callable[[bytes], Record], Any]]:
        special = {
            "process_fork": self._processes.fork,
            "process_create": self._process_create,
            "process_terminate": self._process_terminate,
        }
        handlers: list[tuple[Callable[[bytes], Record], Any]]
        handlers = [(_no_such_record, None)] * 256
        for name, layout in self._layouts.by_name.items():
            act = special.get(name) or self._acting(BUILDERS.get(name, ()))
            handlers[self._layouts.number[name]] = (layout.decode, act)
        return handlers

    @property
    def received(self) -> dict[str, int]:
        """Records taken from the ring, by name."""
        numbers = self._layouts.number
        return {name: self._received[number] for name, number in numbers.items()}

    def use_rules(self, rules: Rules) -> None:
        """Judge every event from now on by these rules."""
        self._decisions = rules.decide
        self._decide_create = rules.decide[PROCESS_CREATE.id]
        self._decides_by_hash = "Hashes" in rules.reads(1)
        self._emits = {each for each in EVENT_BY_ID if rules.can_emit(each)}

    def handle(self, data: bytes) -> None:
        """Carry one record of the ring buffer as far as it goes."""
        try:
            number = data[_TYPE]
            decode, act = self._handlers[number]
            record = decode(data)
        except (IndexError, RecordError):
            self.bad += 1
            return
        self._received[number] += 1
        act(record)

    def _acting(
        self, builders: tuple[tuple[int, Builder], ...]
    ) -> Callable[[Record], None]:
        def act(record: Record) -> None:
            process = self._processes.acting(record)
            for event_id, build in builders:
                if event_id in self._emits:
                    values = build(record, process, self._context)
                    self._judge(process, event_id, values)

        return act

    def _judge(self, process: Process, event_id: int, values: list[str] | None) -> None:
        """Ask the budget and the rules, and emit what they let pass."""
        if values is not None and not self._is_left_out(process, event_id):
            self._decide(process, event_id, values)

    def _decide(self, process: Process, event_id: int, values: list[str]) -> None:
        rule = self._decisions[event_id](values)
        if rule is None:
            self.filtered[event_id] += 1
            return
        values[0] = rule
        if process.hold:
            self._hold(process, event_id, values, is_waiting=False, is_decided=True)
        else:
            self._output.emit(event_id, values)

    def _is_left_out(self, process: Process, event_id: int) -> bool:
        """Count what the budget watches; True: a flood's event that is left out."""
        pair = (event_id, process.image)
        budget = self.budget
        budget.counts[pair] += 1
        return pair in budget.sampled and budget.drops(pair)

    def _process_terminate(self, record: Record) -> None:
        process = self._processes.terminate(record)
        if process is not None and 5 in self._emits:
            values = process_terminate(record, process, self._context)
            self._judge(process, 5, values)

    def _process_create(self, record: Record) -> None:
        process = self._processes.create(record)
        file_id = _file_id(record)
        if 1 not in self._emits or self._is_left_out(process, 1):
            self._needs_no_hash(file_id, record)
            return
        values = process_create(record, process, self._context)
        if not self._decides_by_hash:
            rule = self._decide_create(values)
            if rule is None:
                self.filtered[1] += 1
                self._needs_no_hash(file_id, record)
                return
            values[0] = rule
        text = self._hasher.cached(file_id)
        if text is None:
            self._request(record, process, file_id, values)
        else:
            values[_HASHES] = text
            self._emit_create(process, values)

    def _emit_create(self, process: Process, values: list[str]) -> None:
        if self._decides_by_hash:
            self._decide(process, 1, values)
        elif process.hold:
            self._hold(process, 1, values, is_waiting=False, is_decided=True)
        else:
            self._output.emit(1, values)

    def _request(
        self, record: Record, process: Process, file_id: FileId, values: list[str]
    ) -> None:
        """Let the event wait until its hash is known."""
        held = self._hold(
            process,
            1,
            values,
            is_waiting=True,
            is_decided=not self._decides_by_hash,
        )
        accepted = self._hasher.request(
            file_id, record.tgid, record.image, record.mount_namespace, held
        )
        self._mark_known(record)
        if not accepted:
            self._release(held, "-")

    def _hold(
        self,
        process: Process,
        event_id: int,
        values: list[str],
        *,
        is_waiting: bool,
        is_decided: bool,
    ) -> Held:
        queue = process.hold
        if queue is None:
            queue = process.hold = deque()
        held = Held(
            event_id, values, queue, is_waiting=is_waiting, is_decided=is_decided
        )
        queue.append(held)
        self.held += 1
        if is_waiting:
            self._waiting[held] = None
        return held

    def _needs_no_hash(self, file_id: FileId, record: Record) -> None:
        if file_id not in self._known:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known.add(file_id)
            self._mark_known(record)

    def take_hashes(self) -> None:
        """Let go the events whose hash is known by now, or has taken too long."""
        for held, _, text in self._hasher.results():
            self._release(held, text)

    def release_all(self) -> None:
        """Let go everything that waits, its hashes unknown; for the end."""
        for held in tuple(self._waiting):
            self._release(held, "-")

    def _release(self, held: Held, text: str) -> None:
        held.values[_HASHES] = text
        held.is_waiting = False
        self._waiting.pop(held, None)
        queue = held.queue
        while queue and not queue[0].is_waiting:
            first = queue.popleft()
            self.held -= 1
            self._let_go(first)

    def _let_go(self, held: Held) -> None:
        if not held.is_decided:
            rule = self._decisions[held.event_id](held.values)
            if rule is None:
                self.filtered[held.event_id] += 1
                return
            held.values[0] = rule
        self._output.emit(held.event_id, held.values)

    def report(self, event_id: int, values: Sequence[str]) -> None:
        """Emit an event of the daemon itself (4, 16, 255): no rule judges it."""
        self._output.emit(event_id, list(values))

    def utc_now(self) -> str:
        """Return the present time as UtcTime shows it."""
        return self._context.utc_of_wall(time.time_ns())
