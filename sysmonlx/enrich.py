# SPDX-License-Identifier: MIT
"""Records to events: the one place that knows kernel words and Sysmon words.

A builder takes the fields of a record, the process that acted, and the context; it
returns the values of the event in the catalogue's order and whether all of them are
plain (see `texts.is_plain`), or None when there is no event. `BUILDERS` names the
builders of each record, `FIELDS` what they read; a record may make several events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sysmonlx.process import NO_GUID, Process
from sysmonlx.processes import ACTOR_FIELDS, CREATE_FIELDS, Fields, ProcessTable
from sysmonlx.ruleset import Settings
from sysmonlx.texts import UNKNOWN, PlainTexts, is_plain, path_text

_MILLISECOND = tuple(f".{ms:03d}" for ms in range(1000))
_CACHE_LIMIT = 4096
_SESSIONS_LIMIT = 256
#: Events come from now; times of files, of which events may have many, from anywhen.
_DATES_LIMIT = _TIMES_LIMIT = 256


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

    def renew(self) -> None:
        """Forget what may have changed."""


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
        self.is_plain_name = PlainTexts()
        self.host_names: Mapping[str, str] = {}
        """Names of hosts, by address, as learnt from DNS answers; none are read yet."""
        self._offset_ns = offset_ns
        self._times: dict[int, str] = {}
        self._dates: dict[int, str] = {}
        self._logons: dict[tuple[int, int, int], str] = {}
        self._sessions: dict[tuple[bytes, int, int, int, int], Session] = {}
        flags = processes.flags
        self.has_pts = flags["TTY_IS_PTS"]
        self.cwd_truncated = flags["CWD_TRUNCATED"]
        self.path_truncated = flags["PATH_TRUNCATED"]
        self.path_given = flags["PATH_GIVEN"]
        self.path_unreadable = flags["PATH_UNREADABLE"]
        self.path_to_resolve = self.path_given | self.path_unreadable
        self.file_is_new = flags["FILE_IS_NEW"]

    def set_clock(self, offset_ns: int) -> None:
        """Take a new distance of wall clock and boot clock, in nanoseconds."""
        self._offset_ns = offset_ns

    def renew(self) -> None:
        """Forget what may have changed outside; call it every second or so."""
        self.users.renew()
        self.ports.renew()
        self._sessions.clear()

    def session(
        self, cwd: bytes, uid: int, tty_index: int, session_id: int, flags: int
    ) -> Session:
        """Return what the processes of one session have in common; see `Session`."""
        key = (cwd, uid, tty_index, session_id, flags)
        return self._sessions.get(key) or self._made_session(key)

    def _made_session(self, key: tuple[bytes, int, int, int, int]) -> Session:
        cwd, uid, tty_index, session_id, flags = key
        if flags & self.cwd_truncated:
            directory, plain = path_text(cwd, True), is_plain(cwd)
        else:
            directory, plain = self.processes.texts[cwd]
        user = self.users.names[uid]
        guid = self.logon_guid(uid, tty_index, bool(flags & self.has_pts))
        session = (
            (directory, user, guid, str(uid), str(session_id), "no level"),
            plain and self.is_plain_name[user],
        )
        if len(self._sessions) >= _SESSIONS_LIMIT:
            self._sessions.clear()
        self._sessions[key] = session
        return session

    def utc(self, boot_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of a boot clock time, milliseconds cut."""
        millisecond = (boot_ns + self._offset_ns) // 1_000_000
        return self._times.get(millisecond) or self._time_of(millisecond)

    def utc_of_wall(self, wall_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of nanoseconds since the epoch."""
        millisecond = wall_ns // 1_000_000
        return self._times.get(millisecond) or self._time_of(millisecond)

    def _time_of(self, millisecond: int) -> str:
        if len(self._times) >= _TIMES_LIMIT:
            self._times.clear()
        second, rest = divmod(millisecond, 1000)
        date = self._dates.get(second) or self._date_of(second)
        self._times[millisecond] = found = date + _MILLISECOND[rest]
        return found

    def _date_of(self, second: int) -> str:
        if len(self._dates) >= _DATES_LIMIT:
            self._dates.clear()
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        self._dates[second] = date
        return date

    def user(self, uid: int) -> str:
        """Return the name of a user, "-" when there is none."""
        return self.users.names[uid]

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return another process, None when the table does not have it."""
        return self.processes.find(tgid, start_boot_ns, exec_id)

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


#: CurrentDirectory, User, LogonGuid, LogonId, TerminalSessionId and IntegrityLevel of
#: event 1, and whether they are plain.
Session = tuple[tuple[str, ...], bool]

#: FileVersion, Description, Product, Company and OriginalFileName: Windows' own.
_NO_VERSION = (UNKNOWN,) * 5

#: Values in the catalogue's order, and whether all of them are plain.
Built = tuple[list[str], bool]

Builder = Callable[[Fields, Process, Context], Built | None]


def process_create(fields: Fields, process: Process, context: Context) -> Built:
    """Build event 1; Hashes is left unknown, the pipeline knows them."""
    (
        boot_ns,
        _,
        tgid,
        uid,
        _,
        _,
        parent_tgid,
        flags,
        _,
        _,
        cwd,
        tty_index,
        session_id,
    ) = fields
    of_session, plain = context.session(cwd, uid, tty_index, session_id, flags)
    plain = plain and process.is_plain and process.has_plain_args
    parent = process.parent
    if parent is None:
        of_parent: Sequence[str]
        of_parent = (NO_GUID, str(parent_tgid), UNKNOWN, UNKNOWN, UNKNOWN)
    else:
        user = context.users.names[parent.uid]
        of_parent = (parent.guid, str(parent.tgid), parent.image, parent.args, user)
        plain = plain and parent.is_plain and parent.has_plain_args
        plain = plain and context.is_plain_name[user]
    values = [
        UNKNOWN,
        context.utc(boot_ns),
        process.guid,
        str(tgid),
        process.image,
        *_NO_VERSION,
        process.args,
        *of_session,
        UNKNOWN,
        *of_parent,
    ]
    return values, plain


def process_terminate(
    fields: Fields, process: Process, context: Context
) -> Built | None:
    """Build event 5; a kernel thread is no process of a user."""
    if process.is_kernel_thread:
        return None
    user = context.users.names[fields[3]]
    values = [
        UNKNOWN,
        context.utc(fields[0]),
        process.guid,
        str(fields[2]),
        process.image,
        user,
    ]
    return values, process.is_plain and context.is_plain_name[user]


#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "process_create": ((1, process_create),),
    "process_terminate": ((5, process_terminate),),
}

#: Record name to the fields that its builders take; ACTOR_FIELDS come first.
FIELDS: dict[str, tuple[str, ...]] = {
    "process_create": CREATE_FIELDS,
    "process_terminate": ACTOR_FIELDS,
}
