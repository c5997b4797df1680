# SPDX-License-Identifier: MIT
"""The rules as the daemon runs them: one generated function for each event type.

Many fields of an event stay the same while one program runs, and most events come from
few programs. The rules ask such a field once for each text. The answers, as bits of one
number, choose a function in which only questions about other fields are left. If there
are many questions about one other field, a sieve answers them beforehand as well.

`compiler` makes all of this as plain data, most often in another process. The data hold
code that is run: they may come from this program only.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from types import CodeType
from typing import Any, NamedTuple, TypeVar

from sysmonlx.policy import Element, Ruleset
from sysmonlx.rules.clauses import Decision, expressions_of, specialise, tests_of
from sysmonlx.rules.conditions import Atom, Test, fold, order_key
from sysmonlx.rules.explain import Tracer
from sysmonlx.rules.plain_form import (
    PlainElement,
    decision_of,
    element_of,
    plain_element,
)
from sysmonlx.rules.python_source import function_name, function_source
from sysmonlx.rules.sigma.correlator import CorrelationForm, Correlator
from sysmonlx.rules.sigma.decide import with_sigma
from sysmonlx.rules.sigma.judge import JudgeForm, SigmaJudge
from sysmonlx.rules.text_index import RememberedSieve, SieveForm

Decide = Callable[[Sequence[str]], str | None]
Made = TypeVar("Made")

#: The number of the bit that answers an atom, by field and atom.
Bits = dict[str, dict[Atom, int]]

#: A field whose questions are answered beforehand: name, position, form of the sieve.
EarlyField = tuple[str, int, SieveForm]

#: By event id a pair: what makes a `Summary`, and the judge. Then what makes a
#: `CorrelationForm` of each correlation.
PlainRules = tuple[
    dict[int, tuple[tuple[bool, frozenset[str]], bytes]], tuple[tuple[Any, ...], ...]
]

#: How many functions are made for one event type. Hostile programs choose the texts and
#: with them the functions. Beyond the limit the function for all cases decides.
FUNCTIONS_LIMIT = 512


class Summary(NamedTuple):
    """Facts about the rules of one event type.

    `can_emit` says whether any event of this type could be reported. `reads` are the
    fields whose text the rules look at.
    """

    can_emit: bool
    reads: frozenset[str]


class ByEvent(dict[int, Made]):
    """A value for each event id, made when it is first asked for."""

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

    def __init__(
        self,
        summaries: Mapping[int, Summary],
        judge: Callable[[int], bytes],
        correlations: Sequence[CorrelationForm] = (),
    ) -> None:
        """Take the rules of each event type.

        Args:
            summaries: By event id.
            judge: Returns the judge of an event id, as `one_function`, `by_trace`,
                `in_two_steps` or `by_sigma` made it. It is called once at most for each
                id.
            correlations: Those of the rules of Sigma.
        """
        self._summaries = summaries
        self.judges: dict[int, SigmaJudge] = {}
        """What judges by rules of Sigma, for the events that have some."""
        self.correlator = Correlator(correlations)
        """What carries out the correlations of these rules."""
        made = partial(_made_for, judge, self.judges)
        self.decide: ByEvent[Decide] = ByEvent(made)

    def but_for(self, decisions: Mapping[int, Decide]) -> Rules:
        """Return these rules with other functions for some events, by event id.

        The rest is shared: the judges by rules of Sigma go on in both.
        """
        made = Rules(self._summaries, lambda _: b"")
        made.judges = self.judges
        made.decide = ByEvent(self.decide.__getitem__)
        made.decide.update(decisions)
        return made

    def match(self, event_id: int, values: Sequence[str]) -> str | None:
        """Return the RuleName of an event's values, or None: not reported."""
        return self.decide[event_id](values)

    def can_emit(self, event_id: int) -> bool:
        """Return whether any event of this type could be reported."""
        return self._summaries[event_id].can_emit

    def reads(self, event_id: int) -> frozenset[str]:
        """Return the fields whose text these rules look at."""
        return self._summaries[event_id].reads


def rules_of(plain: PlainRules) -> Rules:
    """Return rules out of plain data."""
    by_event, correlations = plain
    summaries = {event_id: Summary(*pair[0]) for event_id, pair in by_event.items()}
    judges = {event_id: pair[1] for event_id, pair in by_event.items()}
    forms = [CorrelationForm(*each) for each in correlations]
    rules = Rules(summaries, judges.pop, forms)
    for event_id in by_event:  # a failure shows now, not when an event is judged
        rules.decide[event_id]
    return rules


def one_function(code: CodeType, event_id: int) -> bytes:
    """Return, marshalled, the judge that is one function; `Rules` makes it of that."""
    return marshal.dumps((code, event_id, "function"))


def by_trace(
    event_id: int, elements: Iterable[Element], appended: tuple[str, ...]
) -> bytes:
    """Return, marshalled, the judge that goes through the elements one by one."""
    return marshal.dumps(
        (event_id, tuple(map(plain_element, elements)), appended, "trace")
    )


