# SPDX-License-Identifier: MIT
"""One event judged step by step: why it was reported, or why it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules.clauses import Tests, default_of, elements_of
from sysmonlx.rules.conditions import Test, fold, passes
from sysmonlx.schema.events import EVENT_BY_ID


@dataclass(frozen=True, slots=True)
class Trace:
    """How one event was decided.

    `name` is None when it is not reported. `element` is the one that decided, None
    for the default; `filters` are those of its filters that passed, in order, and
    `hidden_name` is the name that an exclusion does not print.
    """

    name: str | None
    element: Element | None = None
    filters: tuple[Filter, ...] = ()
    hidden_name: str = ""


def trace(ruleset: Ruleset, event_id: int, values: Sequence[str]) -> Trace:
    """Return how an event with these values is decided.

    A rule that asks RuleName finds "-" and fixes it: then no name is printed.
    """
    fields = EVENT_BY_ID[event_id].with_appended(ruleset.appended).fields
    folded = {f.name: fold(v) for f, v in zip(fields, values, strict=True)}
    elements = elements_of(ruleset, event_id)
    event = _Event(event_id, {**folded, "RuleName": "-"})
    for element in elements:
        passed = event.element(element)
        if passed is None:
            continue
        name = [f.name for f in passed if f.name][-1:]
        name = [] if event.rule_name_was_asked else name
        if element.onmatch == "exclude":
            return Trace(None, element, tuple(passed), "".join(name))
        return Trace("".join(name) or "-", element, tuple(passed))
    return Trace("-" if default_of(elements, event_id) else None)


class _Event:
    """An event under judgement; methods return the filters that passed, or None."""

    def __init__(self, event_id: int, folded: dict[str, str]) -> None:
        self._id = event_id
        self._folded = folded
        self.rule_name_was_asked = False

    def element(self, element: Element) -> list[Filter] | None:
        tests = Tests(element, self._id)
        items = [i for i in element.items if isinstance(i, Filter) or i.filters]
        if element.relation == "and":
            return self._all(items, tests)
        found = (self._item(item, tests) for item in items)
        return next((passed for passed in found if passed is not None), None)

    def _all(
        self, items: Sequence[Filter | Compound], tests: Tests
    ) -> list[Filter] | None:
        """Join the items; filters on one field, outside Rules, are alternatives."""
        passed: list[Filter] = []
        fields_passed: set[str] = set()
        for index, item in enumerate(items):
            field = item.field if isinstance(item, Filter) else ""
            if field in fields_passed:
                continue
            more = self._item(item, tests)
            if more is not None:
                passed += more
                fields_passed |= {field} - {""}
            elif not any(_asks(later, field) for later in items[index + 1 :]):
                return None
        return passed or None

    def _item(self, item: Filter | Compound, tests: Tests) -> list[Filter] | None:
        if isinstance(item, Filter):
            return [item] if self._filter(item, tests) else None
        if item.relation == "and":
            passed = all(self._filter(part, tests) for part in item.filters)
            return list(item.filters) if passed else None
        return next(([f] for f in item.filters if self._filter(f, tests)), None)

    def _filter(self, item: Filter, tests: Tests) -> bool:
        if item.field == "RuleName":
            self.rule_name_was_asked = True
        test = tests.make(item)
        return isinstance(test, Test) and passes(test, self._folded[item.field])


def _asks(item: Filter | Compound, field: str) -> bool:
    return isinstance(item, Filter) and item.field == field
