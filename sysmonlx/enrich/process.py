# SPDX-License-Identifier: MIT
"""Records to events: the one place that knows kernel words and Sysmon words.

An event is made in two steps, since rules exclude most events of a busy machine. The
first gives the values in the catalogue's order, but those that take long and that rules
hardly ever ask as the kernel has them (`late`). The second, for events that are to be
shown, makes texts of them.
`BUILDERS` names what returns the makers of each record; it may make several events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from sysmonlx.capture.records import Layout
from sysmonlx.kernel_text import UNKNOWN, PlainTexts, is_plain, path_text
from sysmonlx.policy import Settings
from sysmonlx.processes.launches import own_of_process, own_of_sibling
from sysmonlx.processes.process import NO_GUID, Launch, Process, Shape
from sysmonlx.processes.table import ProcessTable
from sysmonlx.schema.events import PROCESS_CREATE

_MILLISECOND = tuple(f".{ms:03d}" for ms in range(1000))
_MS = 1_000_000
_CACHE_LIMIT = 4096
#: After so many of one parent in a row, a template of their own is worth its making.
_SIBLINGS = 8
#: Beyond this the values of a launch are not kept in any other form.
_LONG_CHARACTERS = 4096
#: Events come from now; times of files, of which events may have many, from anywhen.
_DATES_LIMIT = 256


class Names(Protocol):
    """What enrichment asks of `users.Users`."""

    @property
    def names(self) -> Mapping[int, str]:
        """Name by uid, always the same object; one not asked for yet is looked up."""

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
        self._dates: dict[int, str] = {}
        #: Of the last millisecond that was asked for: its limits, and its text.
        self._begin_ns = self._end_ns = self._wall_begin_ns = self._wall_end_ns = 0
        self._time = self._wall = ""
        self.set_clock(offset_ns)
        self._logons: dict[tuple[int, int, int], str] = {}
        flags = processes.flags
        self.has_pts = flags["TTY_IS_PTS"]
        self.cwd_truncated = flags["CWD_TRUNCATED"]
        self.path_truncated = flags["PATH_TRUNCATED"]
        self.path_given = flags["PATH_GIVEN"]
        self.path_unreadable = flags["PATH_UNREADABLE"]
        self.path_shortened = flags["PATH_SHORTENED"]
        self.path_to_resolve = self.path_given | self.path_unreadable
        self.file_is_new = flags["FILE_IS_NEW"]

    def set_clock(self, offset_ns: int) -> None:
        """Take a new distance of wall clock and boot clock, in nanoseconds."""
        self._offset_ns = offset_ns
        self._begin_ns = self._end_ns = 0

    def renew(self) -> None:
        """Forget what may have changed outside; call it every second or so."""
        self.users.renew()
        self.ports.renew()
        self.processes.launches.clear()

    def utc(self, boot_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of a boot clock time, milliseconds cut."""
        if not self._begin_ns <= boot_ns < self._end_ns:
            time_ms = (boot_ns + self._offset_ns) // _MS
            self._begin_ns = time_ms * _MS - self._offset_ns
            self._end_ns = self._begin_ns + _MS
            self._time = self._text_of(time_ms)
        return self._time

    def utc_of_wall(self, wall_ns: int) -> str:
        """Return "YYYY-MM-DD HH:MM:SS.mmm" of nanoseconds since the epoch."""
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


#: Position of UtcTime in every event that a record makes.
UTC_TIME = 1

#: Values in the catalogue's order: texts, but for the late ones before they are.
Values = list[Any]

#: Step one: the values, times as the record has them.
Make = Callable[[bytes, Process], Values]

#: Step two: makes texts of the late values. Returns whether all values are
#: `texts.is_plain`; None: there is no event after all, see `Maker.no_event`.
Finish = Callable[[Values, bytes, Process], bool | None]


class Maker(NamedTuple):
    """How a record makes an event; `late` are positions of values.

    `no_event` says what the record is where `finish` returns None. `is_cut` says that
    the record lacks a part of a value, so that rules cannot exclude it for sure; what
    the kernel side excludes it has judged by the whole.
    """

    make: Make
    finish: Finish
    late: tuple[int, ...] = (UTC_TIME,)
    no_event: str = ""
    is_cut: Callable[[bytes], bool] | None = None


#: Returns the maker of one event, from records that are laid out like this.
Builder = Callable[[Layout, Context], Maker]


def timed(context: Context) -> Finish:
    """Return the second step of an event of which UtcTime alone is late.

    Nothing is known of its texts, so they are not called plain.
    """

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = context.utc(values[UTC_TIME])
        return False

    return finish


#: FileVersion, Description, Product, Company and OriginalFileName: Windows' own.
_NO_VERSION = (UNKNOWN,) * 5


