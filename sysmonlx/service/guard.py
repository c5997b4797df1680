# SPDX-License-Identifier: MIT
"""Checks that the kernel side is still as this program made it, and puts it right.

An administrator can reach links, maps and the ring buffer by their numbers, and change
them. Each repair is reported: events may be missing from the time between two looks.

No event is made as a test. The kernel tells whether a link exists, and a program stays
at its tracepoint as long as its link does. Without events the guard could not tell a
machine that starts no program from one that does not report them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sysmonlx.capture.kernel_filter import KernelFilter
from sysmonlx.capture.sensor import Capture
from sysmonlx.errors import CaptureError, LibbpfError

#: Ids of event 255.
HOOKS, RULES, VARIABLES, RING = "Hooks", "Rules", "Variables", "Ring"

#: Programs are looked at in every second look: they are most of the cost of a look.
HOOKS_EVERY = 2
#: While no record comes, each look asks for the links, which hold the programs. Every
#: fourth asks for the programs as well: for their descriptors, and for their misses.
PROGRAMS_EVERY = 4

Utc = Callable[[int], str]


class Finding(NamedTuple):
    """One finding, for event 255: its ID, and a description."""

    what: str
    text: str


class Guard:
    """Looks at links, rules, variables and the ring buffer. `counts` are for -stats.

    A look is meant to be made every second, with the programs every other second. While
    no record comes there is a look every other second, with the links each time and
    with the programs every fourth time.
    """

    def __init__(self, capture: Capture, rules: KernelFilter, utc: Utc) -> None:
        self.counts: Counter[str] = Counter()
        self._capture = capture
        self._rules = rules
        self._utc = utc
        self._looked_ns = time.time_ns()
        self._hooks_looked_ns = self._looked_ns
        self._looks = 0
        self._off: dict[str, str] = {}  # programs that stay off their hooks, and why
        self._out_of_reach = ""
        self._moves = 0
        self._skipped_bytes = 0

    def look(self, *, at_rest: bool = False) -> list[Finding]:
        """Put right what others have changed, and return what there is to tell.

        `at_rest` says that looks are as rare as the programs are to be looked at.
        """
        looked_ns, self._looked_ns = self._looked_ns, time.time_ns()
        return [
            *self._hooks(at_rest),
            *self._rules_in_force(looked_ns),
            *self._variables(looked_ns),
            *self._ring(looked_ns),
        ]

    def missing(self) -> list[str]:
        """Return the programs that are off their hooks now, and why, a line each."""
        return [f"{name} is off its hook: {why}" for name, why in self._off.items()]

    def _hooks(self, at_rest: bool) -> Iterator[Finding]:
        self._looks += 1
        if self._looks % HOOKS_EVERY and not at_rest:
            return
        since_ns, self._hooks_looked_ns = self._hooks_looked_ns, self._looked_ns
        wanted = self._capture.wanted_programs()
        for name in self._off.keys() - wanted:
            del self._off[name]
        by_link = at_rest and self._looks % PROGRAMS_EVERY != 0
        for name in sorted(wanted):
            is_off = name in self._off
            if is_off or not self._capture.is_at_hook(name, by_link=by_link):
                yield from self._attach_again(name, self._utc(since_ns))

    def _attach_again(self, name: str, since: str) -> Iterator[Finding]:
        try:
            self._capture.attach_again(name)
        except (LibbpfError, OSError, CaptureError) as error:
            if self._off.get(name) != str(error):
                self._off[name] = str(error)
                text = f"{name} was taken off its hook since {since} and stays off"
                yield Finding(HOOKS, f"{text}: {error}")
        else:
            was_off = self._off.pop(name, None) is not None
            self.counts["attached again"] += 1
            when = "" if was_off else f", where it was not any more since {since}"
            yield Finding(HOOKS, f"{name} is attached to its hook again{when}")

    def _rules_in_force(self, since_ns: int) -> Iterator[Finding]:
        try:
            found = self._rules.restore()
        except LibbpfError as error:
            if self._out_of_reach != str(error):
                self._out_of_reach = str(error)
                text = f"the rules in the kernel cannot be looked at: {error}"
                yield Finding(RULES, text)
            return
        self._out_of_reach = ""
        if found:
            self.counts["rules put in force again"] += 1
            text = f"in the kernel, {found}, since {self._utc(since_ns)}"
            yield Finding(RULES, f"{text}; this program's are in force again")

    def _variables(self, since_ns: int) -> Iterator[Finding]:
        names = self._capture.restore_variables()
        if names:
            self.counts["variables set again"] += len(names)
            since = self._utc(since_ns)
            text = f"{', '.join(names)}: changed by others since {since}, set again"
            yield Finding(VARIABLES, text)

    def _ring(self, since_ns: int) -> Iterator[Finding]:
        ring = self._capture.ring
        ring.restore()
        moves = ring.moves - self._moves
        skipped = ring.skipped_bytes - self._skipped_bytes
        self._moves, self._skipped_bytes = ring.moves, ring.skipped_bytes
        if moves:
            self.counts["ring position put back"] += moves
            lost = f"; {skipped} bytes of records are lost" if skipped else ""
            since = self._utc(since_ns)
            text = f"others moved the reader's position since {since}"
            yield Finding(RING, f"{text}; it was put back{lost}")
