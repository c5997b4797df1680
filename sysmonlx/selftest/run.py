# SPDX-License-Identifier: MIT
"""A self-test as a whole: processes are made here, events come from the service."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from sysmonlx.errors import ControlError, NoAnswerError
from sysmonlx.host.ports import Services
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.selftest.act import Action, span
from sysmonlx.selftest.actions import ACTIONS
from sysmonlx.selftest.expected import Expected, Some
from sysmonlx.selftest.stage import Actor, Stage, StageError
from sysmonlx.selftest.verdict import (
    FAILURES,
    Event,
    Outcome,
    Person,
    Verdict,
    defaults,
    expected_of,
    guid_of,
    judge,
    not_made,
)
from sysmonlx.service.messages import (
    SelfTestBegun,
    SelfTestEnded,
    SelfTestEvents,
    SelfTestPassing,
    SelfTestStep,
)

#: Sends a step to the service, and returns its answer.
Ask = Callable[[SelfTestStep], Mapping[str, object]]

#: Longest wait for events that do not come, in seconds, from the begin of the acts on;
#: time that they have at least when the acts are done; and between two looks.
_WAIT_S, _LEAST_S, _LOOK_S = 1.5, 0.3, 0.03
_LATE = "it did not come in time"
_HOSTS = ("SourceHostname", "DestinationHostname")


@dataclass(frozen=True, slots=True)
class Result:
    """All outcomes in schema order, and programs of the service off their hooks."""

    outcomes: tuple[Outcome, ...]
    off: tuple[str, ...]
    duration_s: float

    @property
    def is_good(self) -> bool:
        """Whether all that was made was seen and right, by programs at their hooks.

        Where nothing was seen nothing is good: not even a process could be made.
        """
        verdicts = {each.verdict for each in self.outcomes}
        return Verdict.SEEN in verdicts and not verdicts & FAILURES and not self.off


def run(
    ask: Ask, actions: Sequence[Action] = ACTIONS, wait_s: float = _WAIT_S
) -> Result:
    """Make all events that the configuration reports, and compare them.

    Args:
        ask: Sends a step to the service.
        actions: The acts that make events.
        wait_s: Time that events have to come, from the begin of the acts on.

    Raises:
        ControlError: the service refuses, or does not answer.
    """
    begin_s = time.monotonic()
    begun = cast("SelfTestBegun", ask({"do": "selftest", "step": "begin"}))
    token, unwanted = begun["token"], begun["unwanted"]
    made = [
        each
        for each in actions
        if EVENT_BY_ID[each.event_id].produced
        and str(each.event_id) not in unwanted
        and (not each.needs_setting or each.needs_setting in begun.get("settings", ()))
    ]
    try:
        outcomes, off = _run(ask, begun, made, wait_s)
    except NoAnswerError:
        raise  # it would not answer this either, and it ends the self-test by itself
    except BaseException:
        with suppress(ControlError):
            ask({"do": "selftest", "step": "end", "token": token})
        raise
    outcomes += not_made(made, unwanted)
    outcomes.sort(key=lambda each: each.event_id)
    return Result(tuple(outcomes), tuple(off), time.monotonic() - begin_s)


def _run(
    ask: Ask, begun: SelfTestBegun, actions: Sequence[Action], wait_s: float
) -> tuple[list[Outcome], list[str]]:
    token = begun["token"]
    limits = begun["algorithms"], begun["hash_size_limit_bytes"]
    try:
        with Stage(actions, *limits) as stage:
            return _act(ask, begun, stage, wait_s)
    except StageError as error:
        ended = _end(ask, token)
        return [
            Outcome(each.event_id, Verdict.NOT_TRIED, each.name, (str(error),))
            for each in actions
        ], ended["off"]


def _act(
    ask: Ask, begun: SelfTestBegun, stage: Stage, wait_s: float
) -> tuple[list[Outcome], list[str]]:
    token, actors = begun["token"], stage.actors
    named = [
        (stage.pid, 0, False),
        (stage.target, 0, False),
        *((each.pid, each.action.event_id, each.action.runs) for each in actors),
    ]
    answer = ask({"do": "selftest", "step": "pass", "token": token, "processes": named})
    pids = [pid for pid, _, _ in named]
    guids = cast("SelfTestPassing", answer)["guids"]
    parent, target, *people = map(_person, pids, guids)
    begin_s, until_s = time.time(), time.monotonic() + wait_s
    stage.act()
    until_s = max(until_s, time.monotonic() + _LEAST_S)
    events = _read(ask, token, dict(zip(guids[2:], actors, strict=True)), until_s)
    when, ended = span(begin_s, time.time()), _end(ask, token)
    outcomes: list[Outcome] = []
    for actor, person in zip(actors, people, strict=True):
        known = defaults(person, parent, target, when)
        if begun["names_hosts"]:
            known |= dict.fromkeys(_HOSTS, Some(form=".*"))
        why = ended["why"].get(str(actor.action.event_id), _LATE)
        outcomes += _outcomes(actor, known, events.get(person.guid, []), why)
    return outcomes, ended["off"]


def _end(ask: Ask, token: str) -> SelfTestEnded:
    answer = ask({"do": "selftest", "step": "end", "token": token})
    return cast("SelfTestEnded", answer)


def _person(pid: int, guid: str) -> Person:
    """Return a process of the self-test: each is a copy of this one."""
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().removesuffix(b"\0")
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = "-"
    image = os.readlink("/proc/self/exe")
    line = words.replace(b"\0", b" ").decode("utf-8", "surrogateescape")
    return Person(pid, guid, image, line, user)


def _read(
    ask: Ask, token: str, actors: Mapping[str, Actor], until_s: float
) -> dict[str, list[Event]]:
    """Return the events that come, by ProcessGuid; wait for those that are to come.

    `until_s` is a time of the monotonic clock.
    """
    while True:
        answer = ask({"do": "selftest", "step": "events", "token": token})
        found: dict[str, list[Event]] = {}
        for event_id, event in cast("SelfTestEvents", answer)["events"]:
            found.setdefault(guid_of(event_id, event), []).append(event)
        is_whole = all(
            len(found.get(guid, ())) >= len(actor.told)
            for guid, actor in actors.items()
        )
        if is_whole or time.monotonic() > until_s:
            return found
        time.sleep(_LOOK_S)


def _outcomes(
    actor: Actor, known: Mapping[str, Expected], events: Sequence[Event], why: str
) -> Iterator[Outcome]:
    """Yield the outcome of each event that an actor has made, or why it made none."""
    action = actor.action
    for told in actor.told:
        values = {**told.values, **_port_names(told.values)}
        expected = expected_of(action.event_id, known, values)
        yield judge(action, told.way, expected, events, why)
    if actor.error or not actor.told:
        reason = actor.error or "the act told of no event"
        yield Outcome(action.event_id, Verdict.NOT_TRIED, action.name, (reason,))


def _port_names(told: Mapping[str, Expected]) -> dict[str, Expected]:
    """Return the names of the ports of a connection."""
    services, found = Services(), dict[str, Expected]()
    for end in ("Source", "Destination"):
        port, protocol = told.get(f"{end}Port"), told.get("Protocol")
        if isinstance(port, str) and isinstance(protocol, str):
            name = services.port_name(int(port), protocol)
            found[f"{end}PortName"] = name
    return found
