# SPDX-License-Identifier: MIT
"""The sources that builders ask: clock, names of users and ports, other processes.

The rest is described here by Protocols, so that this package knows no file system and
no name service: `service` hands in the real ones, tests hand in their own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from sysmonlx.enrich.host_names import HostNames
from sysmonlx.kernel_text import UNKNOWN, PlainTexts, text
from sysmonlx.policy import Settings
from sysmonlx.processes.containers import container_of
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable

_MILLISECOND = tuple(f".{ms:03d}" for ms in range(1000))

_MS = 1_000_000

_CACHE_LIMIT = 4096

#: Texts of seconds that are kept. Times of events are of now and share a few seconds;
#: times of files can be any.
_DATES_LIMIT = 256

#: Control groups whose texts are kept, and their longest path: any user who may make
#: groups can make many, with long names.
_GROUPS_LIMIT, _GROUP_BYTES = 1024, 512
#: Of a control group that is not known.
_NO_GROUP = (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
#: The number of the control group of a process of which none is known. Nothing will be
#: found out of it, so that events need not ask again and again.
_UNKNOWN_GROUP = 0

#: Where a name was used: tgid, mount namespace, and root directory of the process; the
#: root is empty where it is that of the mount namespace.
Place = tuple[int, int, bytes]


class Names(Protocol):
    """Names of users, and when they logged in: `host.users.Users`."""

    @property
    def names(self) -> Mapping[int, str]:
        """Name by uid, "-" where there is none.

        It is the same object for as long as the program runs. A name that nobody asked
        for yet is looked up.
        """

    @property
    def state(self) -> int:
        """A number that is another one when a name or a logon may be another one."""

    def renew(self) -> None:
        """Forget names that may have changed; they are looked up anew."""

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        """Return when `uid` logged in on that terminal, seconds since the epoch."""
        ...


class Ports(Protocol):
    """Names of ports: `host.ports.Services`."""

    def port_name(self, port: int, protocol: str) -> str:
        """Return the service's name, "-" when there is none."""
        ...

    def renew(self) -> None:
        """Forget names that may have changed; they are looked up anew."""


class Paths(Protocol):
    """Questions that only a file system can answer: `host.paths.Resolver`.

    `base` is the directory, resolved, in which a relative `path` begins.
    """

    def path(self, place: Place, base: bytes, path: bytes, uid: int = 0) -> bytes:
        """Return `path` as an absolute path, the directory it is in resolved.

        `uid` is the user who is charged for the time of a slow file system.
        """
        ...

    def as_given(self, place: Place, base: bytes, path: bytes) -> bytes:
        """Return `path` as an absolute path; no file system is asked."""
        ...

    def state(self, place: Place, path: bytes) -> tuple[int, int]:
        """Return type and mode of a file, and its birth in ns since the epoch.

        Zeroes where they are not known. `path` is absolute and resolved.
        """
        ...


class Groups(Protocol):
    """Paths of control groups by their numbers: `host.control_groups.ControlGroups`."""

    def made(self, number: int, path: bytes) -> None:
        """Take the path of a group that was just made."""

    def path(self, number: int) -> bytes:
        """Return the path of a group from the root of its hierarchy; b"": not known."""
        ...

    def expect_all(self) -> None:
        """Have the paths of all groups read that are there now."""


