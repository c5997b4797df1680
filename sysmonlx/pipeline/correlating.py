# SPDX-License-Identifier: MIT
"""Events as steps of correlations: who did them, when, and what they are called then.

An event counts at the moment at which the rules judge it, in the order of the records;
the timespan is that between the times of the records. One that was judged may still
wait, behind an event of its process whose hash the rules ask for. It is asked once more
when it goes on: that event is judged by then, and may be an earlier step.

Nothing of this is there for an event without a rule that is a step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from sysmonlx.bounded import Bounded
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.fair_share import FairShare
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.pipeline.account import Account
from sysmonlx.policy import SIGMA_PREFIX
from sysmonlx.processes.containers import ROOTLESS
from sysmonlx.processes.lineage import Lineages
from sysmonlx.processes.process import Process
from sysmonlx.rules.sigma import linking
from sysmonlx.rules.sigma.correlator import Correlator, Deed, Fired
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.sigma.programs import program_of
from sysmonlx.rules.verdicts import Decide
from sysmonlx.schema.common_fields import OF_CONTROL_GROUP

#: See `Correlating.watched`.
Watched = Callable[[Maker, Decide, Layout], tuple[Maker, Decide]]

#: Users from here on are charged together in blocks: subuid(5) hands out so many.
_BLOCK = 65_536

#: Events that wait for hashes, more than do so at one time.
_UNJUDGED = 8192
#: Steps that may be asked once more, of one user and of all.
WAITING_OF_USER, WAITING_OF_ALL = 1024, 8192


class PlainNames(Bounded[str, bool]):
    """Whether RuleName and RuleNames of an event are plain, by RuleName.

    Where a rule of Sigma hits they may be anything.
    """

    __slots__ = ("_names",)

    def __init__(self, names: dict[str, bool]) -> None:
        super().__init__(1024)
        self._names = names

    def __missing__(self, name: str) -> bool:
        self[name] = found = self._names[name] and not name.startswith(SIGMA_PREFIX)
        return found


@dataclass(slots=True)
class _Step:
    """An event that was a step: all that is needed to ask it once more."""

    judge: SigmaJudge
    correlator: Correlator
    noted: tuple[int, str]
    deed: Deed
    fired: dict[int, Fired] = field(default_factory=dict)

    def take(self) -> str | None:
        """Let the event be a step; return RuleName where that changes it."""
        found = linking.take(self.judge, self.correlator, self.noted, self.deed)
        new = [each for each in found if each.correlation not in self.fired]
        if not new:
            return None
        is_first = not self.fired and not self.noted[0] & self.judge.shown
        self.correlator.count(new)
        self.correlator.named += is_first
        self.fired |= {each.correlation: each for each in new}
        fired = self.fired.values()
        name, names = linking.named(self.judge, self.correlator, self.noted, fired)
        values = self.deed.values
        assert isinstance(values, list)
        values[-1] = names
        return name


class Correlating:
    """Makes steps of events.

    `lineages` finds the lineages of processes.
    """

    def __init__(self, context: Context, lineages: Lineages, account: Account) -> None:
        self._context, self.lineages, self._account = context, lineages, account
        self._acting: tuple[int, Process] | None = None
        #: Events that wait for their hash before they are judged: when, and who; by
        #: `id` of the values, which stand beside.
        self._unjudged: Bounded[int, tuple[Values, tuple[int, Process]]]
        self._unjudged = Bounded(_UNJUDGED)
        #: Steps that wait behind one of these, in the same way.
        self._waiting: FairShare[int, _Step]
        self._waiting = FairShare(WAITING_OF_USER, WAITING_OF_ALL)

    def fit(self, appended: Sequence[str], correlator: Correlator) -> None:
        """Prepare for other rules; `appended` are the fields that events have now."""
        self._waiting.clear()
        knows_groups = any(name in OF_CONTROL_GROUP for name in appended)
        self.lineages.container_of = self._container if knows_groups else _no_container
        processes = self._context.processes
        if not correlator.asks_lineage:
            processes.learns_sessions = False
        elif not processes.learns_sessions:
            processes.learn_sessions()

    def watched(self, judge: SigmaJudge, correlator: Correlator) -> Watched:
        """Return what changes how events are made and judged with rules that are steps.

        It takes and returns the maker and the judging function, and takes the layout of
        the records.
        """

        def watch(maker: Maker, decide: Decide, layout: Layout) -> tuple[Maker, Decide]:
            make = maker.make
            read_time: Callable[[bytes], tuple[int]] = layout.reader("boot_ns")

            def make_watched(data: bytes, process: Process) -> Values:
                self._acting = *read_time(data), process
                return make(data, process)

            def decide_watched(values: Sequence[str]) -> str | None:
                judge.noted = None
                name = decide(values)
                if name is None:
                    return None
                return self._named(judge, correlator, name, values)

            return maker._replace(make=make_watched), decide_watched

        return watch

    def _named(
        self,
        judge: SigmaJudge,
        correlator: Correlator,
        name: str,
        values: Sequence[str],
    ) -> str:
        noted, judge.noted = judge.noted, None
        if noted is None:
            return name
        try:
            return self._take(judge, correlator, noted, values) or name
        except Exception as error:  # the event is reported all the same
            correlator.errors += 1
            self._account.note(error)
            return name

    def _take(
        self,
        judge: SigmaJudge,
        correlator: Correlator,
        noted: tuple[int, str],
        values: Sequence[str],
    ) -> str | None:
        acting, self._acting = self._acting, None
        if acting is None or not linking.steps(judge, noted[0]):
            return None
        boot_ns, process = acting
        doer = _Doer(process, self.lineages)
        deed = Deed(values, boot_ns, self._context.utc(boot_ns), doer)
        step = _Step(judge, correlator, noted, deed)
        name = step.take()
        if self._unjudged and process.hold:
            gone = self._waiting.add(id(values), step, process.uid)
            if gone is not None:
                gone.correlator.unasked += 1
                gone.correlator.unasked_payer = gone.deed.doer.payer
        return name

    def put_off(self, values: Values, process: Process) -> None:
        """Note whose values these are, which are judged when they go on."""
        acting, self._acting = self._acting, None
        if acting is not None and acting[1] is process:
            self._unjudged[id(values)] = values, acting

    def go_on(self, values: Values) -> None:
        """Let an event that was put off be judged now."""
        _, self._acting = self._unjudged.pop(id(values), (values, None))

    def again(self, values: Values) -> str | None:
        """Ask a step that has waited once more; return another RuleName or None."""
        if id(values) not in self._waiting.entries:
            return None
        return self._waiting.pop(id(values)).take()

    def _container(self, number: int) -> str:
        """Return the id of a container that the machine's own runtime made."""
        container, runtime, *_ = self._context.of_group(number)
        return UNKNOWN if runtime.endswith(ROOTLESS) else container


def _no_container(number: int) -> str:
    return UNKNOWN


class _Doer:
    """A process as correlations see it."""

    __slots__ = ("_lineages", "_process")

    def __init__(self, process: Process, lineages: Lineages) -> None:
        self._process, self._lineages = process, lineages

    @property
    def guid(self) -> str:
        return self._process.guid

    @property
    def payer(self) -> Hashable:
        uid = self._process.uid
        return uid if uid < _BLOCK else uid - uid % _BLOCK

    def lineage(self) -> str:
        return self._lineages.of(self._process)

    def program(self, directory: str) -> str:
        return program_of(self._process.image, self._process.args, directory)

    def identities(self) -> Iterator[Hashable]:
        return self._lineages.identities(self._process)
