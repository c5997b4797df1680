# SPDX-License-Identifier: MIT
"""Records to events: the one place that knows kernel words and Sysmon words.

A builder takes a record, the process that acted, and the context; it returns the values
of the event in the catalogue's order, or None when there is no event. `BUILDERS` names
the builders of each record; a record may make several events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sysmonlx.decode import Record
from sysmonlx.processes import (
    NO_GUID,
    UNKNOWN,
    Process,
    ProcessTable,
    path_text,
    text,
)
from sysmonlx.ruleset import Settings

_MILLISECOND = tuple(f".{ms:03d}" for ms in range(1000))
_CACHE_LIMIT = 4096
#: Events come from now; times of files, of which events may have many, from anywhen.
_DATES_LIMIT = 256


class Names(Protocol):
    """What enrichment asks of `users.Users`."""

    @property
    def names(self) -> Mapping[int, str]:
        """Name by uid; one not asked for yet is looked up."""

    def renew(self) -> None:
        """Forget what may have changed."""

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        """Return when `uid` logged in on that terminal, seconds since the epoch."""
        ...


class Ports(Protocol):
    """What enrichment asks of `services.Services`."""

    def port_name(self, port: int, protocol: str) -> str:
        """Return the service's name, "-" when there is none."""
        ...


class Context:
    """What builders ask: the clock, names, other processes.

    `offset_ns` is the wall clock minus the boot clock, renewed by `set_clock`.
    `paths` resolves what only the file system knows; None where nothing does.
    """

    def __init__(
        self,
        processes: ProcessTable,
        users: Names,
        ports: Ports,
        settings: Settings,
        offset_ns: int,
        paths: Any = None,
    ) -> None:
        self.processes = processes
        self.users = users
        self.ports = ports
        self.settings = settings
        self.paths = paths
        self._offset_ns = offset_ns
        self._millisecond = -1
        self._time = ""
        self._dates: dict[int, str] = {}
        self._logons: dict[tuple[int, int, int], str] = {}
        flags = processes.flags
        self.has_pts = flags["TTY_IS_PTS"]
        self.cwd_truncated = flags["CWD_TRUNCATED"]
        self.path_truncated = flags["PATH_TRUNCATED"]

    def set_clock(self, offset_ns: int) -> None:
        """Take a new distance of wall clock and boot clock, in nanoseconds."""
        self._offset_ns = offset_ns

    def utc(self, boot_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of a boot clock time, milliseconds cut."""
        return self.utc_of_wall(boot_ns + self._offset_ns)

    def utc_of_wall(self, wall_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of nanoseconds since the epoch."""
        millisecond = wall_ns // 1_000_000
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            date = self._dates.get(second) or self._date_of(second)
            self._millisecond = millisecond
            self._time = date + _MILLISECOND[rest]
        return self._time

    def _date_of(self, second: int) -> str:
        if len(self._dates) >= _DATES_LIMIT:
            self._dates.clear()
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        self._dates[second] = date
        return date

    def user(self, uid: int) -> str:
        """Return the name of a user, "-" when there is none."""
        return self.users.names[uid]

    def text(self, data: bytes) -> str:
        """Return bytes of the kernel as text, "-" when there are none."""
        return text(data)

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return another process, None when the table does not have it."""
        return self.processes.find(tgid, start_boot_ns, exec_id)

    def port_name(self, port: int, protocol: str) -> str:
        """Return the name of a port in services(5), "-" when it has none."""
        return self.ports.port_name(port, protocol)

    def host_name(self, address: str) -> str:
        """Return a host's name as learnt from DNS answers; none are read yet."""
        return UNKNOWN

    def logon_guid(self, uid: int, tty_index: int, is_pts: bool) -> str:
        """Return the LogonGuid of a user on a terminal."""
        second = 0
        if is_pts:
            second = self.users.logon_second(uid, tty_index, is_pts=True)
        key = (uid, tty_index, second)
        guid = self._logons.get(key)
        if guid is None:
            if len(self._logons) >= _CACHE_LIMIT:
                self._logons.clear()
            guid = self.processes.identity.logon_guid(second, tty_index, uid)
            self._logons[key] = guid
        return guid


Builder = Callable[[Record, Process, Context], list[str] | None]


def process_create(record: Record, process: Process, context: Context) -> list[str]:
    """Build event 1; Hashes is left unknown, the pipeline knows them."""
    names = context.users.names
    flags, uid = record.flags, record.uid
    parent = process.parent
    if flags & context.cwd_truncated:
        directory = path_text(record.cwd, True)
    else:
        directory = context.processes.texts[record.cwd]
    is_pts = bool(flags & context.has_pts)
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        process.args,
        directory,
        names[uid],
        context.logon_guid(uid, record.tty_index, is_pts),
        str(uid),
        str(record.session_id),
        "no level",
        UNKNOWN,
        *(_parent_values(parent, names) if parent else _no_parent(record)),
    ]


def _parent_values(parent: Process, names: Mapping[int, str]) -> tuple[str, ...]:
    user = names[parent.uid]
    return parent.guid, str(parent.tgid), parent.image, parent.args, user


def _no_parent(record: Record) -> tuple[str, ...]:
    return NO_GUID, str(record.parent_tgid), UNKNOWN, UNKNOWN, UNKNOWN


def process_terminate(
    record: Record, process: Process, context: Context
) -> list[str] | None:
    """Build event 5; a kernel thread is no process of a user."""
    if process.is_kernel_thread:
        return None
    return [
        UNKNOWN,
        context.utc(record.boot_ns),
        process.guid,
        str(record.tgid),
        process.image,
        context.user(record.uid),
    ]


#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "process_create": ((1, process_create),),
    "process_terminate": ((5, process_terminate),),
}
