# SPDX-License-Identifier: MIT
"""Record ids that are missing or there twice, by machine.

EventRecordID counts the lines of a machine, over restarts and re-installations.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.select import moment_of
from sysmonlx.viewer.terminal import safe

#: Lines given up by a destination, as event 255 tells of them.
_GIVEN_UP = re.compile(r"Events: ([0-9]+) lost \(sink: ")
#: Where numbers go on when the machine has ended unforeseen, as event 255 tells it, and
#: how many were given to no event then, at most: see `output.record_ids`.
_GOES_ON = re.compile("record ids go on at ([0-9]+), since the machine ended")
_MOST_SKIPPED = 65_536
#: Gaps and repeats of a machine that are told one by one.
_TOLD = 100


def _lines(count: int) -> str:
    return f"{count:,} {'line' if count == 1 else 'lines'}"


@dataclass(slots=True)
class _Machine:
    ids: array[int] = field(default_factory=lambda: array("Q"))
    prints: array[int] = field(default_factory=lambda: array("q"))
    """A hash of each line's event, to tell repeats from forgeries."""
    times: list[str] = field(default_factory=list)
    reports: dict[int, int] = field(default_factory=dict)
    """Lines given up, by the record id of the event 255 that tells it."""
    goes_on: set[int] = field(default_factory=set)
    """Record ids in front of which numbers were given to no event."""
    without_id: int = 0


@dataclass(slots=True)
class _Told:
    """Reports not yet used up: a line that was given up explains one number."""

    reports: list[list[int]]

    def explains(self, last: int, count: int) -> bool:
        """Take `count` lines out of the reports behind record id `last`."""
        usable = [report for report in self.reports if report[0] > last]
        if sum(report[1] for report in usable) < count:
            return False
        for report in usable:
            used = min(count, report[1])
            report[1] -= used
            count -= used
        return True


class Verifier:
    """Looks for gaps in the record ids of each machine."""

    def __init__(self) -> None:
        self._machines: dict[str, _Machine] = {}
        self.has_findings = False

    def add(self, event: EventLine) -> None:
        """Take the number of a line."""
        machine = self._machines.setdefault(event.system.computer, _Machine())
        number = event.system.record_id
        if not 0 <= number < 1 << 64:
            machine.without_id += 1
            return
        machine.ids.append(number)
        machine.prints.append(hash((event.event_id, *event.values)))
        machine.times.append(moment_of(event))
        if event.event_id == 255:
            self._add_report(machine, number, event)

    def _add_report(self, machine: _Machine, number: int, event: EventLine) -> None:
        what, text = text_of(event, "ID"), text_of(event, "Description")
        if what == "LostEvents":
            machine.reports[number] = sum(map(int, _GIVEN_UP.findall(text)))
        elif what == "State":
            machine.goes_on.update(map(int, _GOES_ON.findall(text)))

    def lines(self) -> Iterator[str]:
        """Yield what was found, machine by machine."""
        for host in sorted(self._machines):
            machine = self._machines[host]
            yield from self._of(safe(host) or "(no name)", machine)

    def _of(self, host: str, machine: _Machine) -> Iterator[str]:
        ids, times = machine.ids, machine.times
        if machine.without_id:
            yield f"{host}: {_lines(machine.without_id)} without a record id"
        if not ids:
            return
        order = sorted(range(len(ids)), key=ids.__getitem__)
        first, last = order[0], order[-1]
        yield (
            f"{host}: {_lines(len(ids))}, record ids {ids[first]:,} to {ids[last]:,},"
            f" {safe(times[first])} to {safe(times[last])}"
        )
        found = [*self._faults(machine, order)]
        yield from (f"  {each}" for each in found[:_TOLD])
        if len(found) > _TOLD:
            yield f"  ... and {len(found) - _TOLD:,} more"
        if not found:
            yield "  none is missing, none is there twice"

    def _faults(self, machine: _Machine, order: list[int]) -> Iterator[str]:
        ids, times = machine.ids, machine.times
        told = _Told([[*each] for each in sorted(machine.reports.items())])
        repeats = 0
        for before, at in pairwise(order):
            if ids[at] == ids[before]:
                same = machine.prints[at] == machine.prints[before]
                repeats += same
                if not same:
                    self.has_findings = True
                    yield f"{ids[at]:,} stands for two different events: unexplained"
            elif ids[at] > ids[before] + 1:
                yield self._gap(told, machine, before, at)
            if times[at] < times[before]:
                yield (
                    f"{ids[at]:,} was written {safe(times[at])}, before"
                    f" {ids[before]:,}: the clock was set back, or lines were changed"
                )
        if repeats:
            yield f"{repeats:,} lines are there more than once, with the same event"

    def _gap(self, told: _Told, machine: _Machine, before: int, at: int) -> str:
        first, last = machine.ids[before] + 1, machine.ids[at] - 1
        count = last - first + 1
        is_explained = told.explains(last, count) or (
            count <= _MOST_SKIPPED and machine.ids[at] in machine.goes_on
        )
        self.has_findings |= not is_explained
        reason = "explained by event 255" if is_explained else "UNEXPLAINED"
        return (
            f"missing {first:,} to {last:,} ({count:,}), between"
            f" {safe(machine.times[before])} and {safe(machine.times[at])}: {reason}"
        )
