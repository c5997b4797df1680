# SPDX-License-Identifier: MIT
"""Correlations carried out: which event completes one, and which came before it.

An event of the last rule completes a `temporal_ordered` correlation where events of the
rules before it came before it, in their order and in one group, the first of them no
longer ago than the timespan. `temporal` is two rules in either order. Nothing is closed
by that: the next event of the last rule completes it as well. No event is two steps.

For each group it is enough to know the latest start that has reached each step: the
event that completes is in time for any start if it is for that one. Steps are asked
from the last to the first, so that an event never follows itself.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from sysmonlx.rules.conditions import fold
from sysmonlx.rules.sigma.groups import Chain, Groups, Room

LINEAGE, ANCESTRY, PROGRAM = "Lineage", "Ancestry", "Program"
_MISSING = "-"
#: Characters of all values of a group, beyond which only a digest of them is kept.
_LONG = 256

#: A value by which events are grouped: the position of a field, LINEAGE, or a pair of
#: PROGRAM and the position of CurrentDirectory (-1: the event has none).
Key: TypeAlias = int | str | tuple[str, int]


class Link(NamedTuple):
    """That a rule of some event is a step of a correlation.

    Attributes:
        bit: The bit of the rule among those of its event.
        correlation: The number of the correlation.
        step: Which of its rules it is, from 0 on.
        keys: The values by which the correlation groups, of this event.
    """

    bit: int
    correlation: int
    step: int
    keys: tuple[Key, ...]


#: A link as plain data.
PlainLink: TypeAlias = tuple[int, int, int, tuple[Key, ...]]


class CorrelationForm(NamedTuple):
    """A correlation as plain data.

    Attributes:
        head: Id, title, level, the name that RuleName shows, and the author.
        is_ordered: It is `temporal_ordered`.
        steps: How many rules it has.
        span_ns: Its timespan.
        has_ancestry: The process of each step is that of the step before or one of its
            descendants.
        has_lineage: It groups by `Lineage`.
        meaning: Two correlations with the same mean the same, with all their rules.
    """

    head: tuple[str, str, str, str, str]
    is_ordered: bool
    steps: int
    span_ns: int
    has_ancestry: bool
    has_lineage: bool
    meaning: tuple[int, ...]


class Doer(Protocol):
    """The process that did something; it is asked no more than what is needed."""

    @property
    def guid(self) -> str:
        """The ProcessGuid of the process."""

    @property
    def payer(self) -> Hashable:
        """The user of the process, whose share of the memory is used for it."""

    def lineage(self) -> str:
        """Return what all processes of one login or service share, "-": not known."""

    def program(self, directory: str) -> str:
        """Return the program or script that the process runs; "-": not known."""

    def identities(self) -> Iterable[Hashable]:
        """Yield the identity of the process, then those of its ancestors.

        An identity stays the same when a process runs another program.
        """


class Deed(NamedTuple):
    """An event as correlations see it; `utc` is its UtcTime."""

    values: Sequence[object]
    time_ns: int
    utc: str
    doer: Doer


class Fired(NamedTuple):
    """A correlation that an event has completed; `told` are the events before it."""

    correlation: int
    told: tuple[str, ...]


class Correlator:
    """Carries out all correlations in force."""

    def __init__(self, forms: Sequence[CorrelationForm] = ()) -> None:
        self.forms = tuple(forms)
        self._each = [_Correlation(form) for form in self.forms]
        self.share_room()
        self.counts = [0] * len(self.forms)
        """Events that completed each correlation."""
        self.last_s = [0.0] * len(self.forms)
        """When the last one did, seconds since the epoch; 0: none did."""
        self.named = 0
        """Events that no rule named, but a correlation did."""
        self.errors = 0
        """Steps that failed by an error in this program."""
        self.unasked = 0
        """Steps that waited and were not asked once more, for want of room."""
        self.unasked_payer: Hashable = None
        """Whose the last one was."""
        self.asks_lineage = any(each.has_lineage for each in self.forms)
        self.changed: dict[str, int] = {}
        """Groups that ended with a correlation that is no more, by its title."""

    @property
    def groups(self) -> int:
        """Groups that are remembered."""
        return sum(len(each.groups) for each in self._each)

    def forgotten(self) -> dict[str, tuple[int, Hashable]]:
        """Return how many groups had no room, and whose the last one was, by title."""
        return {
            each.form.head[1]: (each.groups.forgotten, each.groups.payer)
            for each in self._each
            if each.groups.forgotten
        }

    def take(self, links: Iterable[Link], deed: Deed) -> list[Fired]:
        """Take an event that is these steps; return what it completes."""
        steps: dict[int, dict[int, Hashable]] = {}
        for _, number, step, keys in links:
            if (key := _key(keys, deed)) is not None:
                steps.setdefault(number, {})[step] = key
        fired = []
        for number, of_one in steps.items():
            found = self._each[number].take(of_one, deed)
            if found is not None:
                fired.append(Fired(number, found.told))
        return fired

    def count(self, fired: Iterable[Fired]) -> None:
        """Count events that completed something."""
        now_s = time.time()
        for each in fired:
            self.counts[each.correlation] += 1
            self.last_s[each.correlation] = now_s

    def expire(self, now_ns: int) -> None:
        """Forget groups whose time is over."""
        for each in self._each:
            each.groups.expire(now_ns)

    def go_on_from(self, before: Correlator) -> None:
        """Go on with the groups of the correlations that mean what they meant."""
        known = {form.meaning: at for at, form in enumerate(before.forms)}
        for at, form in enumerate(self.forms):
            old = known.pop(form.meaning, None)
            if old is None:
                continue
            self._each[at].groups = before._each[old].groups
            self.counts[at], self.last_s[at] = before.counts[old], before.last_s[old]
        self.errors, self.named = before.errors, before.named
        self.share_room()
        for at in known.values():
            if count := len(before._each[at].groups):
                self.changed[before.forms[at].head[1]] = count

    def share_room(self) -> None:
        """Let the groups of all correlations share one room."""
        room = Room()
        for each in self._each:
            each.room = room
            room.share(each.groups)


class _Correlation:
    """One correlation and its groups."""

    def __init__(self, form: CorrelationForm) -> None:
        self.form = form
        steps = form.steps - 1 if form.is_ordered else form.steps
        self.groups = Groups(steps, form.span_ns)
        self.room = Room()

    def take(self, keys: dict[int, Hashable], deed: Deed) -> Chain | None:
        """Take an event by its steps, with the group of each; return what it ends."""
        return (self._in_order if self.form.is_ordered else self._in_any)(keys, deed)

    def _in_order(self, keys: dict[int, Hashable], deed: Deed) -> Chain | None:
        ended, last = None, self.form.steps - 1
        for step in sorted(keys, reverse=True):
            chain = self._before(keys[step], step - 1, deed) if step else _EMPTY
            if chain is None:
                continue
            if step == last:
                ended = chain
            else:
                self._put(keys[step], step, chain, deed)
        return ended

    def _in_any(self, keys: dict[int, Hashable], deed: Deed) -> Chain | None:
        found = [self._before(key, 1 - step, deed) for step, key in keys.items()]
        for step, key in keys.items():
            self._put(key, step, _EMPTY, deed)
        chains = [each for each in found if each is not None]
        return max(chains, default=None, key=_start_of)

    def _before(self, key: Hashable, step: int, deed: Deed) -> Chain | None:
        """Return the chain of the latest start that has reached a step."""
        if not self.form.has_ancestry:
            return self.groups.chain(key, step, deed.time_ns)
        found = (
            self.groups.chain((key, each), step, deed.time_ns)
            for each in deed.doer.identities()
        )
        chains = [each for each in found if each is not None]
        return max(chains, default=None, key=_start_of)

    def _put(self, key: Hashable, step: int, chain: Chain, deed: Deed) -> None:
        if self.form.has_ancestry:
            key = (key, next(iter(deed.doer.identities())))
        start_ns = chain.start_ns if chain.told else deed.time_ns
        told = (*chain.told, f"{deed.utc} {deed.doer.guid}")
        chain = Chain(start_ns, told)
        self.groups.put(key, step, chain, deed.doer.payer, self.room)


_EMPTY = Chain(0, ())


def _start_of(chain: Chain) -> int:
    return chain.start_ns


def _key(keys: Iterable[Key], deed: Deed) -> Hashable:
    """Return the group of an event; None: a value is missing, so it is in none.

    Values are compared as rules compare them: A to Z in either case.
    """
    values = [fold(_value(each, deed)) for each in keys]
    if _MISSING in values:
        return None
    if sum(map(len, values)) <= _LONG:
        return tuple(values)
    # The hash of a text is keyed by a secret of this process.
    return hash(tuple(values)), hash(("", *values))


def _value(key: Key, deed: Deed) -> str:
    if isinstance(key, int):
        return str(deed.values[key])
    if isinstance(key, str):
        return deed.doer.lineage()
    _, at = key
    return deed.doer.program(str(deed.values[at]) if at != -1 else _MISSING)