_FIELDS = [field.name for field in PROCESS_CREATE.fields]
_GUID, _PID, _ARGS = map(_FIELDS.index, ("ProcessGuid", "ProcessId", "CommandLine"))
#: Where the five values of the parent are, at the end.
_PARENT = slice(_FIELDS.index("ParentProcessGuid"), None)

#: ParentImage, ParentCommandLine and ParentUser of a process without a known parent.
_NO_PARENT = (UNKNOWN,) * 3


def process_create(layout: Layout, context: Context) -> Maker:
    """Event 1; Hashes is left unknown, the pipeline knows them.

    Whether it is plain is said of what is its own; the shape says it of the rest.
    """
    read_time, utc = layout.reader("boot_ns"), context.utc
    fill, fill_parent = _launch_filler(layout, context), _parent_filler(layout, context)

    def make(data: bytes, process: Process) -> Values:
        launch, parent = process.launch, process.parent
        if (
            parent is None
            or parent is not launch.parent
            or parent.uid != launch.parent_uid
        ):
            if not launch.values:
                fill(launch, data, process)
            fill_parent(launch, data, parent)
        elif launch.siblings < _SIBLINGS:
            launch.siblings += 1
            if launch.siblings == _SIBLINGS:
                _fill_shape(launch)
        (boot_ns,) = read_time(data)
        values = launch.values.copy()
        values[UTC_TIME] = utc(boot_ns)
        values[_GUID] = process.guid
        values[_PID] = process.pid
        values[_ARGS] = process.args
        return values

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        return process.has_plain_args and process.launch.has_plain_parent

    return Maker(make, finish, ())


def _fill_shape(launch: Launch) -> None:
    """Let what is said of the parent be no value of each process any more."""
    plain = launch.common_shape.has_plain_rest and launch.has_plain_parent
    launch.shape, launch.has_plain_parent = Shape(own_of_sibling, plain), True


def _parent_filler(
    layout: Layout, context: Context
) -> Callable[[Launch, bytes, Process | None], None]:
    """Return what fills in the values of a parent; the next process may have it too."""
    read, names = layout.reader("parent_tgid"), context.users.names

    def fill(launch: Launch, data: bytes, parent: Process | None) -> None:
        launch.parent, launch.has_plain_parent, launch.siblings = parent, True, 0
        launch.shape = launch.common_shape
        if parent is None:
            launch.values[_PARENT] = (NO_GUID, *map(str, read(data)), *_NO_PARENT)
            return
        user = names[parent.uid]
        of_parent = (parent.guid, parent.pid, parent.image, parent.args, user)
        launch.values[_PARENT] = of_parent
        launch.parent_uid = parent.uid
        plain = parent.is_plain and parent.has_plain_args
        launch.has_plain_parent = plain and context.is_plain_name[user]

    return fill


def _launch_filler(
    layout: Layout, context: Context
) -> Callable[[Launch, bytes, Process], None]:
    """Return what fills in the values that all events of a launch have in common."""
    read = layout.reader("uid", "cwd", "tty_index", "session_id", "flags")
    names, is_plain_name = context.users.names, context.is_plain_name

    def fill(launch: Launch, data: bytes, process: Process) -> None:
        uid, cwd, tty_index, session_id, flags = read(data)
        if flags & context.cwd_truncated:
            directory, plain = path_text(cwd, True), is_plain(cwd)
        else:
            directory, plain = context.processes.texts[cwd]
        user = names[uid]
        guid = context.logon_guid(uid, tty_index, bool(flags & context.has_pts))
        launch.values = [
            *(UNKNOWN, UNKNOWN, NO_GUID, UNKNOWN, process.image, *_NO_VERSION, UNKNOWN),
            *(directory, user, guid, str(uid), str(session_id), "no level", UNKNOWN),
            *(NO_GUID, UNKNOWN, *_NO_PARENT),
        ]
        plain = plain and process.is_plain and is_plain_name[user]
        launch.common_shape = Shape(own_of_process, plain)
        launch.has_long_values = sum(map(len, launch.values)) > _LONG_CHARACTERS

    return fill


def process_terminate(layout: Layout, context: Context) -> Maker:
    """Event 5, of a process that has taken its end."""
    names, is_plain_name = context.users.names, context.is_plain_name
    utc = context.utc

    def make(data: bytes, process: Process) -> Values:
        user, ended_ns = names[process.ended_uid], process.ended_boot_ns
        return [UNKNOWN, ended_ns, process.guid, process.pid, process.image, user]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        if process.is_kernel_thread:  # no process of a user
            return None
        return process.is_plain and is_plain_name[values[5]]

    return Maker(make, finish, no_event="kernel thread")


#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    "process_create": ((1, process_create),),
    "process_terminate": ((5, process_terminate),),
}
