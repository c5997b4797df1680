# SPDX-License-Identifier: MIT
"""The outcome of each act: which of the events that came is its own, is it right?"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sysmonlx.policy import RULE_NAMES, SELF_TEST
from sysmonlx.schema.event_types import FieldType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.selftest.act import Action, Values
from sysmonlx.selftest.actions import NO_ACTION, NOT_TRIED
from sysmonlx.selftest.expected import Expected, Some, wrong_fields

#: An event as it was read back: texts by the names of its fields.
Event = Mapping[str, str]


class Verdict(Enum):
    """What became of an act; the values are words for people and programs."""

    SEEN = "seen"
    WRONG = "wrong"
    NOT_SEEN = "not seen"
    NOT_TRIED = "not tried"
    OFF = "off"
    """The configuration reports no such event."""


#: The outcomes by which a self-test fails.
FAILURES = frozenset({Verdict.WRONG, Verdict.NOT_SEEN})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one way to make an event.

    `why` says what was wrong, or why it was not seen or not tried. `unchecked` are
    fields of ours that the self-test has no expectation of.
    """

    event_id: int
    verdict: Verdict
    way: str = ""
    why: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Person:
    """A process of the self-test, as events name it: its id, ProcessGuid and program.

    `image` and `command_line` are those of the self-test, whose copy it is.
    """

    pid: int
    guid: str
    image: str
    command_line: str
    user: str


def defaults(
    actor: Person, parent: Person, target: Person, time: Some
) -> dict[str, Expected]:
    """Return the expected values of fields that mean the same in each event, by name.

    Where an act tells a value for such a field, that value is expected instead.
    """
    machine = re.escape(actor.guid[:9])
    found: dict[str, Expected] = {"RuleName": SELF_TEST, "UtcTime": time}
    for prefix, who in (
        ("", actor),
        ("Source", actor),
        ("Target", target),
        ("Parent", parent),
    ):
        found |= {
            f"{prefix}ProcessGuid": who.guid,
            f"{prefix}ProcessGUID": who.guid,
            f"{prefix}ProcessId": str(who.pid),
            f"{prefix}Image": who.image,
            f"{prefix}User": who.user,
        }
    return {
        **found,
        "SourceThreadId": str(actor.pid),
        "NewThreadId": str(target.pid),
        "ParentCommandLine": parent.command_line,
        "GrandparentImage": parent.image,
        "LogonGuid": Some(form=rf"{machine}-[-0-9a-f]{{27}}\}}"),
        "UserId": str(os.getuid()),
        "SourceHostname": "-",
        "DestinationHostname": "-",
        "EffectiveUser": actor.user,
        RULE_NAMES: "-",
    }


def expected_of(event_id: int, known: Values, told: Values) -> dict[str, Expected]:
    """Return what each field of an event must say, as far as it is known."""
    event = EVENT_BY_ID[event_id]
    found: dict[str, Expected] = {}
    for each in (*event.fields, *event.appended):
        if each.name in told:
            found[each.name] = told[each.name]
        elif len(each.only) == 1:
            found[each.name] = each.only[0]
        elif each.name in known:
            found[each.name] = known[each.name]
    return found


def judge(
    action: Action, way: str, expected: Values, events: Sequence[Event], why: str
) -> Outcome:
    """Return the outcome of an act by the events of its process and type.

    `why` is the service's reason where no event came. An act may make several events:
    the one that fits best is taken.
    """
    names = {each.name for each in EVENT_BY_ID[action.event_id].fields}
    found: list[tuple[list[str], Event]] = []
    for event in events:
        asked = {
            name: each
            for name, each in expected.items()
            if name in event or name in names
        }
        found.append((wrong_fields(event, asked), event))
    if not found:
        return Outcome(action.event_id, Verdict.NOT_SEEN, way, (why,))
    wrong, event = min(found, key=lambda each: len(each[0]))
    unchecked = tuple(event.keys() - expected.keys())
    verdict = Verdict.WRONG if wrong else Verdict.SEEN
    return Outcome(action.event_id, verdict, way, tuple(wrong), unchecked)


def guid_of(event_id: int, event: Event) -> str:
    """Return the ProcessGuid of the process that acted, "" where there is none."""
    fields = EVENT_BY_ID[event_id].fields
    names = [each.name for each in fields if each.type is FieldType.GUID]
    return event.get(names[0], "") if names else ""


def not_made(actions: Sequence[Action], unwanted: Mapping[str, str]) -> list[Outcome]:
    """Return the outcomes of events that are not made: by configuration, or ever."""
    tried = {each.event_id for each in actions}
    found = []
    for event in EVENTS:
        if not event.produced or event.id in tried:
            continue
        reason = unwanted.get(str(event.id))
        if reason and event.id not in NOT_TRIED:
            found.append(Outcome(event.id, Verdict.OFF, why=(reason,)))
        else:
            why = NOT_TRIED.get(event.id, NO_ACTION)
            found.append(Outcome(event.id, Verdict.NOT_TRIED, why=(why,)))
    return found
