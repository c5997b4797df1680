# SPDX-License-Identifier: MIT
"""Record in, event out: decode, process table, enrich, rules, output.

`Pipeline.take` looks at the first byte of each record, its type, and calls the handler
of that type. Handlers are closures, made by `Pipeline.prepare` for one set of rules:
all that is the same for the records of a type (where its fields lie, which events it
makes, which functions judge them) is looked up then, and not for each record.

    record              handler, and the function that returned it
    process_fork        ProcessTable.fork: a process that acts before it runs a program
    cgroup_create       handle, `_grouping`: the path is kept for fields of ours
    process_create      handle, `_creating`: event 1, which may have to wait for Hashes
                        _create_unseen, no closure: no rule wants event 1
                        _create_by_hash, no closure: rules ask for Hashes
    process_terminate   handle, `_acting`, which asks ProcessTable.terminate who ended
    any other           handle, `_acting`, which asks ProcessTable.acting who did it
    library_load        handle, `_mapping`: event 7, which may have to wait for Hashes
    module_load         handle, `_loading`: event 6 waits until its file was read
    dns_message         handle, `pipeline.answering`: a question waits for its answer
    one of two events   handle, `_in_turn`: calls one `_acting` for each (23 and 26)
    one that no rule    ProcessTable.acting or terminate alone: the table stays right
      wants an event of
    one of no event     Layout.decode: a record that does not fit is counted
    of no known type    _no_such_record: the record is counted as lost

Inside of a handler, in this order: who acted (`processes`); step one of the event
(`enrich`, `Maker.make`); the rules (`Decide`); step two (`Maker.finish`); then the
event goes to the output (`Output.emit`), or into the queue of its process
(`pipeline.waiting`).

Each record has one fate for each event that it can make. `pipeline.books` names the
fates, `pipeline.account` counts them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import compress
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from sysmonlx.bounded import CacheUse
from sysmonlx.capture.records import Layout, Layouts
from sysmonlx.enrich.appended import refit, with_appended
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.library import LIBRARY_HASHES
from sysmonlx.enrich.process import HASHES
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.errors import RecordError
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.answering import (
    NOT_TOLD,
    Answering,
    Answers,
    Tell,
    without_status,
)
from sysmonlx.pipeline.books import TOLD_BEFORE
from sysmonlx.pipeline.correlating import Correlating, PlainNames
from sysmonlx.pipeline.image_hashes import ImageHashes, MarkKnown
from sysmonlx.pipeline.library_files import LibraryFiles
from sysmonlx.pipeline.losses import Loss
from sysmonlx.pipeline.module_files import ModuleFiles
from sysmonlx.pipeline.waiting import Finished, Waiting
from sysmonlx.processes.launches import NO_LAUNCH
from sysmonlx.processes.lineage import Lineages
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.verdicts import Decide, Rules
from sysmonlx.schema.events import (
    EVENT_BY_ID,
    IMAGE_LOAD,
    NETWORK_CONNECT,
    PROCESS_CREATE,
)

_TYPE = 0  # offset of `type` in struct record_header; types are below 256

_type_of = itemgetter(_TYPE)

_NO_CORRELATIONS = Correlator()

#: Takes the bytes of a record; its result is not used.
Handler = Callable[[bytes], object]

#: Takes the bytes of a record and returns the process that acted; None: the record
#: tells an end that is known already.
Who = Callable[[bytes], Process | None]

#: Takes the bytes of a process_create record and returns the process.
Create = Callable[[bytes], Process]


def _no_such_record(data: bytes) -> None:
    raise RecordError(f"no record has type {data[_TYPE]}")


class _Wanted(NamedTuple):
    """An event of which the rules may let some pass: how it is made and judged."""

    event_id: int
    maker: Maker
    decide: Decide
    is_plain_name: Mapping[str, bool]


class Judging(NamedTuple):
    """How records are handled under one set of rules."""

    decisions: Mapping[int, Decide]
    """The function that judges the values of an event, by event id."""
    handlers: list[Handler]
    """By the type of a record."""
    asked: dict[str, list[int]]
    """Ids of the events that a record can make under these rules, by its name."""
    shows_images: bool
    """Whether event 1 can pass."""
    answers: Answers = NOT_TOLD
    """How DNS questions are told."""
    appended: tuple[str, ...] = ()
    """Fields of ours that the values of events have behind the last one."""
    judges: Mapping[int, SigmaJudge] = MappingProxyType({})
    """What judges by rules of Sigma, by event id."""
    correlator: Correlator = _NO_CORRELATIONS
    """What carries out correlations of these rules."""


class Pipeline:
    """The stages in order.

    `mark_known` tells the kernel that an exec of this file need not wake the reader at
    once: see `image_hashes`.
    """

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
        self._is_plain_name = PlainNames(context.is_plain_name)
        self._hasher = hasher
        self.account = Account(layouts)
        self._filtered = self.account.filtered
        create = layouts.by_name["process_create"]
        self._create = layouts.number["process_create"]
        self._images = ImageHashes(create, hasher, mark_known)
        self.dns = Answering(
            layouts.by_name["dns_message"],
            processes.acting,
            self.account,
            context.host_names,
        )
        lineages = Lineages(processes, layouts)
        self._correlating = Correlating(context, lineages, self.account)
        self._waiting = Waiting(self._images, hasher, self.account, self._let_go)
        library = layouts.by_name["library_load"]
        self._libraries = LibraryFiles(library, hasher, self._waiting)
        module = layouts.by_name["module_load"]
        self._modules = ModuleFiles(module, context, hasher, self._waiting)
        self._judging = Judging({}, [_no_such_record] * 256, {}, False)

    @property
    def received(self) -> dict[str, int]:
        """Records taken from the ring, by name."""
        return self.account.received_by_name()

    def cache_use(self) -> dict[str, CacheUse]:
        """Return how often starts of programs found what is made once for many.

        A launch that has the hash spares a look at the hashes.
        """
        launches, images = self._processes.launches, self._images
        hits = max(0, self.received["process_create"] - launches.made)
        return {
            "launches": CacheUse(hits, launches.made, len(launches)),
            "hashes": CacheUse(images.hits, images.misses, len(images)),
        }

    @property
    def bad(self) -> int:
        """Events and records lost because a record did not fit its layout."""
        return self.account.bad

    @property
    def held(self) -> int:
        """Events that wait; see `pipeline.waiting`."""
        return self._waiting.count

    def waiting(self) -> Counter[int]:
        """Return how many events wait, by event id."""
        return self._waiting.by_event() + self.dns.waiting()

    @property
    def judges(self) -> Collection[SigmaJudge]:
        """What judges by rules of Sigma now, one for each event that has some."""
        return self._judging.judges.values()

    @property
    def correlator(self) -> Correlator:
        """What carries out correlations now."""
        return self._judging.correlator

    @property
    def filtered(self) -> Counter[int]:
        """Events that the rules excluded here, by event id."""
        return +Counter(self.account.filtered)

    def use_rules(
        self, rules: Rules, appended: tuple[str, ...] = (), *, names_hosts: bool = False
    ) -> None:
        """Judge every event from now on by these rules."""
        self.use(self.prepare(rules, appended, names_hosts=names_hosts))

    def prepare(
        self, rules: Rules, appended: tuple[str, ...] = (), *, names_hosts: bool = False
    ) -> Judging:
        """Return how to judge by these rules; nothing changes yet.

        `appended` are the fields of ours that events are to have. `names_hosts`: event
        3 is to name hosts as DNS answers did.
        """
        processes, by_hash = self._processes, "Hashes" in rules.reads(PROCESS_CREATE.id)
        late_library = "Hashes" in rules.reads(IMAGE_LOAD.id)
        with_file: dict[str, Callable[[_Wanted], Handler]] = {
            "library_load": partial(self._mapping, is_late=late_library),
            "module_load": self._loading,
        }
        asked: dict[str, list[int]] = {}
        decisions: dict[int, Decide] = {}
        whose: dict[str, Who] = {"process_terminate": processes.terminate}
        handlers: list[Handler] = [_no_such_record] * 256
        shows_images = False
        is_of_use = names_hosts and rules.can_emit(NETWORK_CONNECT.id)
        answers = Answers(are_learnt=is_of_use)
        for name, layout in self._layouts.by_name.items():
            wanted = tuple(self._wanted(name, rules, appended))
            handler: Handler = layout.decode
            if name == "process_fork":
                handler = processes.fork
            elif name == "cgroup_create":
                handler = self._grouping(layout)
            elif name == "process_create":
                handler = self._creating(wanted, by_hash, self._creator(rules))
                shows_images = bool(wanted)
            elif name == "dns_message" and (wanted or answers.are_learnt):
                answers = self._answers(wanted, answers)
                handler = self.dns.handler(answers)
            elif name in with_file and wanted:
                handler = with_file[name](wanted[0])
            elif name in BUILDERS:
                who = whose.get(name, processes.acting)
                acting = {self._acting(each, who): each.event_id for each in wanted}
                handler = self._in_turn(acting, who)
            handlers[self._layouts.number[name]] = handler
            decisions |= {each.event_id: each.decide for each in wanted}
            asked[name] = [each.event_id for each in wanted]
        return Judging(
            decisions,
            handlers,
            asked,
            shows_images,
            answers,
            appended,
            rules.judges,
            rules.correlator,
        )

    def use(self, judging: Judging) -> Judging:
        """Judge as prepared from now on; return how it was done before.

        If that fails, events are judged as before.
        """
        before = self._judging
        try:
            self._turn_to(judging)
            for event_id, judge in judging.judges.items():
                if event_id in before.judges:
                    judge.go_on_from(before.judges[event_id])
            judging.correlator.go_on_from(before.correlator)
            self._correlating.fit(judging.appended, judging.correlator)
            if before.appended != judging.appended:
                for held in self._waiting:
                    names = before.appended, judging.appended
                    refit(held.event_id, held.values, *names)
        except BaseException:
            self._turn_to(before)
            before.correlator.share_room()
            self._correlating.fit(before.appended, before.correlator)
            raise
        return before

    def _turn_to(self, judging: Judging) -> None:
        """Judge as prepared, and forget what was kept for other rules."""
        self._libraries.forget()  # the algorithms may change with the rules
        self._images.forget()
        self._processes.launches.fit(judging.appended)
        self.account.turn(judging.asked)
        self.dns.use(judging.answers)
        self._judging = judging

    def judge_aside(self, judging: Judging) -> Judging:
        """Judge as prepared from now on; return how it was done before.

        The policy is the one in force: the same events with the same fields, other
        verdicts. What was learnt under it is kept, and it can be taken back so.
        """
        self.dns.use(judging.answers)
        before, self._judging = self._judging, judging
        return before

    @property
    def judging(self) -> Judging:
        """How records are handled now."""
        return self._judging

    def _wanted(
        self, record: str, rules: Rules, appended: tuple[str, ...]
    ) -> Iterator[_Wanted]:
        """Yield the events of a record that the rules may let pass."""
        layout = self._layouts.by_name[record]
        for event_id, build in BUILDERS.get(record, ()):
            if rules.can_emit(event_id):
                maker = build(layout, self._context)
                maker = with_appended(event_id, maker, appended, layout, self._context)
                fields = EVENT_BY_ID[event_id].fields
                late = {fields[at].name for at in maker.late}
                if late & rules.reads(event_id):
                    maker = _at_once(maker)
                decide = rules.decide[event_id]
                is_plain: Mapping[str, bool] = self._context.is_plain_name
                if judge := rules.judges.get(event_id):
                    is_plain = self._is_plain_name
                    if judge.links:
                        watched = self._correlating.watched(judge, rules.correlator)
                        maker, decide = watched(maker, decide, layout)
                yield _Wanted(event_id, maker, decide, is_plain)

    def take(self, records: Sequence[bytes]) -> None:
        """Carry records of the ring buffer as far as they go."""
        handlers = self._judging.handlers
        with_type = [*filter(None, records)]
        types = bytes(map(_type_of, with_type))
        if len(records) > 1 and self._create in types:
            self._open_early(with_type, types)
        for data in records:
            try:
                handlers[data[_TYPE]](data)
            except Exception as error:  # one record, whatever it is, ends nobody
                self.account.lose_record(data, error)
        self._images.end_early()
        self.account.received.update(types)
        self._processes.trim()

    def _open_early(self, records: Sequence[bytes], types: bytes) -> None:
        """Have new program files opened; `types` has one byte for each record."""
        if self._judging.shows_images and self._hasher.has_work:
            creates = compress(records, map(self._create.__eq__, types))
            with suppress(Exception):  # each record tries again, and is counted
                self._images.open_early(creates)

    def _grouping(self, layout: Layout) -> Handler:
        """Return a handler that takes the path of a control group."""
        read: Callable[[bytes], tuple[int, bytes]] = layout.reader("cgroup_id", "path")
        made = self._context.control_groups.made
        return lambda data: made(*read(data))

    def _in_turn(self, events: dict[Handler, int], otherwise: Handler) -> Handler:
        """Return a handler that calls each of these, or `otherwise` if there are none.

        `events` has the id of the event that each handler makes. Where one handler
        fails, the others have their turn all the same.
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
        """Return a handler that makes one event of an action of a process."""
        event_id, maker, decide, is_plain_name = wanted
        make, finish, (cut_at, cut_bit) = maker.make, maker.finish, maker.cut
        filtered, none = self._filtered, self.account.no_event
        emit, set_aside = self._emit, self._set_aside

        def handle(data: bytes) -> None:
            process = who(data)
            if process is None:
                none[event_id, TOLD_BEFORE] += 1
                return
            values = make(data, process)
            rule = decide(values)
            if rule is None:
                if not data[cut_at] & cut_bit:
                    filtered[event_id] += 1
                    return
                rule = UNKNOWN
            is_plain = finish(values, data, process)
            if rule != UNKNOWN:
                values[0] = rule
                is_plain = is_plain and is_plain_name[rule]
            if is_plain is None or process.hold:
                set_aside(process, (event_id, values, is_plain), maker.no_event)
            else:
                emit((event_id, values, is_plain, None))

        return handle

    def _mapping(self, wanted: _Wanted, *, is_late: bool) -> Handler:
        """Return a handler that makes event 7, with the hash of the library.

        `is_late`: rules ask for the hash.
        """
        event_id, maker, decide, is_plain_name = wanted
        make, finish, (cut_at, cut_bit) = maker.make, maker.finish, maker.cut
        acting, files, emit = self._processes.acting, self._libraries, self._emit
        filtered, put_off = self._filtered, self._correlating.put_off

        def handle(data: bytes) -> None:
            process = acting(data)
            values, rule = make(data, process), UNKNOWN
            text = files.known(data) if is_late else UNKNOWN
            is_decided = text is not None
            if is_decided:
                values[LIBRARY_HASHES] = text
                found = decide(values)
                if found is None and not data[cut_at] & cut_bit:
                    filtered[event_id] += 1
                    return
                rule = found or UNKNOWN
            else:
                put_off(values, process)
            is_plain = bool(finish(values, data, process))
            if rule != UNKNOWN:
                values[0] = rule
                is_plain = is_plain and is_plain_name[rule]
            if not is_late:
                text = files.known(data)
            event = event_id, values, is_plain
            if text is None:
                files.hold(data, process, event, is_decided=is_decided)
                return
            values[LIBRARY_HASHES] = text
            if process.hold:
                self._waiting.hold(process, event)
            else:
                emit((*event, None))

        return handle

    def _loading(self, wanted: _Wanted) -> Handler:
        """Return a handler that makes event 6, which waits for its file."""
        event_id, maker, *_ = wanted
        acting, hold = self._processes.acting, self._modules.hold

        def handle(data: bytes) -> None:
            process = acting(data)
            values = maker.make(data, process)
            self._correlating.put_off(values, process)
            is_plain = bool(maker.finish(values, data, process))
            hold(data, process, (event_id, values, is_plain))

        return handle

    def _answers(self, wanted: Sequence[_Wanted], answers: Answers) -> Answers:
        """Return how DNS questions are told, if they are wanted."""
        if not wanted:
            return answers
        unknown = wanted[0]._replace(maker=without_status(wanted[0].maker))
        late, early = self._telling(wanted[0]), self._telling(unknown)
        return answers._replace(late=late, early=early)

    def _telling(self, wanted: _Wanted) -> Tell:
        """Return a function that makes an event of a record of a known process."""
        whose: list[Process] = []
        event = self._acting(wanted, lambda _: whose[0])

        def tell(data: bytes, process: Process) -> None:
            whose[:] = [process]
            event(data)

        return tell

    def _set_aside(
        self, process: Process, event: tuple[int, Values, bool | None], no_event: str
    ) -> None:
        """Queue an event behind its process's earlier ones.

        Where its third member is None there is no event: `no_event` is the reason.
        """
        event_id, values, is_plain = event
        if is_plain is None:
            self.account.no_event[event_id, no_event] += 1
        else:
            self._waiting.hold(process, (event_id, values, is_plain))

    def _creator(self, rules: Rules) -> Create:
        """Return what takes a new image of a process."""
        if rules.correlator.asks_lineage:
            return self._correlating.lineages.create
        return self._processes.create

    def _creating(
        self, wanted: Sequence[_Wanted], by_hash: bool, create: Create
    ) -> Handler:
        """Return a handler that makes event 1 of a process that runs another image."""
        if not wanted:
            return partial(self._create_unseen, create)
        if by_hash:
            return partial(self._create_by_hash, create, wanted[0])
        _, maker, decide, is_plain_name = wanted[0]
        make, finish, emit = maker.make, maker.finish, self._emit
        not_needed, hold = self._images.not_needed, self._waiting.hold_start
        is_longer = maker.is_longer

        def handle(data: bytes) -> None:
            process = create(data)
            values = make(data, process)
            rule = decide(values)
            if rule is None:
                process.launch = NO_LAUNCH
                not_needed(data)
                self._filtered[1] += 1
                return
            launch, process.launch = process.launch, NO_LAUNCH
            is_plain: bool | None
            if is_longer:
                process.launch = launch
                is_plain = finish(values, data, process)
                process.launch = NO_LAUNCH
            else:
                is_plain = process.has_plain_args and launch.has_plain_parent
            if rule != UNKNOWN:
                values[0] = rule
                is_plain = is_plain and is_plain_name[rule]
            text = launch.hashes
            if text is None or process.hold:
                is_plain = is_plain and launch.shape.has_plain_rest
                event = 1, values, bool(is_plain)
                hold(data, process, event, launch, is_decided=True)
            else:
                values[HASHES] = text
                emit((1, values, bool(is_plain), launch.shape))

        return handle

    def _create_unseen(self, create: Create, data: bytes) -> None:
        """Take a new image of which no event is wanted."""
        create(data).launch = NO_LAUNCH
        self._images.not_needed(data)

    def _create_by_hash(self, create: Create, wanted: _Wanted, data: bytes) -> None:
        """Take a new image where the rules cannot judge before its hash is known."""
        process = create(data)
        values = wanted.maker.make(data, process)
        self._correlating.put_off(values, process)
        is_plain = bool(wanted.maker.finish(values, data, process))
        launch, process.launch = process.launch, NO_LAUNCH
        event: Finished = 1, values, is_plain and launch.shape.has_plain_rest
        self._waiting.hold_start(data, process, event, launch, is_decided=False)

    def take_hashes(self) -> None:
        """Let go the events whose hash is known by now, or has taken too long."""
        self._waiting.take_hashes()

    def release_all(self) -> None:
        """Let go everything that waits, without hashes; for the end of the service."""
        self._waiting.release_all()

    def hash_losses(self) -> dict[Loss, int]:
        """Return how many hashes could not be had since the start, by reason."""
        return {("Hashes", why): n for why, n in self._hasher.losses().items()}

    def _let_go(self, held: Held) -> None:
        """Emit an event that has waited, if the rules in force now let it pass."""
        event_id, values, is_plain = held.event_id, held.values, held.is_plain
        if not held.is_decided:
            self._correlating.go_on(values)
            rule = self._judging.decisions.get(event_id, _never)(values)
            if rule is None:
                self._filtered[event_id] += 1
                return
            values[0] = rule
            is_plain = is_plain and self._is_plain_name[rule]
        elif rule := self._correlating.again(values):
            values[0], is_plain = rule, False
        self._emit((event_id, values, is_plain, None))

    def report(self, event_id: int, values: Sequence[str]) -> None:
        """Emit an event of the daemon itself (4, 16, 255): no rule judges it."""
        self._emit((event_id, list(values), False, None))

    def utc_now(self) -> str:
        """Return the present time as UtcTime shows it."""
        return self._context.utc_of_wall(time.time_ns())


def _never(values: Sequence[str]) -> None:
    """Judge an event that no rule wants."""


def _at_once(maker: Maker) -> Maker:
    """Return a maker whose first step does both: rules ask for a late value."""
    make, finish = maker.make, maker.finish
    is_plain: bool | None = None

    def make_whole(data: bytes, process: Process) -> Values:
        nonlocal is_plain
        values = make(data, process)
        is_plain = finish(values, data, process)
        return values

    return maker._replace(make=make_whole, finish=lambda *_: is_plain, late=())
