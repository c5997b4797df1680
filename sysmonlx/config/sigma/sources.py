# SPDX-License-Identifier: MIT
"""Sigma's words for log sources and fields, and Sysmon's for events and theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sysmonlx.config.sigma.notes import RuleError
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED

#: Events of a category of Sigma.
_CATEGORIES: dict[str, tuple[int, ...]] = {
    "process_creation": (1,),
    "file_change": (2,),
    "network_connection": (3,),
    "process_termination": (5,),
    "driver_load": (6,),
    "image_load": (7,),
    "create_remote_thread": (8,),
    "raw_access_read": (9,),
    "raw_access_thread": (9,),
    "process_access": (10,),
    "file_event": (11,),
    "create_stream_hash": (15,),
    "pipe_created": (17, 18),
    "dns_query": (22,),
    "file_delete": (23, 26),
    "process_tampering": (25,),
    "sysmon_status": (4, 16),
    "sysmon_error": (255,),
}
_SERVICE = "sysmon"

#: Fields that are the same in every event of a type; the texts, by its id.
CONSTANTS: dict[str, Callable[[int], str]] = {
    "EventID": str,
    "Provider_Name": lambda _: "Linux-Sysmon",
    "Channel": lambda _: "Linux-Sysmon/Operational",
}
#: Fields of Sigma for one of the hashes in Hashes, and its digits.
HASHES = {"md5": 32, "sha1": 40, "sha256": 64}

#: Fields that are "-" in all events of a type on Linux.
_ALWAYS_MISSING = {
    (1, name)
    for name in ("FileVersion", "Description", "Product", "Company", "OriginalFileName")
}

_REFUSED_FIELDS = {
    "RuleName": "RuleName is not known yet when rules are asked",
    "Computer": "Computer is the same in all events of a machine: leave it out",
    "host": "host is the same in all events of a machine: leave it out",
}


@dataclass(frozen=True, slots=True)
class LogSource:
    """What a rule asks about: `label` for people, and the ids of events."""

    label: str
    event_ids: tuple[int, ...]

    @property
    def missing_here(self) -> bool:
        """Whether this version reports none of the events on Linux."""
        return not PRODUCED.intersection(self.event_ids)

    def field(self, name: str) -> str:
        """Return the field of the events that a field of Sigma is: Hashes of `sha1`.

        Raises:
            RuleError: none of the events has it.
        """
        known = {each for event_id in self.event_ids for each in fields_of(event_id)}
        if reason := _REFUSED_FIELDS.get(name):
            raise RuleError(reason)
        if name in CONSTANTS:
            return name
        wanted = "Hashes" if name in HASHES else name
        if wanted not in known:
            near = _near(name, known)
            guess = f"; did you mean {near}?" if near else ""
            raise RuleError(f"unknown field {name!r:.80} of {self.label}{guess}")
        return wanted

    def is_always_missing(self, field: str) -> bool:
        """Whether the field is "-" in all these events."""
        return all((each, field) in _ALWAYS_MISSING for each in self.event_ids)


def fields_of(event_id: int) -> frozenset[str]:
    """Return the names of the fields that events of a type have, or can have."""
    event = EVENT_BY_ID[event_id]
    return frozenset(each.name for each in (*event.fields, *event.askable))


def _near(name: str, names: Iterable[str]) -> str:
    by_key = {each.lower(): each for each in sorted(names)}
    found = get_close_matches(name.lower()[:64], by_key, n=1, cutoff=0.7)
    return by_key[found[0]] if found else ""


def log_source_of(
    product: str | None, category: str | None, service: str | None
) -> LogSource | None:
    """Return what a rule asks about, None where this is another's log.

    Raises:
        RuleError: the events are never judged.
    """
    if product not in (None, "linux") or service not in (None, _SERVICE):
        return None
    if category is None:
        if service is None:
            return None
        judged = (each for each in PRODUCED if EVENT_BY_ID[each].tag)
        return LogSource(f"service {_SERVICE}", tuple(sorted(judged)))
    event_ids = _CATEGORIES.get(category)
    if event_ids is None:
        return None
    if not any(EVENT_BY_ID[each].tag for each in event_ids):
        raise RuleError(f"events of {category} are never judged: all are reported")
    return LogSource(category, event_ids)
