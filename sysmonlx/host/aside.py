# SPDX-License-Identifier: MIT
"""The lanes of the daemon: calls that may block, by what they are for."""

from __future__ import annotations

from sysmonlx.host.lane import Lane, Limits


class Aside:
    """The lanes of the daemon; together they may delay it by a tenth of the time.

    `begin` comes after capabilities were dropped, which demands that no thread runs.
    """

    def __init__(self) -> None:
        self.paths = Lane("Resolved paths", Limits(2, 16, 0.025, 0.025))
        """Paths that ordinary users name, on their file systems."""
        self.root_paths = Lane("Resolved paths of root", Limits(1, 4, 0.01, 0.01))
        self.names = Lane("Names of users", Limits(1, 4, 0.04, 0.04))
        """Calls of NSS."""
        self.files = Lane("Files of accounts and ports", Limits(1, 3, 0.015, 0.015))
        self.processes = Lane("Looks at all processes", Limits(1, 2, 0.005, 0.005))
        limits = Limits(1, 2, 0.005, 0.005)
        self.control_groups = Lane("Paths of control groups", limits)
        self.lanes = (
            *(self.paths, self.root_paths, self.names, self.files),
            *(self.processes, self.control_groups),
        )

    def begin(self) -> None:
        """Start the threads before they are needed: later there may be none to have."""
        for lane in self.lanes:
            lane.begin()

    def renew(self) -> None:
        """Replace threads that are missing; call it every second or so."""
        for lane in self.lanes:
            lane.renew()

    def end(self) -> None:
        """Let all threads end that can."""
        for lane in self.lanes:
            lane.end()

    def losses(self) -> dict[tuple[str, str], int]:
        """Return how many values are unknown since the start, by kind and reason."""
        return {
            (lane.name, reason): count
            for lane in self.lanes
            for reason, count in sorted(lane.counts.items())
        }

    def threads(self) -> int:
        """Return how many threads there are, those given up included."""
        return sum(lane.threads for lane in self.lanes)


def begun() -> Aside:
    """Return an `Aside` whose lanes start each thread when it is first needed."""
    made = Aside()
    for lane in made.lanes:
        lane.begin(when_needed=True)
    return made