def in_two_steps(
    code: CodeType, event_id: int, decision: bytes, fields: Sequence[EarlyField]
) -> bytes:
    """Return, marshalled, the judge that asks some fields, then chooses a function.

    Args:
        code: Defines the function for all cases.
        event_id: Whose events it judges.
        decision: What `plain_decision` returned, marshalled.
        fields: Names of fields, their positions and the form of the sieve of each, with
            bits as `bits_of` gives them.
    """
    whole = marshal.dumps(code)
    return marshal.dumps((whole, event_id, decision, tuple(fields), "steps"))


def by_sigma(sysmon: bytes, exclusion: bytes, form: JudgeForm) -> bytes:
    """Return, marshalled, the judge that asks rules of Sigma too.

    Args:
        sysmon: The judge of Sysmon's rules.
        exclusion: That of those that exclude.
        form: The rules of Sigma.
    """
    return marshal.dumps((sysmon, exclusion, tuple(form), "sigma"))


def _made_for(
    judge: Callable[[int], bytes], judges: dict[int, SigmaJudge], event_id: int
) -> Decide:
    """Return the function that judges events of one type; add to `judges`."""
    *parts, kind = marshal.loads(judge(event_id))
    if kind != "sigma":
        return _KINDS[kind](*parts)
    sysmon, exclusion, form = parts
    sigma = judges[event_id] = SigmaJudge(JudgeForm(*form))
    return with_sigma(_made_of(sysmon), _made_of(exclusion), sigma)


def _made_of(judge: bytes) -> Decide:
    *parts, kind = marshal.loads(judge)
    return _KINDS[kind](*parts)


def _one_function(code: CodeType, event_id: int) -> Decide:
    space: dict[str, Decide] = {}
    exec(code, {"fold": fold, "order_key": order_key}, space)
    return space[function_name(event_id)]


def _by_trace(
    event_id: int, elements: Sequence[PlainElement], appended: tuple[str, ...]
) -> Decide:
    ruleset = Ruleset(elements=tuple(map(element_of, elements)), appended=appended)
    # A value that no rule asks may be no text yet.
    trace = Tracer(ruleset).trace
    return lambda values: trace(event_id, [*map(str, values)]).name


def _in_two_steps(
    code: bytes, event_id: int, decision: bytes, fields: Sequence[EarlyField]
) -> Decide:
    names = tuple(name for name, _, _ in fields)
    functions = _Functions(event_id, code, decision, names)
    space: dict[str, object] = {"functions": functions}
    terms = []
    for field, position, form in fields:
        name = f"of_{field}"
        space[name] = RememberedSieve(form)
        terms.append(f"{name}[values[{position}]]")
    source = f"lambda values: functions[{' | '.join(terms)}](values)"
    decide: Decide = eval(source, space)
    return decide


_KINDS: dict[str, Callable[..., Decide]] = {
    "function": _one_function,
    "trace": _by_trace,
    "steps": _in_two_steps,
}


class _Functions(dict[int, Decide]):
    """Functions by the answers about the fields that are asked first.

    A function asks only the other fields.
    """

    def __init__(
        self, event_id: int, code: bytes, decision: bytes, fields: Sequence[str]
    ) -> None:
        super().__init__()
        self._event_id = event_id
        self._code = code
        self._packed = decision
        self._fields = fields

    @cached_property
    def _whole(self) -> Decide:
        """The function that asks all fields: large, and hardly ever needed."""
        return _one_function(marshal.loads(self._code), self._event_id)

    def __missing__(self, answers: int) -> Decide:
        if len(self) >= FUNCTIONS_LIMIT:
            return self._whole
        decision, bits = self._opened
        left = specialise(decision, _known(bits, answers))
        self[answers] = function = _one_function(compiled(left), left.event_id)
        return function

    @cached_property
    def _opened(self) -> tuple[Decision, Bits]:
        """The decision and its bits: large, and not needed for rules never asked."""
        decision = decision_of(marshal.loads(self._packed))
        self._packed = b""
        return decision, bits_of(decision, self._fields)


def bits_of(decision: Decision, fields: Iterable[str]) -> Bits:
    """Return the number of the bit for each question about some fields."""
    bits: Bits = {field: {} for field in fields}
    count = 0
    for test in tests_of(expressions_of(decision)):
        for atom in test.atoms if test.field in bits else ():
            count += bits[test.field].setdefault(atom, count) == count
    return bits


def compiled(decision: Decision) -> CodeType:
    """Return the code that defines a decision's function."""
    where = f"<rules of event {decision.event_id}>"
    return compile(function_source(decision), where, "exec")


def _known(bits: Bits, answers: int) -> Callable[[Test], bool | None]:
    """Return a function that answers tests by the bits `answers`, None if unknown."""

    def answer(test: Test) -> bool | None:
        if test.field not in bits:
            return None
        of_field = bits[test.field]
        found = (bool(answers >> of_field[atom] & 1) for atom in test.atoms)
        return (all(found) if test.need_all else any(found)) != test.negated

    return answer
