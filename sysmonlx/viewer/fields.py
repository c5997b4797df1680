# SPDX-License-Identifier: MIT
"""Fields of events that were read, by name, and tests of them.

A test has the conditions of a configuration, and judges as the service does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from sysmonlx.rules.conditions import Test, fold, make_test, passes
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import APPENDED, EVENT_BY_ID
from sysmonlx.viewer.event_text import NO_RECORD_ID, System


class AnyEvent(Protocol):
    """An event that was read from a log, or that happens now."""

    @property
    def event_id(self) -> int:
        """Which event it is."""

    @property
    def values(self) -> Sequence[str]:
        """The texts of its fields, in the order of the schema."""

    @property
    def ours(self) -> Mapping[str, str]:
        """The texts of the fields that the setting `Fields` has added, by name."""

    @property
    def system(self) -> System:
        """Which line of a log it is."""


#: Where a field stands among the values of an event, by the event's id.
PLACES = {
    event.id: {field.name: at for at, field in enumerate(event.fields)}
    for event in EVENT_BY_ID.values()
}


def _record_id(number: int) -> str:
    return "-" if number == NO_RECORD_ID else str(number)


#: Texts of a line that are no field of its event.
_OF_LINE: dict[str, Callable[[AnyEvent], str]] = {
    "Computer": lambda event: event.system.computer,
    "Event": lambda event: EVENT_BY_ID[event.event_id].title,
    "EventID": lambda event: str(event.event_id),
    "EventRecordID": lambda event: _record_id(event.system.record_id),
    "TimeCreated": lambda event: event.system.time,
}
NAMES = sorted(
    {name for places in PLACES.values() for name in places}
    | _OF_LINE.keys()
    | {*APPENDED}
)
_NAMES = {name.lower(): name for name in NAMES}
_NAMES |= {"sourceprocessguid": "SourceProcessGuid"}

#: Event 10 writes these another way.
_OTHER_CASE = {
    "SourceProcessGuid": "SourceProcessGUID",
    "TargetProcessGuid": "TargetProcessGUID",
    "SourceProcessGUID": "SourceProcessGuid",
    "TargetProcessGUID": "TargetProcessGuid",
}

#: A column that holds all other fields.
DETAILS = "Details"

_SIGNS = {"=": "is", "!=": "is not", "~": "contains"}
_SHORT = re.compile(r"([A-Za-z]+)\s*(!=|=|~)(.*)", re.DOTALL)
#: The longest condition first: "is not" begins with "is".
_LONG = re.compile(
    rf"([A-Za-z]+) ({'|'.join(sorted(CONDITIONS, key=len, reverse=True))}) (.*)",
    re.DOTALL,
)


def value_of(event: AnyEvent, name: str) -> str | None:
    """Return the text of a field, None if the event has no such field."""
    places = PLACES[event.event_id]
    at = places.get(name, places.get(_OTHER_CASE.get(name, name)))
    if at is not None:
        return event.values[at]
    of_line = _OF_LINE.get(name)
    return of_line(event) if of_line else event.ours.get(name)


def all_values(event: AnyEvent) -> Sequence[str]:
    """Return the texts of all fields; those that `Fields` has added come last."""
    return (*event.values, *event.ours.values()) if event.ours else event.values


def text_of(event: AnyEvent, *names: str) -> str:
    """Return the text of the first of these fields that is known, else an empty one."""
    places = PLACES[event.event_id]
    for name in names:
        at = places.get(name)
        text = event.ours.get(name, "-") if at is None else event.values[at]
        if text != "-":
            return text
    return ""


@dataclass(frozen=True, slots=True)
class FieldTest:
    """A test of one field, or of all where its name is empty."""

    name: str
    test: Test

    def holds(self, event: AnyEvent) -> bool:
        """Return whether it holds; of a field that the event lacks it never does."""
        if not self.name:
            return any(passes(self.test, fold(value)) for value in all_values(event))
        value = value_of(event, self.name)
        return value is not None and passes(self.test, fold(value))


def canonical(name: str) -> str:
    """Return the name of a field in its own case.

    Raises:
        ValueError: there is none.
    """
    found = _NAMES.get(name.lower())
    if found is None:
        near = get_close_matches(name.lower(), _NAMES, 1)
        hint = f", did you mean {_NAMES[near[0]]}?" if near else ""
        raise ValueError(f"{name}: no event has such a field{hint}")
    return found


def is_field_test(word: str) -> bool:
    """Return whether a word begins with the name of a field and a sign."""
    found = _SHORT.fullmatch(word) or _LONG.fullmatch(word)
    return found is not None and found[1].lower() in _NAMES


def has_test_form(word: str) -> bool:
    """Return whether a word has the form of a test, whatever its field is."""
    return bool(_SHORT.fullmatch(word) or _LONG.fullmatch(word))


def make_field_test(word: str) -> FieldTest:
    """Return the test that a word asks for.

    Raises:
        ValueError: it names a field that no event has.
    """
    if long := _LONG.fullmatch(word):
        name, condition, value = long.groups()
    elif short := _SHORT.fullmatch(word):
        name, condition, value = short[1], _SIGNS[short[2]], short[3]
    else:
        return FieldTest("", make_test("", "contains", word))
    name = canonical(name)
    return FieldTest(name, make_test(name, condition, value))
