# SPDX-License-Identifier: MIT
"""Record in, event out: decode, process table, enrich, rules, output, and what waits.

An event whose Hashes are not known yet waits in its process's queue, and the process's
later events behind it; the events of other processes go on.

Each record has one fate for each event that it can make: `books` says which there are,
`account` counts them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.builder import Finish, Make, Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.errors import LibbpfError, RecordError
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.file_identity import FILE_FIELDS, FILE_ID_FIELDS, FileId
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.books import TOLD_BEFORE
from sysmonlx.pipeline.losses import Loss
from sysmonlx.processes.process import NO_LAUNCH, Launch, Process
from sysmonlx.processes.table import ProcessTable
from sysmonlx.rules.verdicts import Decide, Rules
from sysmonlx.schema.events import EVENT_BY_ID, PROCESS_CREATE

_HASHES = [field.name for field in PROCESS_CREATE.fields].index("Hashes")
_KNOWN_LIMIT = 4096
_TYPE = 0  # offset of `type` in struct record_header; types are below 256

_type_of = itemgetter(_TYPE)

Handler = Callable[[bytes], object]

#: Takes a record, and returns who acted; None: nobody did.
Who = Callable[[bytes], Process | None]

#: Takes the bytes of a struct file_identity.
MarkKnown = Callable[[bytes], None]

#: Event id, values, whether they are all plain.
_Event = tuple[int, Values, bool]


def _no_such_record(data: bytes) -> None:
    raise RecordError(f"no record has type {data[_TYPE]}")


class _Wanted(NamedTuple):
    """An event that the rules may let pass: its maker, and who judges between.

    `no_event` says why there is none where `finish` returns None.
    """

    event_id: int
    make: Make
    decide: Decide
    finish: Finish
    no_event: str
    is_cut: Callable[[bytes], bool] | None


class Judging(NamedTuple):
    """How records are handled under one set of rules."""

    decisions: Mapping[int, Decide]
    decides_by_hash: bool
    handlers: list[Handler]
    asked: dict[str, list[int]]
    shows_images: bool


class Held:
    """An event in a queue: `is_waiting` for its hash, `is_decided` by the rules."""

    __slots__ = ("event_id", "is_decided", "is_plain", "is_waiting", "queue", "values")

    def __init__(
        self,
        event: _Event,
        queue: deque[Held],
        *,
        is_decided: bool,
    ) -> None:
        self.event_id, self.values, self.is_plain = event
        self.queue = queue
        self.is_waiting = False
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
        self._emit = output.emit
        self._is_plain_name = context.is_plain_name
        self._hasher = hasher
        self._mark_known = mark_known
        self._known: set[bytes] = set()
        self._hashes: dict[bytes, str] = {}
        self.account = Account(layouts)
        self._filtered = self.account.filtered
        self.held = 0
        self._waiting: dict[Held, None] = {}
        create = layouts.by_name["process_create"]
        self._create, self._create_bytes = layouts.number["process_create"], create.size
        self._file = create.span(*FILE_FIELDS)
        self._read_file = create.reader(*FILE_ID_FIELDS)
        self._read_program = create.reader("tgid", "uid", "image", "mount_namespace")
        self._judging = Judging({}, False, [_no_such_record] * 256, {}, False)

    @property
    def received(self) -> dict[str, int]:
        """Records taken from the ring, by name."""
        return self.account.received_by_name()

    @property
    def bad(self) -> int:
        """Events and records lost because a record did not fit its layout."""
        return self.account.bad

    def waiting(self) -> Counter[int]:
        """Return the events that wait for a hash, by event id."""
        queues = {id(held.queue): held.queue for held in self._waiting}
        return Counter(held.event_id for each in queues.values() for held in each)

    @property
    def filtered(self) -> Counter[int]:
        """Events that the rules excluded here, by event id."""
        return +Counter(self.account.filtered)

    def use_rules(self, rules: Rules) -> None:
        """Judge every event from now on by these rules."""
        self.use(self.prepare(rules))

    def prepare(self, rules: Rules) -> Judging:
        """Return how to judge by these rules; nothing changes yet."""
        processes, by_hash = self._processes, "Hashes" in rules.reads(PROCESS_CREATE.id)
        asked: dict[str, list[int]] = {}
        whose: dict[str, Who] = {"process_terminate": processes.terminate}
        handlers: list[Handler] = [_no_such_record] * 256
        shows_images = False
        for name, layout in self._layouts.by_name.items():
            wanted = tuple(self._wanted(name, rules))
            handler: Handler = layout.decode
            if name == "process_fork":
                handler = processes.fork
            elif name == "process_create":
                handler = self._creating(wanted, by_hash)
                shows_images = bool(wanted)
            elif name in BUILDERS:
                who = whose.get(name, processes.acting)
                acting = {self._acting(each, who): each.event_id for each in wanted}
                handler = self._in_turn(acting, who)
            handlers[self._layouts.number[name]] = handler
            asked[name] = [each.event_id for each in wanted]
        return Judging(rules.decide, by_hash, handlers, asked, shows_images)

    def use(self, judging: Judging) -> Judging:
        """Judge as prepared from now on; return how it was done before."""
        self._hashes.clear()  # the algorithms may change with the rules
        self._processes.launches.clear()
        self.account.turn(judging.asked)
        before, self._judging = self._judging, judging
        return before

    def _wanted(self, record: str, rules: Rules) -> Iterator[_Wanted]:
        """Yield the events of a record that the rules may let pass."""
        layout = self._layouts.by_name[record]
        for event_id, build in BUILDERS.get(record, ()):
            if rules.can_emit(event_id):
                maker = build(layout, self._context)
                fields = EVENT_BY_ID[event_id].fields
                late = {fields[at].name for at in maker.late}
                if late & rules.reads(event_id):
                    maker = _at_once(maker)
                decide = rules.decide[event_id]
                yield _Wanted(
                    event_id,
                    maker.make,
                    decide,
                    maker.finish,
                    maker.no_event,
                    maker.is_cut,
                )

    def take(self, records: Sequence[bytes]) -> None:
        """Carry records of the ring buffer as far as they go."""
        handlers = self._judging.handlers
        if len(records) > 1 and self._judging.shows_images and self._hasher.has_work:
            with suppress(Exception):  # each record tries again, and is counted
                self._open_early(records)
        for data in records:
            try:
                handlers[data[_TYPE]](data)
            except Exception as error:  # one record, whatever it is, ends nobody
                self.account.lose_record(data, error)
        self._hasher.unexpect()
        self.account.received.update(map(_type_of, filter(None, records)))
        self._processes.trim()

    def _open_early(self, records: Sequence[bytes]) -> None:
        """Hold new program files first of all: what comes before takes its time."""
        create, file, size = self._create, self._file, self._create_bytes
        for data in records:
            if data and data[_TYPE] == create and len(data) >= size:
                key = data[file]
                if key not in self._hashes and key not in self._known:
                    tgid, _, image, namespace = self._read_program(data)
                    found = FileId(*self._read_file(data))
                    self._hasher.expect(found, tgid, image, namespace)

    def _in_turn(self, events: dict[Handler, int], otherwise: Handler) -> Handler:
        """Return what hands a record to each of these, or to another if there are none.

        Each makes one event: where one fails, the others have their turn all the same.
        """
        handlers = (*events,)
        if len(handlers) < 2:
            return handlers[0] if handlers else otherwise

        def handle(data: bytes) -> None:
            for each in handlers:
                try:
                    each(data)
                except Exception as error:
                    self.account.lose(events[each], error)

        return handle

    def _acting(self, wanted: _Wanted, who: Who) -> Handler:
        """Return what makes an event of records in which a process did something."""
        event_id, make, decide, finish, no_event, is_cut = wanted
        filtered, none = self._filtered, self.account.no_event
        emit, set_aside = self._emit, self._set_aside
        is_plain_name = self._is_plain_name

        def handle(data: bytes) -> None:
            process = who(data)
            if process is None:
                none[event_id, TOLD_BEFORE] += 1
                return
            values = make(data, process)
            rule = decide(values)
            if rule is None:
                if is_cut is None or not is_cut(data):
                    filtered[event_id] += 1
                    return
                rule = UNKNOWN
            is_plain = finish(values, data, process)
            if rule != UNKNOWN:
                values[0] = rule
                is_plain = is_plain and is_plain_name[rule]
            if is_plain is None or process.hold:
                set_aside(process, (event_id, values, is_plain), no_event)
            else:
                emit((event_id, values, is_plain, None))

        return handle

    def _set_aside(
        self, process: Process, event: tuple[int, Values, bool | None], no_event: str
    ) -> None:
        """Let an event wait for what its process did before; or it is none."""
        event_id, values, is_plain = event
        if is_plain is None:
            self.account.no_event[event_id, no_event] += 1
        else:
            self._hold(process, (event_id, values, is_plain))

    def _creating(self, wanted: Sequence[_Wanted], by_hash: bool) -> Handler:
        """Return what makes events of processes that run another image."""
        if not wanted:
            return self._create_unseen
        if by_hash:
            return partial(self._create_by_hash, wanted[0])
        _, make, decide, *_ = wanted[0]
        create, unseen = self._processes.create, self._needs_no_hash
        emit, is_plain_name = self._emit, self._is_plain_name

        def handle(data: bytes) -> None:
            process = create(data)
            values = make(data, process)
            rule = decide(values)
            if rule is None:
                unseen(process, data)
                self._filtered[1] += 1
                return
            launch, process.launch = process.launch, NO_LAUNCH
            is_plain = process.has_plain_args and launch.has_plain_parent
            if rule != UNKNOWN:
                values[0] = rule
                is_plain = is_plain and is_plain_name[rule]
            text = launch.hashes
            if text is None or process.hold:
                is_plain = is_plain and launch.shape.has_plain_rest
                self._create_held(data, process, (1, values, is_plain), launch)
            else:
                values[_HASHES] = text
                emit((1, values, is_plain, launch.shape))

        return handle

    def _create_unseen(self, data: bytes) -> None:
        self._needs_no_hash(self._processes.create(data), data)

    def _create_by_hash(self, wanted: _Wanted, data: bytes) -> None:
        """Take a new image where the rules cannot judge before its hash is known."""
        process = self._processes.create(data)
        values = wanted.make(data, process)
        is_plain = bool(wanted.finish(values, data, process))
        launch, process.launch = process.launch, NO_LAUNCH
        is_plain = is_plain and launch.shape.has_plain_rest
        self._create_held(data, process, (1, values, is_plain), launch)

    def _create_held(
        self, data: bytes, process: Process, event: _Event, launch: Launch
    ) -> None:
        """Let event 1 wait for its hash, or for what its process did before.

        It goes on at once where it need not wait for either.
        """
        held = self._hold(process, event, is_decided=not self._judging.decides_by_hash)
        held.is_waiting = True
        self._waiting[held] = None
        try:
            text = launch.hashes or self._known_hash(data, launch)
            if text is None and not self._request(held, data):
                text = UNKNOWN
        except Exception as error:  # the event goes without its hash
            self.account.note(error)
            text = UNKNOWN
        if text is not None:
            self._release(held, text)

    def _known_hash(self, data: bytes, launch: Launch) -> str | None:
        """Return the hash of an image where no work is needed for it."""
        file = data[self._file]
        text = self._hashes.get(file)
        if text is None:
            text = self._hasher.cached(FileId(*self._read_file(data)))
            if text is None or (text == UNKNOWN and self._hasher.has_work):
                return text
            if len(self._hashes) >= _KNOWN_LIMIT:
                self._hashes.clear()
            self._hashes[file] = text
        if not launch.has_long_values:
            launch.hashes = text
        return text

    def _request(self, held: Held, data: bytes) -> bool:
        """Ask for the hash of an image; False: it cannot be had."""
        tgid, uid, image, namespace = self._read_program(data)
        file = FileId(*self._read_file(data))
        accepted = self._hasher.request(file, tgid, image, namespace, held, uid)
        self._hint(data[self._file])
        return accepted

    def _hold(
        self, process: Process, event: _Event, *, is_decided: bool = True
    ) -> Held:
        queue = process.hold
        if queue is None:
            queue = process.hold = deque()
        held = Held(event, queue, is_decided=is_decided)
        queue.append(held)
        self.held += 1
        return held

    def _needs_no_hash(self, process: Process, data: bytes) -> None:
        """Let the kernel know that nobody waits for this image."""
        process.launch = NO_LAUNCH
        file = data[self._file]
        if file not in self._known:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known.add(file)
            self._hint(file)

    def _hint(self, file: bytes) -> None:
        """Let the kernel know a file; where it takes no more, it wakes us too often."""
        with suppress(LibbpfError):
            self._mark_known(file)

    def take_hashes(self) -> None:
        """Let go the events whose hash is known by now, or has taken too long."""
        for held, _, text in self._hasher.results():
            self._release(held, text)
        if (error := self._hasher.take_error()) is not None:
            self.account.note(error)

    def hash_losses(self) -> dict[Loss, int]:
        """Return how many hashes could not be had since the start, by reason."""
        return {("Hashes", why): n for why, n in self._hasher.losses().items()}

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
            try:
                self._let_go(first)
            except Exception as error:
                self.account.lose(first.event_id, error)

    def _let_go(self, held: Held) -> None:
        event_id, values, is_plain = held.event_id, held.values, held.is_plain
        if not held.is_decided:
            rule = self._judging.decisions[event_id](values)
            if rule is None:
                self._filtered[event_id] += 1
                return
            values[0] = rule
            is_plain = is_plain and self._is_plain_name[rule]
        self._emit((event_id, values, is_plain, None))

    def report(self, event_id: int, values: Sequence[str]) -> None:
        """Emit an event of the daemon itself (4, 16, 255): no rule judges it."""
        self._emit((event_id, list(values), False, None))

    def utc_now(self) -> str:
        """Return the present time as UtcTime shows it."""
        return self._context.utc_of_wall(time.time_ns())


def _at_once(maker: Maker) -> Maker:
    """Return a maker whose first step does both: the rules ask for what comes late."""
    make, finish = maker.make, maker.finish
    is_plain: bool | None = None

    def make_whole(data: bytes, process: Process) -> Values:
        nonlocal is_plain
        values = make(data, process)
        is_plain = finish(values, data, process)
        return values

    return maker._replace(make=make_whole, finish=lambda *_: is_plain, late=())
