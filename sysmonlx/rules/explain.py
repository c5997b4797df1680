# SPDX-License-Identifier: MIT
"""One event judged step by step: why it was reported, or why it was not.

A `Tracer` prepares the tests of all elements once. Most conditions ask about fields
whose texts recur. For an element with many alternatives those that such texts rule out
are found once for each combination of texts, and left out from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sysmonlx.bounded import Bounded
from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules.clauses import Tests, default_of, elements_of, filters_of
from sysmonlx.rules.conditions import Operation, Test, fold, passes
from sysmonlx.schema.events import EVENT_BY_ID

#: Combinations of texts for which the alternatives that are left are kept; and from
#: how many alternatives on that pays.
_KEPT, _MANY = 512, 8


@dataclass(frozen=True, slots=True)
class Trace:
    """How one event was decided.

    `name` is None when it is not reported. `element` is the one that decided, None
    for the default; `item` is its Rule or filter that did so alone. `filters` are those
    of its filters that passed, in order, and `hidden_name` is the name that an
    exclusion does not print.
    """

    name: str | None
    element: Element | None = None
    filters: tuple[Filter, ...] = ()
    hidden_name: str = ""
    item: Filter | Compound | None = None

    @property
    def line(self) -> int:
        """The line of what decided, 0 for the default."""
        line = self.item.line if self.item else 0
        return line or (self.element.line if self.element else 0)


def trace(ruleset: Ruleset, event_id: int, values: Sequence[str]) -> Trace:
    """Return how an event with these values is decided."""
    return Tracer(ruleset).trace(event_id, values)


class Tracer:
    """Judges events step by step by the rules of Sysmon.

    A rule that asks RuleName finds "-" and fixes it: then no name is printed.
    """

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._known: dict[int, _OfEvent] = {}

    def trace(self, event_id: int, values: Sequence[str]) -> Trace:
        """Return how an event with these values is decided."""
        known = self._known.get(event_id)
        if known is None:
            known = self._known[event_id] = _OfEvent(self._ruleset, event_id)
        return known.trace(values)


class _OfEvent:
    """The elements for one event type, in the order in which they are asked."""

    def __init__(self, ruleset: Ruleset, event_id: int) -> None:
        fields = EVENT_BY_ID[event_id].with_appended(ruleset.appended).fields
        at = {field.name: number for number, field in enumerate(fields)}
        recurring = {number for number, field in enumerate(fields) if field.recurs}
        elements = elements_of(ruleset, event_id)
        self._size = len(fields)
        self._elements = [_Element(each, event_id, at, recurring) for each in elements]
        self._default = Trace("-" if default_of(elements, event_id) else None)

    def trace(self, values: Sequence[str]) -> Trace:
        if len(values) != self._size:
            raise ValueError(f"{len(values)} values of an event with {self._size}")
        event = _Event(values)
        for element in self._elements:
            found = element.passed(event)
            if found is None:
                continue
            item, passed = found
            name = [f.name for f in passed if f.name][-1:]
            name = [] if event.rule_name_was_asked else name
            if element.element.onmatch == "exclude":
                hidden = "".join(name)
                return Trace(None, element.element, tuple(passed), hidden, item)
            shown = "".join(name) or "-"
            return Trace(shown, element.element, tuple(passed), item=item)
        return self._default


class _Event(dict[int, str]):
    """An event under judgement: its folded texts by position."""

    def __init__(self, values: Sequence[str]) -> None:
        super().__init__()
        self.values_given = values
        self.rule_name_was_asked = False

    def __missing__(self, at: int) -> str:
        self[at] = folded = fold(self.values_given[at])
        return folded


#: Answers a test by the folded text of its field.
_Answer = Callable[[str], bool]


class _Filter:
    """A filter; its answer is False where the event lacks the field."""

    __slots__ = ("answer", "asks_name", "at", "item")

    def __init__(self, item: Filter, tests: Tests, at: dict[str, int]) -> None:
        self.item = item
        self.asks_name = item.field == "RuleName"
        self.at = at.get(item.field, 0)
        test = tests.make(item)
        self.answer = _answer_of(test) if isinstance(test, Test) else _never

    def passes(self, event: _Event) -> bool:
        if self.asks_name:
            event.rule_name_was_asked = True
            return self.answer("-")
        return self.answer(event[self.at])


def _never(text: str) -> bool:
    return False


def _answer_of(test: Test) -> _Answer:
    """Return the function that answers a test; the commonest ones in few steps."""
    if len(test.atoms) == 1 and not test.negated:
        (atom,) = test.atoms
        operand = atom.operand
        if atom.operation is Operation.IS:
            return operand.__eq__
        if atom.operation is Operation.END:
            return lambda text: text.endswith(operand)
    return lambda text: passes(test, text)


class _Item:
    """A filter or Rule of an element."""

    __slots__ = ("asks_name", "field", "filters", "item", "need_all")

    def __init__(
        self, item: Filter | Compound, tests: Tests, at: dict[str, int]
    ) -> None:
        self.item = item
        self.field = item.field if isinstance(item, Filter) else ""
        self.need_all = isinstance(item, Compound) and item.relation == "and"
        self.filters = [_Filter(each, tests, at) for each in filters_of(item)]
        self.asks_name = any(each.asks_name for each in self.filters)

    def passed(self, event: _Event) -> list[Filter] | None:
        """Return the filters that passed, None: the item is not true."""
        if self.need_all:
            is_true = all(each.passes(event) for each in self.filters)
            return [each.item for each in self.filters] if is_true else None
        return next(([f.item] for f in self.filters if f.passes(event)), None)

    def can_pass(self, event: _Event, known: set[int]) -> bool:
        """Return whether the item may be true, as far as some fields of the event tell.

        `known` are the positions of these fields; all others count as unknown. An item
        that asks for RuleName may always be true: no field of the event tells it.
        """
        if self.asks_name:
            return True
        asked = [each for each in self.filters if each.at in known]
        if self.need_all:
            return all(each.passes(event) for each in asked)
        is_open = len(asked) < len(self.filters)
        return is_open or any(each.passes(event) for each in asked)


class _Element:
    """An element, with its tests made."""

    def __init__(
        self, element: Element, event_id: int, at: dict[str, int], recurring: set[int]
    ) -> None:
        self.element = element
        tests = Tests(element, event_id)
        items = [i for i in element.items if isinstance(i, Filter) or i.filters]
        self._items = [_Item(each, tests, at) for each in items]
        asked = {f.at for item in self._items for f in item.filters if not f.asks_name}
        self._recurring = sorted(asked & recurring)
        self._left: Bounded[tuple[str, ...], list[_Item]] = Bounded(_KEPT)

    def passed(
        self, event: _Event
    ) -> tuple[Filter | Compound | None, list[Filter]] | None:
        """Return what decided and the filters that passed, None: it does not match."""
        if self.element.relation == "and":
            found = self._all(event)
            return None if found is None else (None, found)
        for each in self._alternatives(event):
            passed = each.passed(event)
            if passed is not None:
                return each.item, passed
        return None

    def _alternatives(self, event: _Event) -> list[_Item]:
        """Return the items that the texts that recur do not rule out."""
        if len(self._items) < _MANY or not self._recurring:
            return self._items
        key = tuple(event[at] for at in self._recurring)
        left = self._left.get(key)
        if left is None:
            known = {*self._recurring}
            left = [each for each in self._items if each.can_pass(event, known)]
            if sum(map(len, key)) <= _KEPT:
                self._left[key] = left
        return left

    def _all(self, event: _Event) -> list[Filter] | None:
        """Join the items; filters on one field, outside Rules, are alternatives."""
        passed: list[Filter] = []
        fields_passed: set[str] = set()
        for index, item in enumerate(self._items):
            if item.field in fields_passed:
                continue
            more = item.passed(event)
            if more is not None:
                passed += more
                fields_passed |= {item.field} - {""}
            elif not any(
                later.field == item.field != "" for later in self._items[index + 1 :]
            ):
                return None
        return passed or None