class Context:
    """The clock, names and other processes, for the builders of all events.

    `offset_ns` is the wall clock minus the boot clock, in ns; `set_clock` renews it.
    Builders take what they need out of it when the rules come into force, so its
    attributes are never replaced, and methods like `utc` stay the same objects.
    """

    def __init__(
        self,
        processes: ProcessTable,
        users: Names,
        ports: Ports,
        settings: Settings,
        offset_ns: int,
        paths: Paths,
        control_groups: Groups,
    ) -> None:
        self.processes = processes
        self.users = users
        self.ports = ports
        self.settings = settings
        self.paths = paths
        self.control_groups = control_groups
        self._of_group = {_UNKNOWN_GROUP: _NO_GROUP}
        self.is_plain_name = PlainTexts()
        self.host_names = HostNames()
        """Names of hosts, where DnsLookup is on."""
        self._dates: dict[int, str] = {}
        # The last millisecond that was asked for: where it begins and ends, and its
        # text. Once for the boot clock, once for the wall clock.
        self._begin_ns = self._end_ns = self._wall_begin_ns = self._wall_end_ns = 0
        self._time = self._wall = ""
        self.set_clock(offset_ns)
        self._logons: dict[tuple[int, int, int], str] = {}
        self._users_state = users.state
        flags = processes.flags
        self.has_pts = flags["TTY_IS_PTS"]
        self.cwd_truncated = flags["CWD_TRUNCATED"]
        self.path_truncated = flags["PATH_TRUNCATED"]
        self.path_given = flags["PATH_GIVEN"]
        self.path_unreadable = flags["PATH_UNREADABLE"]
        self.path_shortened = flags["PATH_SHORTENED"]
        self.path_to_resolve = self.path_given | self.path_unreadable
        self.environment_truncated = flags["ENVIRONMENT_TRUNCATED"]
        self.environment_unreadable = flags["ENVIRONMENT_UNREADABLE"]
        self.tells_more = flags["TELLS_MORE"]
        self.file_is_new = flags["FILE_IS_NEW"]
        self.is_unproven = flags["UNPROVEN"]

    def set_clock(self, offset_ns: int) -> None:
        """Take a new distance of wall clock and boot clock, in nanoseconds."""
        self._offset_ns = offset_ns
        self._begin_ns = self._end_ns = 0

    def renew(self) -> None:
        """Forget names that may have changed; to be called every second or so."""
        self.users.renew()
        self.ports.renew()
        launches, state = self.processes.launches, self.users.state
        if state != self._users_state:
            self._users_state = state
            launches.clear()
        launches.turn()

    def utc(self, boot_ns: int) -> str:
        """Return a time of the boot clock as "YYYY-MM-DD HH:MM:SS.mmm", cut off."""
        if not self._begin_ns <= boot_ns < self._end_ns:
            time_ms = (boot_ns + self._offset_ns) // _MS
            self._begin_ns = time_ms * _MS - self._offset_ns
            self._end_ns = self._begin_ns + _MS
            self._time = self._text_of(time_ms)
        return self._time

    def utc_of_wall(self, wall_ns: int) -> str:
        """Return nanoseconds since the epoch as "YYYY-MM-DD HH:MM:SS.mmm"."""
        if not self._wall_begin_ns <= wall_ns < self._wall_end_ns:
            time_ms = wall_ns // _MS
            self._wall_begin_ns = time_ms * _MS
            self._wall_end_ns = self._wall_begin_ns + _MS
            self._wall = self._text_of(time_ms)
        return self._wall

    def _text_of(self, time_ms: int) -> str:
        second, ms = divmod(time_ms, 1000)
        date = self._dates.get(second)
        if date is None:
            if len(self._dates) >= _DATES_LIMIT:
                self._dates.clear()
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
            self._dates[second] = date
        return date + _MILLISECOND[ms]

    def user(self, uid: int) -> str:
        """Return the name of a user, "-" when there is none."""
        return self.users.names[uid]

    def of_group(self, number: int) -> tuple[str, str, str, str]:
        """Return ContainerId, ContainerRuntime, PodUid, CgroupPath of a control group.

        "-" each for a group that is not known.
        """
        known = self._of_group.get(number)
        if known is not None:
            return known
        path = self.control_groups.path(number)
        if not path:
            return _NO_GROUP
        shown = text(path)
        found = (*container_of(shown), shown)
        if len(path) <= _GROUP_BYTES:
            if len(self._of_group) >= _GROUPS_LIMIT:
                self._of_group = {_UNKNOWN_GROUP: _NO_GROUP}
            self._of_group[number] = found
        return found

    def knows_group(self, number: int) -> bool:
        """Return whether `of_group` keeps what it has found out of this group."""
        return number in self._of_group

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return another process, None when the table does not have it; see there."""
        return self.processes.find(tgid, start_boot_ns, exec_id)

    def logon_guid(self, uid: int, tty_index: int, is_pts: bool) -> str:
        """Return the LogonGuid of a user on a terminal, made once for each logon.

        `tty_index` is that of the terminal device; `is_pts` says that it is a
        pseudo-terminal, for which a logon may be on record.
        """
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
