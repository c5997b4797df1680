# SPDX-License-Identifier: MIT
"""The rules of one event type as an ordered list of clauses: the intermediate form.

The first clause that is true decides. If none is, the default does. Only tests are
negated, never junctions: an expression that is true stays true when more of its tests
come true. Both compiled forms start here: Python's (`rules.compiler`) and the kernel's
(`rules.kernel.compiler`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules.conditions import Test, make_test, passes
from sysmonlx.schema.event_types import Field
from sysmonlx.schema.events import EVENT_BY_ID


@dataclass(frozen=True, slots=True)
class Junction:
    """Parts of which all have to be true, or any one.

    Without parts a junction that needs all is true, the other false.
    """

    need_all: bool
    parts: tuple[Expression, ...] = ()


Expression = Test | Junction

TRUE = Junction(need_all=True)
FALSE = Junction(need_all=False)


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition, and what becomes of an event for which it holds.

    RuleName is the name of the first of `choices` that is true, else `name`. `line` is
    the line of the event element in the configuration.
    """

    condition: Expression
    include: bool
    name: str = "-"
    choices: tuple[tuple[Expression, str], ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The rules of one event type; `appended`: see `Ruleset`."""

    event_id: int
    clauses: tuple[Clause, ...]
    include_by_default: bool
    appended: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the values that are judged, in their order."""
        return EVENT_BY_ID[self.event_id].with_appended(self.appended).fields

    @property
    def can_include(self) -> bool:
        """Whether any event of this type could be reported."""
        return self.include_by_default or any(c.include for c in self.clauses)


def elements_of(ruleset: Ruleset, event_id: int) -> list[Element]:
    """Return the elements for an event in the order in which they are asked.

    All exclude elements, then all include elements, each in reverse document order.
    """
    mine = [e for e in reversed(ruleset.elements) if event_id in e.event_ids]
    return sorted(mine, key=lambda element: element.onmatch != "exclude")


def default_of(elements: list[Element], event_id: int) -> bool:
    """Return whether an event that no element matches is reported."""
    if not elements:
        return EVENT_BY_ID[event_id].default != "exclude"
    return len(elements) == 1 and elements[0].onmatch == "exclude"


def make_decision(ruleset: Ruleset, event_id: int) -> Decision:
    """Return the clauses of one event type, without tests whose answer is certain.

    RuleName is "-" while rules are asked. A test of a field that the event lacks is
    false.
    """
    elements = elements_of(ruleset, event_id)
    clauses = (clause for e in elements for clause in _clauses(e, event_id))
    default = default_of(elements, event_id)
    decision = Decision(event_id, tuple(clauses), default, ruleset.appended)
    return specialise(decision, _rule_name_is_unset)


def exclusion(ruleset: Ruleset, event_id: int) -> Decision:
    """Return the exclude clauses of one event type alone; all else is reported."""
    elements = elements_of(ruleset, event_id)
    excludes = (each for each in elements if each.onmatch == "exclude")
    clauses = tuple(clause for e in excludes for clause in _clauses(e, event_id))
    decision = Decision(event_id, clauses, True, ruleset.appended)
    return specialise(decision, _rule_name_is_unset)


def _rule_name_is_unset(test: Test) -> bool | None:
    return passes(test, "-") if test.field == "RuleName" else None


def _clauses(element: Element, event_id: int) -> Iterator[Clause]:
    items = [i for i in element.items if isinstance(i, Filter) or i.filters]
    if not items:
        return
    tests = Tests(element, event_id)
    include = element.onmatch == "include"
    if element.relation == "and":
        yield _joined(tests, items, include=include, line=element.line)
        return
    for item in items:
        for condition, name in _alternatives(tests, item):
            yield Clause(condition, include, name or "-", line=element.line)


class Tests:
    """Makes the tests of one element for one of the events that it judges.

    An element for several events is bound to one of them. In another event a field
    counts only if it stands at the same position there, or is one of ours.
    """

    def __init__(self, element: Element, event_id: int) -> None:
        here = EVENT_BY_ID[event_id].fields
        there = EVENT_BY_ID[element.bound_id or event_id].fields
        self._fields = {
            a.name for a, b in zip(here, there, strict=False) if a.name == b.name
        }
        self._fields |= {each.name for each in EVENT_BY_ID[event_id].askable}

    def has(self, item: Filter) -> bool:
        """Return whether the event has the filter's field."""
        return item.field in self._fields

    def make(self, item: Filter) -> Expression:
        """Return what a filter asks of this event."""
        if not self.has(item):
            return FALSE
        return make_test(item.field, item.condition, item.value)


def filters_of(item: Filter | Compound) -> tuple[Filter, ...]:
    """Return the filters of a Rule, or the filter itself."""
    return (item,) if isinstance(item, Filter) else item.filters


def _alternatives(
    tests: Tests, item: Filter | Compound
) -> Iterator[tuple[Expression, str]]:
    """Yield each condition of an OR element that decides alone, with its name."""
    if isinstance(item, Compound) and item.relation == "and":
        named = [f.name for f in item.filters if f.name]
        condition = Junction(True, tuple(tests.make(f) for f in item.filters))
        yield condition, named[-1] if named else ""
        return
    for part in filters_of(item):
        yield tests.make(part), part.name


def _joined(
    tests: Tests, items: list[Filter | Compound], *, include: bool, line: int
) -> Clause:
    """Return the clause of an AND element; filters on one field are alternatives."""
    by_field: dict[str, list[Expression]] = {}
    parts = []
    for item in items:
        if isinstance(item, Filter):
            by_field.setdefault(item.field, []).append(tests.make(item))
        else:
            rule = tuple(tests.make(f) for f in item.filters)
            parts.append(Junction(item.relation == "and", rule))
    parts += [Junction(False, tuple(same)) for same in by_field.values()]
    condition = Junction(True, tuple(parts))
    names = {f.name for item in items for f in filters_of(item)}
    if len(names) == 1:
        return Clause(condition, include, names.pop() or "-", line=line)
    return Clause(condition, include, "-", tuple(_choices(tests, items)), line)


def _choices(
    tests: Tests, items: list[Filter | Compound]
) -> Iterator[tuple[Expression, str]]:
    """Yield conditions and names of an AND element that matches.

    The first condition that is true gives the name: of all filters that passed, the
    last one with a name.
    """
    for index in reversed(range(len(items))):
        item = items[index]
        if isinstance(item, Compound) and item.relation == "and":
            named = [f.name for f in item.filters if f.name]
            if named:
                yield TRUE, named[-1]
                return
            continue
        if isinstance(item, Compound):
            yield from _firsts(tests, item.filters)
            continue
        same = [f for f in items[:index] if isinstance(f, Filter)]
        same = [f for f in same if f.field == item.field]
        yield from list(_firsts(tests, (*same, item)))[-1:] if item.name else ()


def _firsts(
    tests: Tests, filters: tuple[Filter, ...]
) -> Iterator[tuple[Expression, str]]:
    """Yield, for each filter with a name, that it is the first one that passes."""
    before: list[Expression] = []
    for part in filters:
        test = tests.make(part)
        if part.name:
            yield Junction(True, (*before, test)), part.name
        if isinstance(test, Test):
            before.append(replace(test, negated=not test.negated))


#: Returns the answer to a test, None if it is not known.
Known = Callable[[Test], bool | None]


def specialise(decision: Decision, known: Known) -> Decision:
    """Return the decision that remains when some tests' answers are known."""
    clauses = []
    for clause in decision.clauses:
        condition = simplify(clause.condition, known)
        if condition == FALSE:
            continue
        choices = [(simplify(e, known), name) for e, name in clause.choices]
        left = tuple((e, name) for e, name in choices if e != FALSE)
        clauses.append(replace(clause, condition=condition, choices=left))
        if condition == TRUE:
            break
    includes_rest = decision.include_by_default and TRUE not in [
        c.condition for c in clauses
    ]
    last = max((i for i, c in enumerate(clauses) if c.include), default=-1)
    if not includes_rest:
        clauses = clauses[: last + 1]  # the others exclude what the default excludes
    return replace(decision, clauses=tuple(clauses), include_by_default=includes_rest)


def simplify(expression: Expression, known: Known) -> Expression:
    """Return an equal expression without the tests whose answers are known."""
    if isinstance(expression, Test):
        answer = known(expression)
        if answer is None and not expression.atoms:
            answer = expression.need_all != expression.negated
        return expression if answer is None else (TRUE if answer else FALSE)
    ends = FALSE if expression.need_all else TRUE
    parts: list[Expression] = []
    for part in expression.parts:
        simple = simplify(part, known)
        if simple == ends:
            return ends
        parts += _flat(simple, need_all=expression.need_all)
    unique = tuple(dict.fromkeys(parts))
    return unique[0] if len(unique) == 1 else Junction(expression.need_all, unique)


def _flat(part: Expression, *, need_all: bool) -> tuple[Expression, ...]:
    """Return the parts of a junction of the same kind, or of one that has no effect."""
    if isinstance(part, Junction) and (part.need_all == need_all or not part.parts):
        return part.parts
    return (part,)


def tests_of(expressions: Iterable[Expression]) -> Iterator[Test]:
    """Yield every test of some expressions, in order."""
    for expression in expressions:
        if isinstance(expression, Test):
            yield expression
        else:
            yield from tests_of(expression.parts)


def expressions_of(decision: Decision) -> Iterator[Expression]:
    """Yield every expression of a decision: conditions and choices of names."""
    for clause in decision.clauses:
        yield clause.condition
        for expression, _ in clause.choices:
            yield expression
