# SPDX-License-Identifier: MIT
"""Record in, event out: decode, process table, enrich, rules, output.

`Pipeline.take` looks at the first byte of each record, its type, and calls the handler
of that type. `Pipeline.prepare` has the handlers made for one set of rules, and
`Pipeline.use` puts them in force: see `pipeline.judging`. The top of
`pipeline.handlers` lists which record has which. An event that has waited comes back
by `Pipeline._let_go`.

Each record has one fate for each event that it can make. `pipeline.books` names the
fates, `pipeline.account` counts them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import compress
from operator import itemgetter

from sysmonlx.bounded import CacheUse
from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.appended import refit
from sysmonlx.enrich.context import Context
from sysmonlx.event import Held
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.output.dispatch import Output
from sysmonlx.pipeline.account import Account
from sysmonlx.pipeline.answering import Answering
from sysmonlx.pipeline.correlating import Correlating, PlainNames
from sysmonlx.pipeline.handlers import TYPE, Handlers
from sysmonlx.pipeline.image_hashes import ImageHashes, MarkKnown
from sysmonlx.pipeline.judging import NO_RULES, Judging, Preparing
from sysmonlx.pipeline.library_files import LibraryFiles
from sysmonlx.pipeline.losses import Loss
from sysmonlx.pipeline.module_files import ModuleFiles
from sysmonlx.pipeline.waiting import Waiting
from sysmonlx.processes.lineage import Lineages
from sysmonlx.processes.table import ProcessTable
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.verdicts import Rules

_type_of = itemgetter(TYPE)


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
        self._processes = processes
        self._context = context
        self._emit = output.emit
        self._is_plain_name = PlainNames(context.is_plain_name)
        self._hasher = hasher
        self.account = Account(layouts)
        self._filtered = self.account.filtered
        records = layouts.by_name
        self._create = layouts.number["process_create"]
        self._images = ImageHashes(records["process_create"], hasher, mark_known)
        messages, names = records["dns_message"], context.host_names
        self.dns = Answering(messages, processes.acting, self.account, names)
        lineages = Lineages(processes, layouts)
        self._correlating = Correlating(context, lineages, self.account)
        self._waiting = Waiting(self._images, hasher, self.account, self._let_go)
        libraries = records["library_load"]
        self._libraries = LibraryFiles(libraries, hasher, self._waiting)
        modules = ModuleFiles(records["module_load"], context, hasher, self._waiting)
        self._preparing = Preparing(
            *(layouts, context, self._handlers(modules), self.dns, self._is_plain_name)
        )
        self._judging = NO_RULES

    def _handlers(self, modules: ModuleFiles) -> Handlers:
        return Handlers(
            self._processes,
            self._context,
            self.account,
            self._correlating,
            self._images,
            self._libraries,
            modules,
            self._waiting,
            self._emit,
        )

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
        """The judges by rules of Sigma now, one for each event that has such rules."""
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
        return self._preparing.prepare(rules, appended, names_hosts=names_hosts)

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
        verdicts. State that was learnt under it is kept. The step can be taken back.
        """
        self.dns.use(judging.answers)
        before, self._judging = self._judging, judging
        return before

    @property
    def judging(self) -> Judging:
        """How records are handled now."""
        return self._judging

    def take(self, records: Sequence[bytes]) -> None:
        """Carry records of the ring buffer as far as they go."""
        handlers = self._judging.handlers
        with_type = [*filter(None, records)]
        types = bytes(map(_type_of, with_type))
        if len(records) > 1 and self._create in types:
            self._open_early(with_type, types)
        for data in records:
            try:
                handlers[data[TYPE]](data)
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
