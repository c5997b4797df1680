# SPDX-License-Identifier: MIT
"""Events 1 and 5 from records: programs that were started, and processes that ended.

Values that many events 1 have in common are made once for all of them:
`processes.launches` explains it, and this module fills the launches in.
"""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.capture.hooks import Hook
from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import UTC_TIME, Builders, Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.event import Shape
from sysmonlx.kernel_text import UNKNOWN, is_plain, path_text
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.launches import Launch, Launches
from sysmonlx.processes.process import Process
from sysmonlx.schema.common_fields import OF_CONTROL_GROUP
from sysmonlx.schema.events import EVENTS, PROCESS_CREATE

#: Starts in a row with one parent, after which a template with that parent is made.
_SIBLINGS = 8
#: Characters of all values of a launch, beyond which its hash and shape are not kept.
_LONG_CHARACTERS = 4096
#: Characters of a parent's command line, beyond which it counts for what launches keep.
_LONG_ARGS = 512


#: FileVersion, Description, Product, Company and OriginalFileName: Windows' own.
_NO_VERSION = (UNKNOWN,) * 5


_FIELDS = [field.name for field in PROCESS_CREATE.fields]
_GUID, _PID, _ARGS = map(_FIELDS.index, ("ProcessGuid", "ProcessId", "CommandLine"))
#: Where the five values of the parent are, at the end.
_PARENT = slice(_FIELDS.index("ParentProcessGuid"), len(_FIELDS))
#: Position of Hashes in event 1.
HASHES = _FIELDS.index("Hashes")

#: ParentImage, ParentCommandLine and ParentUser of a process without a known parent.
_NO_PARENT = (UNKNOWN,) * 3


def process_create(layout: Layout, context: Context) -> Maker:
    """Event 1; Hashes is left unknown, the pipeline sets it.

    Nothing is late. `finish` speaks of those values only that each process has for
    itself; `Shape.has_plain_rest` speaks of the others.
    """
    read_time: Callable[[bytes], tuple[int]] = layout.reader("boot_ns")
    utc, launches = context.utc, context.processes.launches
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
                _fill_shape(launch, launches)
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


def _fill_shape(launch: Launch, launches: Launches) -> None:
    """Give the launch a shape in which the values of the parent stand, too."""
    plain = launch.common_shape.has_plain_rest and launch.has_plain_parent
    launch.shape, launch.has_plain_parent = Shape(launches.own_of_sibling, plain), True
    if launch.long_args:
        launches.charge_template(launch)


def _parent_filler(
    layout: Layout, context: Context
) -> Callable[[Launch, bytes, Process | None], None]:
    """Return a function that fills the values of a parent into a launch.

    They stay there for the next start, which mostly has the same parent.
    """
    read: Callable[[bytes], tuple[int]] = layout.reader("parent_tgid")
    names, launches = context.users.names, context.processes.launches

    def fill(launch: Launch, data: bytes, parent: Process | None) -> None:
        launch.parent, launch.has_plain_parent, launch.siblings = parent, True, 0
        launch.shape = launch.common_shape
        if parent is None:
            launch.values[_PARENT] = (NO_GUID, *map(str, read(data)), *_NO_PARENT)
            return
        user = names[parent.uid]
        of_parent = (parent.guid, parent.pid, parent.image, parent.args, user)
        launch.values[_PARENT] = of_parent
        is_long = len(parent.args) > _LONG_ARGS
        if is_long or launch.long_args:
            launches.charge(launch, parent.args if is_long else "")
        launch.parent_uid = parent.uid
        plain = parent.is_plain and parent.has_plain_args
        launch.has_plain_parent = plain and context.is_plain_name[user]

    return fill


def _launch_filler(
    layout: Layout, context: Context
) -> Callable[[Launch, bytes, Process], None]:
    """Return a function that fills in the values that all starts of a launch share."""
    read: Callable[[bytes], tuple[int, bytes, int, int, int]]
    read = layout.reader("uid", "cwd", "tty_index", "session_id", "flags")
    names, is_plain_name = context.users.names, context.is_plain_name
    launches = context.processes.launches

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
        launch.common_shape = Shape(launches.own_of_process, plain)
        launch.has_long_values = sum(map(len, launch.values)) > _LONG_CHARACTERS

    return fill


def process_terminate(layout: Layout, context: Context) -> Maker:
    """Event 5; the process table has taken note of the end, the record adds nothing."""
    names, is_plain_name = context.users.names, context.is_plain_name
    utc = context.utc

    def make(data: bytes, process: Process) -> Values:
        user, ended_ns = names[process.ended_uid], process.ended_boot_ns
        return [UNKNOWN, ended_ns, process.guid, process.pid, process.image, user]

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = utc(values[UTC_TIME])
        if process.is_kernel_thread:
            return None
        return process.is_plain and is_plain_name[values[5]]

    return Maker(make, finish, no_event="kernel thread")


#: Paths of control groups; without them cgroupfs is asked.
GROUP_HOOKS: tuple[Hook, ...] = (
    Hook(
        name="control groups",
        events=frozenset(event.id for event in EVENTS if event.appended),
        alternatives=(("cgroup_created",),),
        missing="containers that end at once",
        fields=frozenset(OF_CONTROL_GROUP),
    ),
)

PROCESS_BUILDERS: Builders = {
    "process_create": ((1, process_create),),
    "process_terminate": ((5, process_terminate),),
}
