# SPDX-License-Identifier: MIT
"""Handlers of records: closures that do all that one record needs.

`pipeline.judging` has one made for each type of record and one set of rules:

    record              handler, and the function that returned it
    process_fork        ProcessTable.fork: a process that acts before it runs a program
    cgroup_create       <lambda>, `grouping`: the path is kept for fields of ours
    process_create      handle, `_creating`: event 1, which may have to wait for Hashes
                        _create_unseen, no closure: no rule wants event 1
                        _create_by_hash, no closure: rules ask for Hashes
    process_terminate   handle, `_acting`, which asks ProcessTable.terminate who ended
    any other           handle, `_acting`, which asks ProcessTable.acting who did it
    library_load        handle, `mapping`: event 7, which may have to wait for Hashes
    module_load         handle, `loading`: event 6 waits until its file was read
    dns_message         handle, `pipeline.answering`: a question waits for its answer
    one of two events   handle, `in_turn`: calls one `_acting` for each (23 and 26)
    one that no rule    ProcessTable.acting or terminate alone: the table stays right
      wants an event of
    one of no event     Layout.decode: a record that does not fit is counted
    of no known type    no_such_record: the record is counted as lost

Inside of a handler, in this order: who acted (`processes`); step one of the event
(`enrich`, `Maker.make`); the rules (`Decide`); step two (`Maker.finish`); then the
event goes to the output (`Output.emit`), or into the queue of its process
(`pipeline.waiting`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.library import LIBRARY_HASHES
from sysmonlx.enrich.process import HASHES
from sysmonlx.errors import RecordError
from sysmonlx.event import Event
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.answering import Answers, Tell, without_status
from sysmonlx.pipeline.books import TOLD_BEFORE
from sysmonlx.pipeline.correlating import Correlating
from sysmonlx.pipeline.image_hashes import ImageHashes
from sysmonlx.pipeline.library_files import LibraryFiles
from sysmonlx.pipeline.module_files import ModuleFiles
from sysmonlx.pipeline.waiting import Finished, Waiting
from sysmonlx.processes.launches import NO_LAUNCH
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable
from sysmonlx.rules.verdicts import Decide, Rules
from sysmonlx.schema.events import IMAGE_LOAD, PROCESS_CREATE

TYPE = 0  # offset of `type` in struct record_header; types are below 256

#: Takes the bytes of a record; its result is not used.
Handler = Callable[[bytes], object]

#: Takes the bytes of a record and returns the process that acted; None: the record
#: tells an end that is known already.
Who = Callable[[bytes], Process | None]

#: Takes the bytes of a process_create record and returns the process.
_Create = Callable[[bytes], Process]


def no_such_record(data: bytes) -> None:
    """Refuse a record whose type does not exist.

    Raises:
        RecordError: always.
    """
    raise RecordError(f"no record has type {data[TYPE]}")


class Wanted(NamedTuple):
    """An event of which the rules may let some pass: how it is made and judged."""

    event_id: int
    maker: Maker
    decide: Decide
    is_plain_name: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Makes handlers, which use these parts of the pipeline.

    `emit` takes an event that need not wait.
    """

    processes: ProcessTable
    context: Context
    account: Account
    correlating: Correlating
    images: ImageHashes
    libraries: LibraryFiles
    modules: ModuleFiles
    waiting: Waiting
    emit: Callable[[Event], None]

    def grouping(self, layout: Layout) -> Handler:
        """Return a handler that takes the path of a control group."""
        read: Callable[[bytes], tuple[int, bytes]] = layout.reader("cgroup_id", "path")
        made = self.context.control_groups.made
        return lambda data: made(*read(data))

    def in_turn(self, wanted: Sequence[Wanted], who: Who) -> Handler:
        """Return a handler that makes each of these events, or `who` if there are none.

        Where one of them fails, the others have their turn all the same.
        """
        events = {self._acting(each, who): each.event_id for each in wanted}
        handlers = (*events,)
        if len(handlers) < 2:
            return handlers[0] if handlers else who

        def handle(data: bytes) -> None:
            for each in handlers:
                try:
                    each(data)
                except Exception as error:
                    self.account.lose(events[each], error)

        return handle

    def _acting(self, wanted: Wanted, who: Who) -> Handler:
        """Return a handler that makes one event of an action of a process."""
        event_id, maker, decide, is_plain_name = wanted
        make, finish, (cut_at, cut_bit) = maker.make, maker.finish, maker.cut
        filtered, none = self.account.filtered, self.account.no_event
        emit, set_aside = self.emit, self._set_aside

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
            self.waiting.hold(process, (event_id, values, is_plain))

    def mapping(self, wanted: Wanted, rules: Rules) -> Handler:
        """Return a handler that makes event 7, with the hash of the library."""
        is_late = "Hashes" in rules.reads(IMAGE_LOAD.id)
        event_id, maker, decide, is_plain_name = wanted
        make, finish, (cut_at, cut_bit) = maker.make, maker.finish, maker.cut
        acting, files, emit = self.processes.acting, self.libraries, self.emit
        filtered, put_off = self.account.filtered, self.correlating.put_off

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
                self.waiting.hold(process, event)
            else:
                emit((*event, None))

        return handle

    def loading(self, wanted: Wanted) -> Handler:
        """Return a handler that makes event 6, which waits for its file."""
        event_id, maker, *_ = wanted
        acting, hold = self.processes.acting, self.modules.hold

        def handle(data: bytes) -> None:
            process = acting(data)
            values = maker.make(data, process)
            self.correlating.put_off(values, process)
            is_plain = bool(maker.finish(values, data, process))
            hold(data, process, (event_id, values, is_plain))

        return handle

    def answers(self, wanted: Sequence[Wanted], answers: Answers) -> Answers:
        """Return how DNS questions are told, if they are wanted."""
        if not wanted:
            return answers
        unknown = wanted[0]._replace(maker=without_status(wanted[0].maker))
        late, early = self._telling(wanted[0]), self._telling(unknown)
        return answers._replace(late=late, early=early)

    def _telling(self, wanted: Wanted) -> Tell:
        """Return a function that makes an event of a record of a known process."""
        whose: list[Process] = []
        event = self._acting(wanted, lambda _: whose[0])

        def tell(data: bytes, process: Process) -> None:
            whose[:] = [process]
            event(data)

        return tell

    def starting(self, wanted: Sequence[Wanted], rules: Rules) -> Handler:
        """Return a handler that makes event 1 of a process that runs another image."""
        create = self._creator(rules)
        if not wanted:
            return partial(self._create_unseen, create)
        if "Hashes" in rules.reads(PROCESS_CREATE.id):
            return partial(self._create_by_hash, create, wanted[0])
        return self._creating(create, wanted[0])

    def _creating(self, create: _Create, wanted: Wanted) -> Handler:
        """Return a handler of event 1 that the rules judge without its hash."""
        _, maker, decide, is_plain_name = wanted
        make, finish, emit = maker.make, maker.finish, self.emit
        not_needed, hold = self.images.not_needed, self.waiting.hold_start
        is_longer, filtered = maker.is_longer, self.account.filtered

        def handle(data: bytes) -> None:
            process = create(data)
            values = make(data, process)
            rule = decide(values)
            if rule is None:
                process.launch = NO_LAUNCH
                not_needed(data)
                filtered[1] += 1
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

    def _creator(self, rules: Rules) -> _Create:
        """Return the function that takes a new image of a process."""
        if rules.correlator.asks_lineage:
            return self.correlating.lineages.create
        return self.processes.create

    def _create_unseen(self, create: _Create, data: bytes) -> None:
        """Take a new image of which no event is wanted."""
        create(data).launch = NO_LAUNCH
        self.images.not_needed(data)

    def _create_by_hash(self, create: _Create, wanted: Wanted, data: bytes) -> None:
        """Take a new image where the rules cannot judge before its hash is known."""
        process = create(data)
        values = wanted.maker.make(data, process)
        self.correlating.put_off(values, process)
        is_plain = bool(wanted.maker.finish(values, data, process))
        launch, process.launch = process.launch, NO_LAUNCH
        event: Finished = 1, values, is_plain and launch.shape.has_plain_rest
        self.waiting.hold_start(data, process, event, launch, is_decided=False)
