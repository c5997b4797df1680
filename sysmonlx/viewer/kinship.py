# SPDX-License-Identifier: MIT
"""Parents and children by GUID, as events go by: for the tree and for `tree:PID`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from sysmonlx.viewer.fields import PLACES

#: Processes that are remembered; beyond, the oldest half is forgotten.
LIMIT = 65_536
#: Ancestors that are followed: links that hostile logs make may be a circle.
_DEPTH_LIMIT = 512

_of_start = itemgetter(
    *(PLACES[1][name] for name in ("ProcessGuid", "ProcessId")),
    *(PLACES[1][name] for name in ("ParentProcessGuid", "ParentProcessId")),
)


class Kinship:
    """Parents and pids of the processes that were started or named as a parent."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}
        self._by_pid: dict[str, str] = {}

    def note(self, values: Sequence[str], program: str = "") -> None:
        """Take the values of an event 1.

        `program` is its ParentProgramGuid, where it has that: a parent that only
        forked is a child of that process.
        """
        guid, pid, parent, parent_pid = _of_start(values)
        if parent not in self._known:
            above = program if program in self._known else ""
            self._known[parent] = above, parent_pid
        self._known[guid] = parent, pid
        self._by_pid[pid] = guid
        if len(self._known) > LIMIT:
            self._known = dict([*self._known.items()][LIMIT // 2 :])
            self._by_pid = {pid: each for each, (_, pid) in self._known.items()}

    def knows(self, guid: str) -> bool:
        """Return whether a process was started, or named as a parent."""
        return guid in self._known

    def of_pid(self, pid: str) -> str:
        """Return the GUID of the last program started under a pid, "" for none.

        A process that was forked has another GUID until it runs a program.
        """
        return self._by_pid.get(pid, "")

    def line(self, guid: str) -> Iterator[tuple[str, str]]:
        """Yield GUID and pid of a process, then of its parent, and so on."""
        for _ in range(_DEPTH_LIMIT):
            found = self._known.get(guid)
            if found is None:
                return
            yield guid, found[1]
            guid = found[0]
