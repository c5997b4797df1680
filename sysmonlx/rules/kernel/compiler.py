# SPDX-License-Identifier: MIT
"""The rules as `filter/evaluate.bpf.h` asks them: terms over bits, event by event.

The kernel discards an event only where it is certain that the rules exclude it. A value
that the kernel does not know, or has no room for, is unknown and never discards.

One event worked through. These rules

    <FileCreate onmatch="exclude">
      <Rule groupRelation="and">
        <Image condition="begin with">/usr/lib/</Image>
        <TargetFilename condition="contains any">/cache/;/tmp/</TargetFilename>
        <User condition="is not">root</User>
      </Rule>
      <Image condition="is">/usr/bin/apt</Image>
    </FileCreate>

in a RuleGroup of the relation `or` are two clauses that exclude. `literals` writes a
clause as groups of literals: all groups have to hold, and of a group one literal. Each
group here has one literal. `bits` gives each literal a bit of a word:

    clause  literal                                          word       bit
    Rule    Image begins with "/usr/lib/"                    0 (image)  1
    Rule    TargetFilename contains "/cache/" or "/tmp/"     6 (path)   0
    Rule    User is "root", negated                          4 (user)   0
    Image   Image is "/usr/bin/apt"                          0 (image)  0

The literals of a group that share a word become one term, which holds when one bit of
its mask is set, or when one is not set (negated). Terms in the order of the table:

    term  word  mask  negated  ends          next clause
    0     6     1     no       group         3
    1     0     2     no       group         3
    2     4     1     yes      group clause  3
    3     0     1     no       group clause  4

The kernel asks them in this order. Where a group ends without a term that holds, it
goes on at `next clause`. Where a clause ends and all its groups hold, the event is
discarded. Within a clause the highest word is asked first: tests of the file fail more
often than tests of the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from sysmonlx.rules.clauses import Decision, expressions_of, tests_of
from sysmonlx.rules.kernel.automaton import Table
from sysmonlx.rules.kernel.bits import Atoms, Bits, Space, askable
from sysmonlx.rules.kernel.fields import EVENTS, FIELDS
from sysmonlx.rules.kernel.literals import ALWAYS, Group, Groups, Literal, Reducer
from sysmonlx.schema.event_types import Answer, AnswerKind

#: Shown when the rules report every event of a type: filtering it in the kernel could
#: save nothing.
ALL_REPORTED = "all of them are reported"

#: This many clauses are asked one by one; before more of them stands a guard.
_UNGUARDED = 6


@dataclass(frozen=True, slots=True)
class Term:
    """Bits of one word, one of which has to be set; negated: one is not set.

    `next_clause` is the number of the term to go on with where the group fails.
    """

    word: int
    mask: int
    negated: bool
    ends_group: bool = False
    ends_clause: bool = False
    next_clause: int = 0


@dataclass(frozen=True, slots=True)
class EventRules:
    """The kernel's treatment of one type of event.

    Attributes:
        reason: Why the kernel leaves the event to user space; empty: it does not.
        never: No event of this type is reported.
        default_include: An event that no clause matches is reported.
        quiet_discard: An event about which all is known and no bit is set may be
            discarded.
        by_image: Some images are enough to discard an event.
        exclude: Number of the first term of the exclude clauses.
        include: Number of the first term of the include clauses.
        end: Number behind the last term.
        choices: By enumerator of a field with few values: all its bits, and the bits
            that each value sets.
    """

    event_id: int
    reason: str = ""
    never: bool = False
    default_include: bool = False
    quiet_discard: bool = False
    by_image: bool = False
    exclude: int = 0
    include: int = 0
    end: int = 0
    choices: Mapping[str, tuple[int, tuple[int, ...]]] | None = None


@dataclass(frozen=True, slots=True)
class KernelRules:
    """All that `struct filter_rules` holds, and what is asked of users' names.

    `starts` gives the state to begin a text with.
    """

    table: Table
    starts: Mapping[Space, int]
    tail_doubt: int
    terms: tuple[Term, ...]
    events: tuple[EventRules, ...]
    users: tuple[tuple[int, Atoms], ...]

    def used(self, event: EventRules) -> dict[int, int]:
        """Return the bits that an event's terms ask, by word."""
        bits: dict[int, int] = {}
        for term in self.terms[event.exclude : event.end]:
            bits[term.word] = bits.get(term.word, 0) | term.mask
        return bits


