# SPDX-License-Identifier: MIT
"""The lineage: one text that all processes of one login, container or service share.

A login has the audit session, which the kernel hands on to all descendants. A process
without one has the lineage of its container, else of its topmost ancestor below init.
The answer is kept in the process, and handed on at the next exec: ancestors are
forgotten some time after they have ended, and a process that outlives them keeps its
lineage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sysmonlx.capture.records import Layouts
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import FORKED, PROCESS_BYTES, Process
from sysmonlx.processes.table import ProcessTable

#: No audit session: AUDIT_SID_UNSET of <linux/audit.h>; 0 where the kernel has none.
_NO_SESSION = (0xFFFFFFFF, 0)
#: Ancestors that are looked at.
MOST = 64
#: Processes that have no ancestor which anybody started: init, kthreadd.
_FIRST = (0, 1, 2)

#: Returns the id of the container of a control group, "-" where it is none.
ContainerOf = Callable[[int], str]


class Lineages:
    """Finds lineages; `create` has to take the place of `ProcessTable.create`."""

    def __init__(self, processes: ProcessTable, layouts: Layouts) -> None:
        self._create, self._lookup = processes.create, processes.find
        self._read_session: Callable[[bytes], tuple[int]]
        self._read_session = layouts.by_name["process_create"].reader("session_id")
        self.container_of: ContainerOf = lambda number: UNKNOWN

    def create(self, data: bytes) -> Process:
        """Take a new image of a process, with its lineage."""
        process = self._create(data)
        (process.session_id,) = self._read_session(data)
        self._find(process)
        return process

    def of(self, process: Process) -> str:
        """Return the lineage of a process, a text for comparisons alone."""
        try:
            return process.lineage
        except AttributeError:  # nobody has asked yet
            return self._find(process)

    def _find(self, process: Process) -> str:
        chain = [process]
        while not hasattr(chain[-1], "lineage") and len(chain) <= MOST:
            before = _before(chain[-1])
            if before is None:
                break
            chain.append(before)
        found = getattr(chain[-1], "lineage", "")
        for each in reversed(chain):
            if not hasattr(each, "lineage"):
                found = each.lineage = self._next(each, found)
        return found

    def _next(self, process: Process, before: str) -> str:
        """Return a lineage by that of the image or the process before, "": none."""
        session = getattr(process, "session_id", 0)
        if session not in _NO_SESSION:
            return f"session {session}"
        container = self.container_of(process.cgroup_id)
        if container != UNKNOWN:
            return f"container {container}"
        return before or process.key[:PROCESS_BYTES].hex()

    def identities(self, process: Process) -> Iterator[bytes]:
        """Yield what names a process, whatever images it runs; then its ancestors.

        An image that is not the present one may have let go of its parent.
        """
        each: Process | None = process
        for _ in range(MOST + 1):
            if each is None:
                return
            yield each.key[:PROCESS_BYTES]
            present = self._lookup(each.tgid, each.start_boot_ns) or each
            each = present.parent or each.parent


def _before(process: Process) -> Process | None:
    """Return whose lineage a process has if it has none of its own."""
    if process.previous is not None and process.previous is not FORKED:
        return process.previous
    parent = process.parent
    return None if parent is None or parent.tgid in _FIRST else parent
