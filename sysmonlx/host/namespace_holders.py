# SPDX-License-Identifier: MIT
"""Live processes of each mount namespace, found without a look at all processes.

Names of a mount namespace that is not ours are looked up in the root directory of a
process that lives in it. To hold that directory open would keep the file system busy.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator

from sysmonlx.errors import ProcError
from sysmonlx.host.lane import Lane
from sysmonlx.host.procfs import Procfs

#: Processes remembered of each namespace, and namespaces.
_PROCESSES, _NAMESPACES = 4, 1024
#: A look at all processes takes milliseconds, or a tenth of a second where there are
#: 30,000: the next one waits for fifty times what the last one took.
_REST = 50
_LEAST_REST_S = 0.1


class Holders:
    """Knows processes by the mount namespace that they live in."""

    def __init__(self, procfs: Procfs, lane: Lane) -> None:
        self._procfs = procfs
        self._lane = lane
        self._seen: OrderedDict[int, deque[int]] = OrderedDict()
        self._all: dict[int, list[int]] = {}
        self._next_look = 0.0

    def of(self, namespace: int, tgid: int) -> Iterator[int]:
        """Yield live processes of a namespace whose root directory is its root.

        `tgid` was in it a moment ago.
        """
        seen = self._seen.get(namespace)
        if seen is None:
            seen = self._remember(namespace)
        if tgid not in seen and self._is_in(tgid, namespace):
            seen.append(tgid)
        yield from self._living(reversed(tuple(seen)), namespace)
        if time.monotonic() >= self._next_look:
            self._lane.post(self._look, "all")
        for pid in self._living(self._all.get(namespace, ()), namespace):
            seen.append(pid)
            yield pid

    def _remember(self, namespace: int) -> deque[int]:
        if len(self._seen) >= _NAMESPACES:
            self._seen.popitem(last=False)
        found: deque[int] = deque(maxlen=_PROCESSES)
        self._seen[namespace] = found
        return found

    def _living(
        self, pids: Iterator[int] | list[int] | tuple[int, ...], namespace: int
    ) -> Iterator[int]:
        return (pid for pid in pids if self._is_in(pid, namespace))

    def _is_in(self, pid: int, namespace: int) -> bool:
        procfs = self._procfs
        try:
            return procfs.mount_namespace(pid) == namespace and procfs.root(pid) == b"/"
        except ProcError:
            return False

    def _look(self) -> None:  # in the lane
        start = time.monotonic()
        self._all = self._procfs.by_mount_namespace(_PROCESSES)
        end = time.monotonic()
        self._next_look = end + max(_REST * (end - start), _LEAST_REST_S)