def compile_kernel_rules(
    decisions: Mapping[int, Decision],
    numbers: Mapping[str, int],
    left: Mapping[int, str] = MappingProxyType({}),
) -> KernelRules | None:
    """Return the rules for the kernel; None if its tables cannot tell them.

    Args:
        decisions: The intermediate form by event id.
        numbers: The enumerators of `filter/rules.bpf.h`.
        left: Why events are left to user space whatever the rules are, by event id.
    """
    compiler = _Compiler(numbers)
    events = [
        EventRules(event_id, left[event_id])
        if event_id in left
        else compiler.event(decisions[event_id])
        for event_id in EVENTS
    ]
    bits = compiler.bits
    table = bits.table()
    if table is None:
        return None
    return KernelRules(
        table,
        bits.starts(),
        bits.tail_doubt(),
        tuple(compiler.terms),
        tuple(replace(e, choices=_choices(bits, e.event_id)) for e in events),
        bits.users(),
    )


def _choices(bits: Bits, event_id: int) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {
        name: (bits.choice_bits(event_id, name), values)
        for name, values in bits.choices(event_id).items()
    }


class _Compiler:
    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.bits = Bits(numbers)
        self.terms: list[Term] = []
        self._limit = numbers["FILTER_TERMS"] - 1

    def event(self, decision: Decision) -> EventRules:
        """Return the rules of one event."""
        if not decision.can_include:
            return EventRules(decision.event_id, never=True)
        fields = FIELDS[decision.event_id]
        excludes = self._reduced(decision, fields, include=False)
        includes = self._reduced(decision, fields, include=True)
        default = decision.include_by_default or ALWAYS in includes
        if default and not excludes:
            return EventRules(decision.event_id, _why_not(decision, fields))
        if ALWAYS in excludes:
            return EventRules(decision.event_id, never=True)
        includes = [] if default else includes
        exclude = len(self.terms)
        self._append(decision.event_id, excludes)
        include = len(self.terms)
        self._append(decision.event_id, includes)
        if len(self.terms) > self._limit:
            del self.terms[exclude:]
            return EventRules(decision.event_id, "too many rules for its tables")
        return EventRules(
            decision.event_id,
            default_include=default,
            quiet_discard=any(map(_holds_of_nothing, excludes))
            or not (default or any(map(_holds_of_nothing, includes))),
            by_image=any(_may_hold_by_image(fields, groups) for groups in excludes)
            or not (default or any(_needs_more(fields, groups) for groups in includes)),
            exclude=exclude,
            include=include,
            end=len(self.terms),
        )

    def _append(self, event_id: int, clauses: Sequence[Groups]) -> None:
        """Append the terms of some clauses, those alike side by side."""
        made = [
            sorted((self._terms(event_id, group) for group in groups), key=_rank)
            for groups in clauses
        ]
        self._append_guarded(sorted(made, key=lambda parts: _rank(parts[0])))

    def _append_guarded(self, clauses: Sequence[list[list[Term]]]) -> None:
        """Append clauses, with a guard before many, which passes over all of them.

        The guard is a group that holds where the first group of some clause does. It
        counts as a group of the first clause, but where it fails, the next clause is
        the one behind the last.
        """
        heads = [parts[0] for parts in clauses]
        if len(clauses) > _UNGUARDED and not any(map(_denies, heads)):
            at = len(self.terms)
            self._append_group(_joined(heads), 0)
            size = max(_UNGUARDED, len(clauses) // _UNGUARDED)
            for first in range(0, len(clauses), size):
                self._append_guarded(clauses[first : first + size])
            for index in range(at, at + len(_joined(heads))):
                self.terms[index] = replace(
                    self.terms[index], next_clause=len(self.terms)
                )
            return
        for parts in clauses:
            next_clause = len(self.terms) + sum(map(len, parts))
            for terms in parts:
                self._append_group(terms, next_clause)
            self.terms[-1] = replace(self.terms[-1], ends_clause=True)

    def _append_group(self, terms: Sequence[Term], next_clause: int) -> None:
        self.terms += [replace(term, next_clause=next_clause) for term in terms]
        self.terms[-1] = replace(self.terms[-1], ends_group=True)

    def _terms(self, event_id: int, group: Group) -> list[Term]:
        """Return a group's bits as one term for each word, asserted and negated."""
        masks: dict[tuple[int, bool], int] = {}
        for literal in group:
            place = self.bits.place_of(event_id, literal)
            if place is not None:
                key = (place[0], literal.negated)
                masks[key] = masks.get(key, 0) | place[1]
        return [Term(word, mask, negated) for (word, negated), mask in masks.items()]

    def _reduced(
        self, decision: Decision, fields: Mapping[str, Answer], *, include: bool
    ) -> list[Groups]:
        """Return the clauses of one kind with literals that have a bit."""
        reducer = Reducer(
            lambda name, atom: askable(fields.get(name), atom),
            unknown=include,
        )
        conditions = [c.condition for c in decision.clauses if c.include == include]
        clauses = []
        for groups in reducer.clauses(conditions):
            found = [self._with_bits(decision.event_id, g, include) for g in groups]
            left = tuple(group for group in found if group is not None)
            if frozenset() not in left:
                clauses.append(left)
        return clauses

    def _with_bits(self, event_id: int, group: Group, include: bool) -> Group | None:
        """Return a group without literals that found no room; None: it may be true."""
        known = {each for each in group if self.bits.place_of(event_id, each)}
        return None if include and len(known) < len(group) else frozenset(known)


def _denies(terms: Sequence[Term]) -> bool:
    return any(term.negated for term in terms)


def _rank(terms: Sequence[Term]) -> tuple[bool, list[int], list[int]]:
    """Sort groups that rarely hold first: tests of the event itself."""
    words = [-term.word for term in terms]
    return _denies(terms), words, [term.mask for term in terms]


def _joined(groups: Sequence[Sequence[Term]]) -> list[Term]:
    """Return one group that is true when any of these is."""
    masks: dict[int, int] = {}
    for term in (term for group in groups for term in group):
        masks[term.word] = masks.get(term.word, 0) | term.mask
    return [Term(word, mask, negated=False) for word, mask in masks.items()]


def _holds_of_nothing(groups: Groups) -> bool:
    """Return whether a clause holds when no pattern is found."""
    return all(any(literal.negated for literal in group) for group in groups)


def _may_hold_by_image(fields: Mapping[str, Answer], groups: Groups) -> bool:
    """Return whether some image makes a clause true, whatever else is unknown."""
    return all(any(_asks_image(fields, each) for each in group) for group in groups)


def _needs_more(fields: Mapping[str, Answer], groups: Groups) -> bool:
    """Return whether no image makes a clause false while all else is unknown."""
    return not any(all(_asks_image(fields, each) for each in group) for group in groups)


def _asks_image(fields: Mapping[str, Answer], literal: Literal) -> bool:
    return fields[literal.field].kind is AnswerKind.IMAGE


def _why_not(decision: Decision, fields: Mapping[str, Answer]) -> str:
    asked = {test.field for test in tests_of(expressions_of(decision))}
    unknown = sorted(asked - fields.keys())
    if unknown:
        return f"its rules ask {', '.join(unknown)}"
    if asked:
        return "its rules cannot be told by the kernel's tables"
    return ALL_REPORTED
