# SPDX-License-Identifier: MIT
"""The rules as the daemon runs them: one generated function for each event type.

Many fields of an event stay the same while one program runs, and most events come from
few programs. What the rules ask of such a field is asked once for each text; the
answers together choose a function that is left with the other fields only. Where much
is asked of one other field, a sieve answers it all beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.clauses import (
    Decision,
    elements_of,
    expressions_of,
    filters_of,
    make_decision,
    specialise,
    tests_of,
)
from sysmonlx.conditions import Atom, Test, fold, order_key
from sysmonlx.pysource import function_name, function_source
from sysmonlx.ruleset import Ruleset
from sysmonlx.sieve import RememberedSieve, pays
from sysmonlx.trace import trace

Decide = Callable[[Sequence[str]], str | None]
Made = TypeVar("Made")

#: Fields whose texts recur: constant for a program, or one of a few words.
_RECURRING = """
    Image User ParentImage ParentUser SourceImage SourceUser TargetImage TargetUser
    FileVersion Description Product Company OriginalFileName LogonId TerminalSessionId
    IntegrityLevel Protocol Initiated SourceIsIpv6 DestinationIsIpv6 EventType Type
    GrantedAccess CallTrace IsExecutable Archived BpfCommand BpfProgramType
    Signed Signature SignatureStatus
"""
RECURRING_FIELDS = frozenset(_RECURRING.split())

#: Functions made for one event type. Hostile programs can choose what is asked for,
#: so there is a limit; beyond it the function for all cases serves.
FUNCTIONS_LIMIT = 512

#: An event type with more tests than this keeps one function: making many is slow.
TESTS_LIMIT = 4096


class _ByEvent(dict[int, Made]):
    """What is made of the rules for one event type, when it is first asked for."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, event_id: int) -> Made:
        self[event_id] = made = self._make(event_id)
        return made


class Rules:
    """Compiled rules; `decide` maps an event id to the function that judges its values.

    The function returns the RuleName to print ("-" when there is none) for an event
    that is reported, None for one that is not.
    """

    def __init__(self, ruleset: Ruleset) -> None:
        self._asked = _ByEvent(partial(_asked_by, ruleset))
        self._decisions = _ByEvent(partial(make_decision, ruleset))
        self.decide = _ByEvent(
            lambda event_id: _compile(ruleset, self._decisions[event_id])
        )

    def match(self, event_id: int, values: Sequence[str]) -> str | None:
        """Return the RuleName of an event's values, or None: not reported."""
        return self.decide[event_id](values)

    def decision(self, event_id: int) -> Decision:
        """Return the intermediate form of one event's rules."""
        return self._decisions[event_id]

    def can_emit(self, event_id: int) -> bool:
        """Return whether any event of this type could be reported."""
        return self._decisions[event_id].can_include

    def reads(self, event_id: int) -> frozenset[str]:
        """Return the fields whose text these rules look at."""
        if "RuleName" in self._asked[event_id]:  # all of them are asked, in order
            return self._asked[event_id]
        expressions = expressions_of(self._decisions[event_id])
        return frozenset(test.field for test in tests_of(expressions))

    def source(self, event_id: int) -> str:
        """Return the generated function of one event, before any field is known."""
        return function_source(self._decisions[event_id])


def compile_rules(ruleset: Ruleset) -> Rules:
    """Return the rules in the form that judges events fastest."""
    return Rules(ruleset)


def _compile(ruleset: Ruleset, decision: Decision) -> Decide:
    event_id = decision.event_id
    if _asks_rule_name(ruleset, event_id):
        # What no rule asks may not be a text yet.
        return lambda values: trace(ruleset, event_id, [*map(str, values)]).name
    tests = list(dict.fromkeys(tests_of(expressions_of(decision))))
    if len(tests) > TESTS_LIMIT:
        return _function(decision)
    early = [test for test in tests if test.field in RECURRING_FIELDS]
    sifted = list(_sifted([test for test in tests if test not in early]))
    if not early and not sifted:
        return _function(decision)
    return _in_two_steps(decision, early, sifted)


def _asks_rule_name(ruleset: Ruleset, event_id: int) -> bool:
    """Return whether a rule asks RuleName: then the order of questions can be seen."""
    return "RuleName" in _asked_by(ruleset, event_id)


def _asked_by(ruleset: Ruleset, event_id: int) -> frozenset[str]:
    """Return the fields that rules ask, also where the answer makes no difference."""
    return frozenset(
        part.field
        for element in elements_of(ruleset, event_id)
        for item in element.items
        for part in filters_of(item)
    )


def _sifted(tests: Sequence[Test]) -> Iterator[Test]:
    """Yield the tests of fields that are asked so much that a sieve pays."""
    by_field: dict[str, list[Test]] = {}
    for test in tests:
        by_field.setdefault(test.field, []).append(test)
    for sifted in by_field.values():
        if pays(atom for test in sifted for atom in test.atoms):
            yield from sifted


def _function(decision: Decision) -> Decide:
    name = function_name(decision.event_id)
    space: dict[str, Decide] = {}
    source = function_source(decision)
    code = compile(source, f"<rules of event {decision.event_id}>", "exec")
    exec(code, {"fold": fold, "order_key": order_key}, space)
    return space[name]


class _Bits:
    """Gives each question about a field one bit of a number of answers."""

    def __init__(self, tests: Iterable[Test]) -> None:
        asked = ((test.field, atom) for test in tests for atom in test.atoms)
        self._bits = {key: 1 << i for i, key in enumerate(dict.fromkeys(asked))}

    def of(self, field: str) -> dict[Atom, int]:
        """Return the bits of the questions about one field."""
        return {a: bit for (name, a), bit in self._bits.items() if name == field}

    def known(self, answers: int) -> Callable[[Test], bool | None]:
        """Return what the answers say about a test, None if they do not."""

        def answer(test: Test) -> bool | None:
            bits = [self._bits.get((test.field, atom)) for atom in test.atoms]
            if not all(bits):
                return None
            found = [bool(answers & bit) for bit in bits if bit]
            return (all(found) if test.need_all else any(found)) != test.negated

        return answer


class _Functions(dict[int, Decide]):
    """The functions that are left, by the answers known before."""

    def __init__(self, decision: Decision, bits: _Bits) -> None:
        super().__init__()
        self._decision = decision
        self._bits = bits
        self._whole = _function(decision)

    def __missing__(self, answers: int) -> Decide:
        if len(self) >= FUNCTIONS_LIMIT:
            return self._whole
        left = specialise(self._decision, self._bits.known(answers))
        self[answers] = function = _function(left)
        return function


def _in_two_steps(
    decision: Decision, early: Sequence[Test], sifted: Sequence[Test]
) -> Decide:
    """Return a function that collects answers and lets what they leave decide."""
    bits = _Bits((*early, *sifted))
    positions = {f.name: i for i, f in enumerate(EVENT_BY_ID[decision.event_id].fields)}
    space: dict[str, object] = {"functions": _Functions(decision, bits)}
    terms = []
    for field in dict.fromkeys(test.field for test in (*early, *sifted)):
        name, value = f"of_{field}", f"values[{positions[field]}]"
        space[name] = RememberedSieve(bits.of(field))
        terms.append(f"{name}[{value}]")
    source = f"lambda values: functions[{' | '.join(terms)}](values)"
    decide: Decide = eval(source, space)
    return decide
