# SPDX-License-Identifier: MIT
"""Correlations of recorded events: processes are what events 1 tell of them.

A process is told by its ProcessGuid. That of sysmonlx ends in the number of the image,
which is left out where processes and not images are compared.
"""

from __future__ import annotations

import calendar
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sysmonlx.rules.sigma.correlator import Deed
from sysmonlx.rules.sigma.programs import program_of
from sysmonlx.schema.events import PROCESS_CREATE

_MISSING = "-"
#: Processes that are known, the last ones, and ancestors that are looked at.
_KNOWN, _MOST = 65_536, 64
_ACTING = ("ProcessGuid", "SourceProcessGUID", "SourceProcessGuid")
_NO_SESSION = ("-", "0", "4294967295")
#: Processes that nobody started: init, kthreadd.
_FIRST = ("-", "0", "1", "2")
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class _Process:
    guid: str
    parent_guid: str = ""
    image: str = _MISSING
    command_line: str = _MISSING
    directory: str = _MISSING
    session: str = _MISSING
    container: str = _MISSING
    user: str = _MISSING


class Recorded:
    """The processes of a record of events, in its order."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Process] = OrderedDict()
        self._images: OrderedDict[str, str] = OrderedDict()

    def deed(
        self, event_id: int, texts: Mapping[str, str], values: list[str]
    ) -> Deed | None:
        """Return an event as correlations see it, None: nobody did it.

        `texts` are its values by the names of the fields.
        """
        guid = next((texts[each] for each in _ACTING if each in texts), _MISSING)
        time_ns = _ns_of(texts.get("UtcTime", ""))
        if guid == _MISSING or time_ns is None:
            return None
        if event_id == PROCESS_CREATE.id:
            self._note(guid, texts)
        process = self._known.get(guid) or _Process(
            guid,
            image=texts.get("Image", texts.get("SourceImage", _MISSING)),
            user=texts.get("User", texts.get("SourceUser", _MISSING)),
        )
        return Deed(values, time_ns, texts["UtcTime"], _Doer(process, self))

    def _note(self, guid: str, texts: Mapping[str, str]) -> None:
        is_first = texts["ParentProcessId"] in _FIRST
        self._known[guid] = _Process(
            guid,
            "" if is_first else texts["ParentProcessGuid"],
            texts["Image"],
            texts["CommandLine"],
            texts["CurrentDirectory"],
            texts["TerminalSessionId"],
            texts.get("ContainerId", _MISSING),
            texts["User"],
        )
        self._images[identity_of(guid)] = guid
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        if len(self._images) > _KNOWN:
            self._images.popitem(last=False)

    def ancestors(self, process: _Process) -> Iterator[_Process]:
        """Yield a process, and its ancestors as far as they are known."""
        for _ in range(_MOST + 1):
            yield process
            guid = process.parent_guid
            guid = (
                guid if guid in self._known else self._images.get(identity_of(guid), "")
            )
            before = self._known.get(guid)
            if before is None:
                if process.parent_guid:
                    yield _Process(process.parent_guid)
                return
            process = before


class _Doer:
    def __init__(self, process: _Process, recorded: Recorded) -> None:
        self._process, self._recorded = process, recorded

    @property
    def guid(self) -> str:
        return self._process.guid

    @property
    def payer(self) -> str:
        return self._process.user

    def lineage(self) -> str:
        last = self._process
        for last in self._recorded.ancestors(self._process):
            if last.session not in _NO_SESSION:
                return f"session {last.session}"
            if last.container != _MISSING:
                return f"container {last.container}"
        return identity_of(last.guid)

    def program(self, directory: str) -> str:
        process = self._process
        where = directory if directory != _MISSING else process.directory
        return program_of(process.image, process.command_line, where)

    def identities(self) -> Iterator[str]:
        return (
            identity_of(each.guid) for each in self._recorded.ancestors(self._process)
        )


def identity_of(guid: str) -> str:
    """Return what the GUIDs of all images of one process have in common.

    The last 16 digits are a number, its bytes from the lowest to the highest, of which
    the lowest 12 bits count the images.
    """
    digits = guid.strip("{}").replace("-", "")
    if len(digits) != 32:
        return guid
    return f"{digits[:16]}{digits[18]}{digits[20:]}"


def _ns_of(utc: str) -> int | None:
    """Return nanoseconds since the epoch of a UtcTime, None of another text."""
    day, _, clock = utc.partition(" ")
    seconds, _, ms = clock.partition(".")
    numbers = [*day.split("-"), *seconds.split(":"), ms]
    if len(numbers) != 7 or not all(each.isdecimal() for each in numbers):
        return None
    *date, milliseconds = map(int, numbers)
    try:
        return (
            calendar.timegm((*date, 0, 0, 0)) * 1000 * _MILLION
            + milliseconds * _MILLION
        )
    except (ValueError, OverflowError):
        return None
