# SPDX-License-Identifier: MIT
"""The rules of a policy, compiled for the daemon: see `verdicts` for what they become.

Of each event type one of three judges is made:

1. Rules that ask RuleName are gone through step by step (`explain`), since the order of
   the questions can be seen in the answer.
2. Rules that ask no recurring field, or too much, become one function.
3. All others are judged in two steps. The questions about recurring fields are answered
   once for each text. The answers together choose a function that asks the rest.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from sysmonlx.policy import PackFile, Ruleset
from sysmonlx.rules.clauses import (
    Clause,
    Decision,
    Expression,
    Junction,
    elements_of,
    exclusion,
    expressions_of,
    filters_of,
    make_decision,
    tests_of,
)
from sysmonlx.rules.conditions import Atom, Test
from sysmonlx.rules.plain_form import plain_decision
from sysmonlx.rules.python_source import function_source
from sysmonlx.rules.sigma.forms import (
    RuleInForce,
    chosen,
    correlated,
    fields_read,
    judge_form,
    ordered,
)
from sysmonlx.rules.sigma.kernel_form import with_rules
from sysmonlx.rules.sigma.pack import load
from sysmonlx.rules.sigma.steps import CorrelationInForce, correlation_forms
from sysmonlx.rules.text_index import form_of, pays
from sysmonlx.rules.verdicts import (
    ByEvent,
    PlainRules,
    Rules,
    Summary,
    bits_of,
    by_sigma,
    by_trace,
    compiled,
    in_two_steps,
    one_function,
)
from sysmonlx.schema.events import EVENT_BY_ID

#: An event type with more tests than this keeps one function: making many is slow.
TESTS_LIMIT = 4096


class CompiledRules(Rules):
    """Rules, and the intermediate forms that they were made from.

    The rules of an event type are compiled when they are first asked for.
    """

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self.sigma, self.correlations = rules_in_force(ruleset)
        """The rules of Sigma, and the correlations of them."""
        self._decisions = ByEvent(partial(make_decision, ruleset))
        parts = (ruleset, self.sigma, self.correlations, self._decisions)
        summaries = ByEvent(partial(_whole_summary, *parts))
        self._judges = ByEvent(partial(_whole_judge, *parts))
        self._forms = correlation_forms(self.correlations)
        super().__init__(summaries, self._judges.__getitem__, self._forms)

    def decision(self, event_id: int) -> Decision:
        """Return the intermediate form of one event's rules."""
        return self._decisions[event_id]

    def count_of(self, pack: PackFile) -> int:
        """Return how many rules and correlations of a pack are used."""
        path = pack.choice[0]
        rules = sum(each.pack == path for each in self.sigma)
        return rules + sum(each.pack == path for each in self.correlations)

    def kernel_decision(self, event_id: int) -> Decision:
        """Return the rules by which the kernel discards an event, see `kernel_form`."""
        decision = self._decisions[event_id]
        reporting = [
            each for each in ordered(self.sigma, event_id) if each.action != "tag"
        ]
        excludes = exclusion(self._ruleset, event_id).clauses if reporting else ()
        return with_rules(decision, excludes, reporting)

    def source(self, event_id: int) -> str:
        """Return the generated function of one event, before any field is known."""
        return function_source(self._decisions[event_id])

    def plain(self) -> PlainRules:
        """Return the rules of all event types as plain data, for `rules_of`."""
        by_event = {
            event_id: (
                (self.can_emit(event_id), self.reads(event_id)),
                self._judges[event_id],
            )
            for event_id in EVENT_BY_ID
        }
        return by_event, tuple(map(tuple, self._forms))


def compile_rules(ruleset: Ruleset) -> CompiledRules:
    """Return the rules that decide which events are reported."""
    return CompiledRules(ruleset)


def rules_in_force(
    ruleset: Ruleset,
) -> tuple[tuple[RuleInForce, ...], tuple[CorrelationInForce, ...]]:
    """Return the rules and correlations of all packs; of two with one id the first."""
    found: dict[str, RuleInForce] = {}
    joined: dict[str, CorrelationInForce] = {}
    for file in ruleset.packs:
        pack, parts = load(json.loads(file.text)), (file.choice, ruleset.appended)
        for each in chosen(pack, *parts):
            found.setdefault(each.rule.id or f"{file.sha256} {len(found)}", each)
        for one in correlated(pack, *parts):
            key = one.correlation.id or f"{file.sha256} {len(joined)}"
            joined.setdefault(key, one)
    return tuple(found.values()), tuple(joined.values())


