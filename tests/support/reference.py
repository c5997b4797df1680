# SPDX-License-Identifier: MIT
"""What a configuration means, as plainly as it can be said: the rules' specification.

Nothing here is fast and nothing is shared with `sysmonlx.rules`; every compiled form of
the rules is tested against these functions.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache

from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.schema.events import EVENT_BY_ID

LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


@dataclass
class Event:
    """One event under judgement: its text by field, and what has been learnt so far."""

    id: int
    text: Mapping[str, str]
    name: str = ""
    rule_name_was_asked: bool = field(default=False)


def decide(ruleset: Ruleset, event_id: int, text: Mapping[str, str]) -> str | None:
    """Return the RuleName to print, "-" when there is none, or None: not reported."""
    elements = [e for e in ruleset.elements if event_id in e.event_ids]
    default = EVENT_BY_ID[event_id].default
    if default is None:
        return "-"
    if not elements:
        return "-" if default == "include" else None
    event = Event(event_id, {**text, "RuleName": "-"})
    excludes = [e for e in elements if e.onmatch == "exclude"]
    includes = [e for e in elements if e.onmatch == "include"]
    for element in excludes[::-1] + includes[::-1]:
        event.name = ""
        if element_matches(element, event):
            return None if element.onmatch == "exclude" else printed_name(event)
    if len(elements) == 1 and elements[0].onmatch == "exclude":
        return "-"
    return None


def printed_name(event: Event) -> str:
    """Return the deciding name; a rule that asks RuleName itself fixes it to "-"."""
    return "-" if event.rule_name_was_asked else event.name or "-"


def element_matches(element: Element, event: Event) -> bool:
    """Return whether one event element matches, and leave its name in the event."""
    items = [i for i in element.items if isinstance(i, Filter) or i.filters]
    if element.relation == "or":
        return any_matches(element, items, event)
    matched: set[str] = set()
    for index, item in enumerate(items):
        if isinstance(item, Filter) and item.field in matched:
            continue
        if item_matches(element, item, event):
            if isinstance(item, Filter):
                matched.add(item.field)
        elif not asked_again(item, items[index + 1 :]):
            return False
    return bool(items)


def any_matches(element: Element, items: list[Filter | Compound], event: Event) -> bool:
    """Return whether one item matches; names left by those that do not are dropped."""
    for item in items:
        event.name = ""
        if item_matches(element, item, event):
            return True
    return False


def asked_again(item: Filter | Compound, later: list[Filter | Compound]) -> bool:
    """Return whether a later filter outside Rules asks the same field."""
    return isinstance(item, Filter) and any(
        isinstance(other, Filter) and other.field == item.field for other in later
    )


def item_matches(element: Element, item: Filter | Compound, event: Event) -> bool:
    """Return whether a filter or a whole Rule matches."""
    if isinstance(item, Filter):
        return filter_matches(element, item, event)
    for part in item.filters:
        found = filter_matches(element, part, event)
        if found != (item.relation == "and"):
            return found
    return item.relation == "and"


def filter_matches(element: Element, item: Filter, event: Event) -> bool:
    """Return whether one filter matches; a field the event lacks never does."""
    if item.field == "RuleName":
        event.rule_name_was_asked = True
    found = has_field(element.bound_id or event.id, item.field, event.id) and compare(
        item.condition, event.text.get(item.field, "-"), item.value
    )
    if found and item.name:
        event.name = item.name
    return found


@cache
def has_field(bound_id: int, name: str, event_id: int) -> bool:
    """Return whether the event has the field where the element's own event has it."""
    here = [f.name for f in EVENT_BY_ID[event_id].fields]
    bound = [f.name for f in EVENT_BY_ID[bound_id].fields]
    return name in here and name in bound and here.index(name) == bound.index(name)


def compare(condition: str, text: str, value: str) -> bool:
    """Return whether a field's printed text meets a condition."""
    return CONDITIONS[condition](lower(text), lower(value))


@lru_cache(maxsize=4096)
def lower(text: str) -> str:
    """Return a text with ASCII letters in lower case."""
    return text.translate(LOWER)


def items(value: str) -> list[str]:
    """Split at each ";"; an empty item that is not the last is the rest from there."""
    parts = value.split(";")
    starts = [len(";".join(parts[:i])) + (i > 0) for i in range(len(parts))]
    last = len(parts) - 1
    return [
        part if part or i == last else value[starts[i] :]
        for i, part in enumerate(parts)
    ]


def occurs(item: str, text: str) -> bool:
    """Return whether an item of a list occurs; an empty one does in any text at all."""
    return item in text if item else bool(text)


def utf16(text: str) -> bytes:
    """Return what order compares: UTF-16 units, high byte first, upper-cased."""
    return text.translate(UPPER).encode("utf-16-be", "surrogatepass")


def image(text: str, value: str) -> bool:
    """Compare whole, after the last backslash, or (ours) after the last slash."""
    if "\\" in value:
        return text == value
    if "/" in value or not value:
        return text.rpartition("\\")[2] == value
    return value in (text, text.rpartition("\\")[2], text.rpartition("/")[2])


CONDITIONS: dict[str, Callable[[str, str], bool]] = {
    "is": lambda f, v: f == v,
    "is not": lambda f, v: f != v,
    "contains": lambda f, v: v in f,
    "excludes": lambda f, v: v not in f,
    "begin with": lambda f, v: f.startswith(v),
    "not begin with": lambda f, v: not f.startswith(v),
    "end with": lambda f, v: f.endswith(v),
    "not end with": lambda f, v: not f.endswith(v),
    "is any": lambda f, v: f in v.split(";"),
    "contains any": lambda f, v: any(occurs(i, f) for i in items(v)),
    "excludes any": lambda f, v: not any(occurs(i, f) for i in items(v)),
    "contains all": lambda f, v: all(occurs(i, f) for i in items(v)),
    "excludes all": lambda f, v: not all(occurs(i, f) for i in items(v)),
    "less than": lambda f, v: utf16(f) < utf16(v),
    "more than": lambda f, v: utf16(f) > utf16(v),
    "image": image,
}
