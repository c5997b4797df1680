# SPDX-License-Identifier: MIT
"""Record in, event out: decode, process table, enrich, rules, output, and what waits.

An event whose Hashes are not known yet waits in its process's queue, and the process's
later events behind it; the events of other processes go on.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sysmonlx.budget import Budget
from sysmonlx.builders import BUILDERS, FIELDS
from sysmonlx.catalogue import EVENT_BY_ID, PROCESS_CREATE
from sysmonlx.decode import Layout, Layouts, Record
from sysmonlx.enrich import Builder, Built, Context, process_create, process_terminate
from sysmonlx.errors import RecordError
from sysmonlx.hashes import FileId, Hasher
from sysmonlx.output import Output
from sysmonlx.process import Process
from sysmonlx.processes import FORK_FIELDS, ProcessTable
from sysmonlx.rules import Rules
from sysmonlx.texts import UNKNOWN

_HASHES = [field.name for field in PROCESS_CREATE.fields].index("Hashes")
_KNOWN_LIMIT = 4096
_TYPE = 16  # offset of `type` in struct record_header; types are below 256

_TYPE_BYTE = itemgetter(slice(_TYPE, _TYPE + 1))

Handler = Callable[[bytes], object]

#: Takes the bytes of a struct file_identity.
MarkKnown = Callable[[bytes], None]


def _no_such_record(data: bytes) -> None:
    raise RecordError(f"no record has type {data[_TYPE]}")


class Held:
    """An event in a queue: `is_waiting` for its hash, `is_decided` by the rules."""

    __slots__ = ("event_id", "is_decided", "is_plain", "is_waiting", "queue", "values")

    def __init__(
        self,
        event_id: int,
        built: Built,
        queue: deque[Held],
        *,
        is_waiting: bool,
        is_decided: bool,
    ) -> None:
        self.event_id = event_id
        self.values, self.is_plain = built
        self.queue = queue
        self.is_waiting = is_waiting
        self.is_decided = is_decided


def _chain(read: Callable[[bytes], Any], act: Callable[[Any], object]) -> Handler:
    return lambda data: act(read(data))


def _file_id(record: Record) -> FileId:
    return FileId(
        record.file_device,
        record.file_inode,
        record.file_size,
        record.file_mtime_ns,
        record.file_ctime_ns,
    )


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
        self._emit = output.emit
        self._is_plain_name = context.is_plain_name
        self._hasher = hasher
        self._mark_known = mark_known
        self._known: set[bytes] = set()
        self._hashes: dict[bytes, str] = {}
        self._received: Counter[bytes] = Counter()
        self.filtered: Counter[int] = Counter()
        self.budget = Budget(0)
        self.bad = 0
        self.held = 0
        self._waiting: dict[Held, None] = {}
        self._create_layout = layouts.by_name["process_create"]
        self._file = self._create_layout.span("file")
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> list[Handler]:
        fork = self._processes.fork
        special: dict[str, Callable[[Layout], Handler]] = {
            "process_fork": lambda layout: _chain(layout.reader(*FORK_FIELDS), fork),
            "process_create": self._creating,
            "process_terminate": self._terminating,
        }
        handlers: list[Handler] = [_no_such_record] * 256
        for name, layout in self._layouts.by_name.items():
            if name in special:
                handler = special[name](layout)
            elif name in BUILDERS:
                handler = self._acting(layout, BUILDERS[name])
            else:
                handler = layout.decode
            handlers[self._layouts.number[name]] = handler
        return handlers

    @property
    def received(self) -> dict[str, int]:
        """Records taken from the ring, by name."""
        numbers = self._layouts.number
        return {
            name: self._received[bytes([number])] for name, number in numbers.items()
        }

    def use_rules(self, rules: Rules) -> None:
        """Judge every event from now on by these rules."""
        self._decisions = rules.decide
        self._decide_create = rules.decide[PROCESS_CREATE.id]
        self._decides_by_hash = "Hashes" in rules.reads(1)
        self._emits = {each for each in EVENT_BY_ID if rules.can_emit(each)}
        self._hashes.clear()  # the algorithms may change with the rules

    def take(self, records: Sequence[bytes]) -> None:
        """Carry records of the ring buffer as far as they go."""
        handlers = self._handlers
        for data in records:
            try:
                handlers[data[_TYPE]](data)
            except (IndexError, RecordError, struct.error):
                self.bad += 1
                self._received[data[_TYPE : _TYPE + 1]] -= 1
        self._received.update(map(_TYPE_BYTE, records))

    def _acting(
        self, layout: Layout, builders: tuple[tuple[int, Builder], ...]
    ) -> Handler:
        """Return what makes events of records in which a process did something."""
        read = layout.reader(*FIELDS[layout.name])
        acting, decide, context = self._processes.acting, self._decide, self._context

        def handle(data: bytes) -> None:
            fields = read(data)
            process = acting(fields)
            for event_id, build in builders:
                if event_id in self._emits and not (
                    self.budget.is_watching and self._is_left_out(process, event_id)
                ):
                    built = build(fields, process, context)
                    if built is not None:
                        decide(process, event_id, built)

        return handle

    def _terminating(self, layout: Layout) -> Handler:
        read = layout.reader(*FIELDS[layout.name])
        terminate = self._processes.terminate

        def handle(data: bytes) -> None:
            fields = read(data)
            process = terminate(fields)
            if process is None or 5 not in self._emits:
                return
            if self.budget.is_watching and self._is_left_out(process, 5):
                return
            built = process_terminate(fields, process, self._context)
            if built is not None:
                self._decide(process, 5, built)

        return handle

    def _decide(self, process: Process, event_id: int, built: Built) -> None:
        """Ask the rules, and emit what they let pass."""
        values, is_plain = built
        rule = self._decisions[event_id](values)
        if rule is None:
            self.filtered[event_id] += 1
            return
        values[0] = rule
        if process.hold:
            self._hold(process, event_id, built, is_waiting=False, is_decided=True)
            return
        if rule != UNKNOWN:
            is_plain = is_plain and self._is_plain_name[rule]
        self._emit((event_id, values, is_plain))

    def _is_left_out(self, process: Process, event_id: int) -> bool:
        """Count what the budget watches; True: a flood's event that is left out."""
        pair = (event_id, process.image)
        budget = self.budget
        budget.counts[pair] += 1
        return pair in budget.sampled and budget.drops(pair)

    def _creating(self, layout: Layout) -> Handler:
        read = layout.reader(*FIELDS[layout.name])
        create, context = self._processes.create, self._context

        def handle(data: bytes) -> None:
            fields = read(data)
            process = create(fields)
            if 1 not in self._emits or (
                self.budget.is_watching and self._is_left_out(process, 1)
            ):
                self._needs_no_hash(data)
            else:
                self._created(data, process, process_create(fields, process, context))

        return handle

    def _created(self, data: bytes, process: Process, built: Built) -> None:
        values, is_plain = built
        if not self._decides_by_hash:
            rule = self._decide_create(values)
            if rule is None:
                self.filtered[1] += 1
                self._needs_no_hash(data)
                return
            values[0] = rule
            if rule != UNKNOWN:
                is_plain = is_plain and self._is_plain_name[rule]
        text = self._hashes.get(data[self._file]) or self._cached(data)
        if text is None:
            self._request(data, process, built)
            return
        values[_HASHES] = text
        if self._decides_by_hash:
            self._decide(process, 1, built)
        elif process.hold:
            self._hold(process, 1, built, is_waiting=False, is_decided=True)
        else:
            self._emit((1, values, is_plain))

    def _cached(self, data: bytes) -> str | None:
        """Return the hash of an image where no work is needed for it."""
        record = self._create_layout.decode(data)
        text = self._hasher.cached(_file_id(record))
        if text is not None and text != UNKNOWN:
            if len(self._hashes) >= _KNOWN_LIMIT:
                self._hashes.clear()
            self._hashes[data[self._file]] = text
        return text

    def _request(self, data: bytes, process: Process, built: Built) -> None:
        """Let the event wait until its hash is known."""
        held = self._hold(
            process,
            1,
            built,
            is_waiting=True,
            is_decided=not self._decides_by_hash,
        )
        record = self._create_layout.decode(data)
        accepted = self._hasher.request(
            _file_id(record), record.tgid, record.image, record.mount_namespace, held
        )
        self._mark_known(data[self._file])
        if not accepted:
            self._release(held, UNKNOWN)

    def _hold(
        self,
        process: Process,
        event_id: int,
        built: Built,
        *,
        is_waiting: bool,
        is_decided: bool,
    ) -> Held:
        queue = process.hold
        if queue is None:
            queue = process.hold = deque()
        held = Held(
            event_id, built, queue, is_waiting=is_waiting, is_decided=is_decided
        )
        queue.append(held)
        self.held += 1
        if is_waiting:
            self._waiting[held] = None
        return held

    def _needs_no_hash(self, data: bytes) -> None:
        file = data[self._file]
        if file not in self._known:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known.add(file)
            self._mark_known(file)

    def take_hashes(self) -> None:
        """Let go the events whose hash is known by now, or has taken too long."""
        for held, _, text in self._hasher.results():
            self._release(held, text)

    def release_all(self) -> None:
        """Let go everything that waits, its hashes unknown; for the end."""
        for held in tuple(self._waiting):
            self._release(held, UNKNOWN)

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
        is_plain = held.is_plain and self._is_plain_name[held.values[0]]
        self._emit((held.event_id, held.values, is_plain))

    def report(self, event_id: int, values: Sequence[str]) -> None:
        """Emit an event of the daemon itself (4, 16, 255): no rule judges it."""
        self._emit((event_id, list(values), False))

    def utc_now(self) -> str:
        """Return the present time as UtcTime shows it."""
        return self._context.utc_of_wall(time.time_ns())
