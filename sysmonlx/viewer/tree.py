# SPDX-License-Identifier: MIT
"""Processes out of events: who started whom, and what each did.

Logs may be cut, and what a hostile program is called is in them: parents may be
missing, and links may go round in a circle. Every process is still shown once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.moments import seconds_of
from sysmonlx.viewer.read import EventLine

#: Deeper processes stand at this depth.
DEPTH_LIMIT = 512
#: More events are not kept: they take 2 KB each.
EVENT_LIMIT = 2_000_000

_NO_GUID = "{00000000-0000-0000-0000-000000000000}"
#: Three hexadecimal digits of a ProcessGuid number the images of one process, the rest
#: is the same for all of them: `processes.identity`.
_IMAGE_DIGITS = re.compile(r"(?<=^.{20})..(.).(?=-.{12}\}$)")
_BEGIN = re.compile(r"\{[0-9a-f]{8}-([0-9a-f]{4})-([0-9a-f]{4})-", re.IGNORECASE)

Key = tuple[str, ...]


#: How a process began, of which the log has no event 1.
BEFORE, FORKED = "began before this log", "forked"
_NOT_TOLD = "its start is not in this log"


class TooManyEventsError(Exception):
    """There are more events than can be kept."""


@dataclass(slots=True, eq=False)
class Process:
    """A process as the events of a log have it; `starts` are its events 1."""

    key: Key
    host: str
    guid: str = ""
    pid: str = ""
    image: str = ""
    user: str = ""
    starts: list[EventLine] = field(default_factory=list)
    end: EventLine | None = None
    events: list[EventLine] = field(default_factory=list)
    parent: Process | None = None
    children: list[Process] = field(default_factory=list)
    images: list[Process] = field(default_factory=list)
    """The images of the process in order, this one too; empty: there is no other."""
    beginning: str = BEFORE
    """How it began, of a process without an event 1."""
    is_asked: bool = False

    @property
    def when(self) -> str:
        """When it is first heard of; of a fork, also by what it started."""
        if self.starts:
            return time_of(self.starts[0])
        first = [*self.events[:1], *([self.end] if self.end else [])]
        if self.beginning == FORKED:
            first += [start for each in self.children for start in each.starts[:1]]
        return min(map(time_of, first), default="")

    @property
    def lived_s(self) -> float | None:
        """How long it lived in seconds, None if that is not known."""
        if not self.starts or self.end is None:
            return None
        start, end = seconds_of(time_of(self.starts[0])), seconds_of(time_of(self.end))
        return None if start is None or end is None else end - start

    @property
    def later(self) -> Process | None:
        """The next program that the same process ran, None where the log has none."""
        behind = self.images[self.images.index(self) + 1 :] if self.images else []
        return next((each for each in behind if each.starts), None)

    def rules(self) -> list[str]:
        """Return the names of the rules of its starts and its end."""
        own = [*self.starts, *([self.end] if self.end else [])]
        return [*dict.fromkeys(filter(None, (text_of(e, "RuleName") for e in own)))]


def time_of(event: EventLine) -> str:
    """Return when it happened."""
    return text_of(event, "UtcTime")


class Forest:
    """All processes of a log."""

    def __init__(self) -> None:
        self.processes: dict[Key, Process] = {}
        self.others: list[EventLine] = []
        """Events of no process."""
        self._count = 0

    def add(self, event: EventLine, asked: bool) -> None:
        """Take an event; `asked` says whether its process is to be shown.

        Raises:
            TooManyEventsError: there have been too many.
        """
        self._count += 1
        if self._count > EVENT_LIMIT:
            raise TooManyEventsError
        process = self._of(event)
        if process is None:
            self.others.append(event)
            return
        process.is_asked |= asked
        if event.event_id == 1:
            process.starts.append(event)
            process.user = text_of(event, "User") or process.user
            process.image = text_of(event, "Image") or process.image
        elif event.event_id == 5:
            process.end = event
        else:
            process.events.append(event)
        process.user = process.user or text_of(event, "User", "SourceUser")

    def _of(self, event: EventLine) -> Process | None:
        guid = text_of(event, "ProcessGuid", "SourceProcessGuid", "SourceProcessGUID")
        pid = text_of(event, "ProcessId", "SourceProcessId")
        image = text_of(event, "Image", "SourceImage")
        return self._found(event.system.computer, guid, pid, image)

    def _found(self, host: str, guid: str, pid: str, image: str) -> Process | None:
        """Return the process with a GUID, or, where that is not known, with a pid."""
        if guid not in ("", _NO_GUID):
            key: Key = (host, guid)
        elif pid and image:
            key, guid = (host, pid, image), ""
        else:
            return None
        process = self.processes.get(key)
        if process is None:
            process = self.processes[key] = Process(key, host, guid, pid, image)
        return process

    def link(self) -> None:
        """Give every process its parent; sort what belongs to it by time."""
        for process in [*self.processes.values()]:
            for start in process.starts[:1]:
                self._adopt(process, start)
            if process.end is not None:
                self._put_below_program(process, process.end)
        self._join_images()
        self._tell_beginnings()
        for process in self.processes.values():
            process.starts.sort(key=time_of)
            process.events.sort(key=time_of)
            process.children.sort(key=lambda each: each.when)

    def _join_images(self) -> None:
        """Bring the images of each process together; a fork has their parent."""
        images: dict[Key, list[Process]] = {}
        for process in self.processes.values():
            if process.guid and (process.starts or process.events):
                life = _IMAGE_DIGITS.sub(r"..\1.", process.guid)
                images.setdefault((process.host, process.pid, life), []).append(process)
        for alike in (each for each in images.values() if len(each) > 1):
            alike.sort(key=lambda each: each.when)
            for process in alike:
                process.images = alike
                first = process.later.starts[0] if process.later else None
                if first and not process.starts and process.parent is None:
                    self._adopt(process, first)
                    process.beginning = FORKED

    def _tell_beginnings(self) -> None:
        """Find those that are forks, and those that began after the first event."""
        first: dict[str, str] = {}
        for process in self.processes.values():
            if process.when and process.when < first.get(process.host, "~"):
                first[process.host] = process.when
        for process in self.processes.values():
            begin = _begin_of(process.guid)
            if (
                process.beginning == BEFORE
                and begin > first.get(process.host, "~")[: len(begin)]
            ):
                process.beginning = _NOT_TOLD

    def _adopt(self, process: Process, start: EventLine) -> None:
        parent = self._found(
            process.host,
            text_of(start, "ParentProcessGuid"),
            text_of(start, "ParentProcessId"),
            text_of(start, "ParentImage"),
        )
        if parent is not None and parent is not process:
            parent.user = parent.user or text_of(start, "ParentUser")
            process.parent = parent
            parent.children.append(process)
            self._put_below_program(parent, start)

    def _put_below_program(self, fork: Process, told: EventLine) -> None:
        """Give a process that only forked the one that ran its program.

        `told` is the start of a child, or its own end.
        """
        guid = text_of(told, "ParentProgramGuid")
        above = self.processes.get((fork.host, guid), fork)
        if above is not fork and fork.parent is None and not fork.starts:
            fork.parent = above
            above.children.append(fork)
            if _image_of(fork.guid) == _image_of(above.guid):
                fork.beginning = FORKED

    def shown(self) -> set[Process]:
        """Return the processes asked for, their ancestors, their descendants."""
        asked = [each for each in self.processes.values() if each.is_asked]
        asked += [image for each in asked for image in each.images]
        found = set(asked)
        for process in asked:
            found.update(ancestors(process))
        waiting = asked
        while waiting:
            below = [each for one in waiting for each in one.children]
            waiting = [each for each in below if each not in found]
            found.update(waiting)
            waiting = [each for each in waiting if not each.is_asked]
        return found

    def walk(self, shown: set[Process]) -> Iterator[tuple[int, Process]]:
        """Yield depth and process, each process once, parents before children."""
        left = dict.fromkeys(sorted(self.processes.values(), key=_place))
        roots = [each for each in left if each.parent is None]
        for root in (*roots, *left):  # behind the roots, what is in a circle
            if root in left:
                yield from _below(root, left, shown)


def _image_of(guid: str) -> str:
    """Return the digits of a ProcessGuid that number the image: a fork has the same."""
    return guid[20:22] + guid[23:24]


def _begin_of(guid: str) -> str:
    """Return the second in which a process was forked, from its ProcessGuid; "" none.

    UTC, like UtcTime: `processes.identity` says where it stands.
    """
    found = _BEGIN.match(guid)
    if found is None:
        return ""
    second = int(found[2] + found[1], 16)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))


def _place(process: Process) -> tuple[str, str]:
    return process.host, process.when or first_of(process.children)


def first_of(children: Iterable[Process]) -> str:
    """Return when the first of some processes is first heard of."""
    return min((each.when for each in children), default="")


def _below(
    root: Process, left: dict[Process, None], shown: set[Process]
) -> Iterator[tuple[int, Process]]:
    stack = [(0, root)]
    while stack:
        depth, process = stack.pop()
        if process not in left:
            continue
        del left[process]
        if process in shown:
            yield min(depth, DEPTH_LIMIT), process
        stack += [(depth + 1, child) for child in reversed(process.children)]


def ancestors(process: Process) -> Iterator[Process]:
    """Yield the parent, its parent, and so on; each once, should they be a circle."""
    seen = {process}
    parent = process.parent
    while parent is not None and parent not in seen:
        yield parent
        seen.add(parent)
        parent = parent.parent