def _whole_summary(
    ruleset: Ruleset,
    sigma: Sequence[RuleInForce],
    correlations: Sequence[CorrelationInForce],
    decisions: ByEvent[Decision],
    event_id: int,
) -> Summary:
    found = _summary(ruleset, decisions, event_id)
    if not (mine := ordered(sigma, event_id)):
        return found
    can_emit = found.can_emit or any(each.action != "tag" for each in mine)
    return Summary(can_emit, found.reads | fields_read(mine, correlations))


def _whole_judge(
    ruleset: Ruleset,
    sigma: Sequence[RuleInForce],
    correlations: Sequence[CorrelationInForce],
    decisions: ByEvent[Decision],
    event_id: int,
) -> bytes:
    judge = _judge(ruleset, decisions, event_id)
    if not (mine := ordered(sigma, event_id)):
        return judge
    excludes = compiled(exclusion(ruleset, event_id))
    form = judge_form(mine, decisions[event_id].fields, correlations)
    return by_sigma(judge, one_function(excludes, event_id), form)


def _summary(ruleset: Ruleset, decisions: ByEvent[Decision], event_id: int) -> Summary:
    decision = decisions[event_id]
    asked = _asked_by(ruleset, event_id)
    if "RuleName" in asked:  # `explain` asks all fields, in order
        return Summary(decision.can_include, asked)
    tests = tests_of(expressions_of(decision))
    return Summary(decision.can_include, frozenset(test.field for test in tests))


def _judge(ruleset: Ruleset, decisions: ByEvent[Decision], event_id: int) -> bytes:
    decision = decisions[event_id]
    if "RuleName" in _asked_by(ruleset, event_id):
        # The order of questions can be seen.
        mine = (each for each in ruleset.elements if event_id in each.event_ids)
        return by_trace(event_id, mine, ruleset.appended)
    tests = list(dict.fromkeys(tests_of(expressions_of(decision))))
    if len(tests) > TESTS_LIMIT:
        return one_function(compiled(decision), event_id)
    early = _early_fields(decision, tests)
    if not early:
        return one_function(compiled(decision), event_id)
    return _two_steps(_joined(decision), early)


def _asked_by(ruleset: Ruleset, event_id: int) -> frozenset[str]:
    """Return the fields that rules ask, also where the answer makes no difference."""
    return frozenset(
        part.field
        for element in elements_of(ruleset, event_id)
        for item in element.items
        for part in filters_of(item)
    )


def _early_fields(decision: Decision, tests: Iterable[Test]) -> list[str]:
    """Return the fields that are answered first.

    These are fields whose texts recur, and fields about which there are enough
    questions to make a sieve cheaper.
    """
    recurring = {each.name for each in decision.fields if each.recurs}
    asked: dict[str, list[Atom]] = {}
    for test in tests:
        asked.setdefault(test.field, []).extend(test.atoms)
    return [
        field for field, atoms in asked.items() if field in recurring or pays(atoms)
    ]


def _joined(decision: Decision) -> Decision:
    """Return an equal decision in which neighbours of one outcome are one clause.

    Thousands of conditions on one field become one test, which takes less memory.
    """
    runs = groupby(decision.clauses, key=_outcome)
    clauses = tuple(_clause_of(list(run)) for _, run in runs)
    return replace(decision, clauses=clauses)


def _outcome(clause: Clause) -> tuple[object, ...]:
    return clause.include, clause.name, clause.choices, clause.line


def _clause_of(run: Sequence[Clause]) -> Clause:
    """Return one clause for several of one outcome; any of their conditions holds."""
    if len(run) == 1 or run[0].choices:
        return run[0]
    alike: dict[str, dict[Atom, None]] = {}
    others: dict[Expression, None] = {}
    for clause in run:
        test = clause.condition
        is_any = isinstance(test, Test) and (not test.need_all or len(test.atoms) == 1)
        if isinstance(test, Test) and is_any and test.atoms and not test.negated:
            alike.setdefault(test.field, {}).update(dict.fromkeys(test.atoms))
        else:
            others[test] = None
    parts = (*(Test(name, tuple(atoms)) for name, atoms in alike.items()), *others)
    condition = parts[0] if len(parts) == 1 else Junction(False, parts)
    return replace(run[0], condition=condition)


def _two_steps(decision: Decision, early: Sequence[str]) -> bytes:
    """Return the judge for which the tests of some fields are answered beforehand."""
    positions = {field.name: at for at, field in enumerate(decision.fields)}
    return in_two_steps(
        compiled(decision),
        decision.event_id,
        marshal.dumps(plain_decision(decision)),
        [
            (name, positions[name], form_of(bits))
            for name, bits in bits_of(decision, early).items()
        ],
    )
