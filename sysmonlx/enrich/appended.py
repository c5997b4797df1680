# SPDX-License-Identifier: MIT
"""Fields of ours behind the last field of an event: made only where they are wanted.

The setting `Fields` names them. A field is stated in `schema.events`; here is how it is
made. Its value is a text from the first step on, so that rules can ask it.

Most of these texts recur, so they are made once: for all events of one user in one
control group, and for all starts of one launch (`processes.launches`). The others are
made for each event: those of event 1 are `schema.events.OUR_OWN_OF_PROCESS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.module import MODULE_APPENDERS
from sysmonlx.enrich.start_fields import START_APPENDERS, Appender
from sysmonlx.kernel_text import UNKNOWN, is_plain_text
from sysmonlx.policy import RULE_NAMES
from sysmonlx.processes.process import Process
from sysmonlx.schema.common_fields import OF_ACTOR, OF_CONTROL_GROUP
from sysmonlx.schema.event_types import Field
from sysmonlx.schema.events import EVENT_BY_ID, OUR_OWN_OF_PROCESS, PROCESS_CREATE
from sysmonlx.schema.field_values import MEMORY_WAYS

#: Texts of actors that are kept.
_ACTORS_LIMIT = 1024


def _user_id(layout: Layout, context: Context) -> Appender:
    """UserId: the number of the user whom User names."""
    read: Callable[[bytes], tuple[int]] = layout.reader("uid")
    return lambda data, process: str(read(data)[0])


def _of_group(at: int) -> Callable[[Layout, Context], Appender]:
    """One of `Context.of_group`: ContainerId, ContainerRuntime, PodUid, CgroupPath."""

    def make(layout: Layout, context: Context) -> Appender:
        return lambda data, process: context.of_group(process.cgroup_id)[at]

    return make


def _rule_names(layout: Layout, context: Context) -> Appender:
    """RuleNames: the rules, when they judge, put names into its place."""
    return lambda data, process: UNKNOWN


#: The field that follows from the flags of a record; of event 25, from its way.
_OF_FLAGS = "Reason"
#: Texts of Reason by the flag of the record: of event 11, then of event 8.
REASONS = {
    "BY_RENAME": "Rename",
    "BY_LINK": "Link",
    "BY_WRITE": "Write",
    "BY_APPEND": "Append",
    "BY_TRUNCATION": "Truncate",
    "BY_MEMORY_COPY": "ProcessVmWrite",
    "BY_POKE": "PtraceMemory",
    "BY_REGISTERS": "PtraceRegisters",
    "BY_MEMORY_FILE": "MemoryFile",
}


def _source(layout: Layout) -> str:
    """Return the member of a record from which Reason follows."""
    return "way" if "way" in layout.fields else "flags"


def _reason(layout: Layout, context: Context) -> Appender:
    """Make Reason: how a FileCreate came about, or by which call was written.

    Where the record has a member `way`, Reason follows from that, see `_way`.
    """
    if _source(layout) == "way":
        return _way(layout)
    read: Callable[[bytes], tuple[int]] = layout.reader("flags")
    by_flag = {context.processes.flags[name]: text for name, text in REASONS.items()}
    any_of_them = sum(by_flag)
    by_flag[0] = "Create"
    return lambda data, process: by_flag[read(data)[0] & any_of_them]


def _way(layout: Layout) -> Appender:
    """Make Reason of event 25: by which call memory was made executable."""
    read: Callable[[bytes], tuple[int]] = layout.reader("way")
    known = dict(enumerate(MEMORY_WAYS))
    return lambda data, process: known.get(read(data)[0], UNKNOWN)


def _parent_image(layout: Layout, context: Context) -> Appender:
    """ParentImage: as event 1 has it, for events of which Sysmon tells no parent."""

    def parent_image(data: bytes, process: Process) -> str:
        return process.parent.image if process.parent else UNKNOWN

    return parent_image


def _guid(tgid: int, target: Process | None) -> str:
    return target.guid if target else UNKNOWN


def _image(tgid: int, target: Process | None) -> str:
    return target.image if target else UNKNOWN


def _target(
    show: Callable[[int, Process | None], str],
) -> Callable[[Layout, Context], Appender]:
    """One of the fields of who listens; `show` has its process id, 0 if not known."""

    def make(layout: Layout, context: Context) -> Appender:
        read: Callable[[bytes], tuple[int, int, int]]
        read = layout.reader("target_tgid", "target_start_boot_ns", "target_exec_id")

        def append(data: bytes, process: Process) -> str:
            tgid, start_boot_ns, exec_id = read(data)
            if not start_boot_ns:  # none listens, or it has ended
                return show(tgid, None)
            return show(tgid, context.find(tgid, start_boot_ns, exec_id))

        return append

    return make


APPENDERS: dict[str, Callable[[Layout, Context], Appender]] = {
    **START_APPENDERS,
    **MODULE_APPENDERS,
    _OF_FLAGS: _reason,
    "UserId": _user_id,
    "ParentImage": _parent_image,
    "TargetProcessGuid": _target(_guid),
    "TargetProcessId": _target(lambda tgid, target: str(tgid or UNKNOWN)),
    "TargetImage": _target(_image),
    "ContainerId": _of_group(0),
    "ContainerRuntime": _of_group(1),
    "PodUid": _of_group(2),
    "CgroupPath": _of_group(3),
    RULE_NAMES: _rule_names,
}


def with_appended(
    event_id: int, maker: Maker, names: Sequence[str], layout: Layout, context: Context
) -> Maker:
    """Return a maker whose values have those of these fields that the event has.

    It is the same maker if there are none. Plain texts stay plain: to print all values
    of an event as if they were not takes longer than to make it.
    """
    fields = [each for each in EVENT_BY_ID[event_id].appended if each.name in names]
    if not fields:
        return maker
    longer = _of_start if event_id == PROCESS_CREATE.id else _of_action
    return longer(maker, fields, layout, context)


def _made(fields: Sequence[Field], layout: Layout, context: Context) -> list[Appender]:
    return [APPENDERS[field.name](layout, context) for field in fields]


def _of_start(
    maker: Maker, fields: Sequence[Field], layout: Layout, context: Context
) -> Maker:
    """Event 1: values that all starts of a launch share stand in `Launch.ours`."""
    make, finish = maker.make, maker.finish
    size = len(PROCESS_CREATE.fields)
    made = _made(fields, layout, context)
    own = [
        (at, append)
        for at, (field, append) in enumerate(zip(fields, made, strict=True), size)
        if field.name in OUR_OWN_OF_PROCESS
    ]
    places = {at for at, _ in own}
    fill = _of_launch(fields, made, places, context)
    images = [
        at
        for at, field in enumerate(fields, size)
        if at in places and field.path is not None
    ]
    is_plain_image = context.is_plain_name

    def make_longer(data: bytes, process: Process) -> Values:
        values = make(data, process)
        values += process.launch.ours or fill(data, process)
        for at, append in own:
            values[at] = append(data, process)
        return values

    def finish_longer(values: Values, data: bytes, process: Process) -> bool | None:
        is_plain = finish(values, data, process)
        for at in images:  # the others are made of letters and digits
            is_plain = is_plain and is_plain_image[values[at]]
        return is_plain

    return maker._replace(make=make_longer, finish=finish_longer, is_longer=True)


def _of_launch(
    fields: Sequence[Field],
    made: Sequence[Callable[[bytes, Process], str]],
    own: Collection[int],
    context: Context,
) -> Callable[[bytes, Process], list[str]]:
    """Return what makes the values that all starts of a launch share, once for each.

    Positions in `own` are left "-": their values are those of one process.
    """
    size = len(PROCESS_CREATE.fields)
    asks_group = any(each.name in OF_CONTROL_GROUP for each in fields)

    def fill(data: bytes, process: Process) -> list[str]:
        launch = process.launch
        launch.ours = [
            UNKNOWN if at in own else append(data, process)
            for at, append in enumerate(made, size)
        ]
        if not all(map(is_plain_text, launch.ours)):
            launch.common_shape.has_plain_rest = False
        if asks_group and not context.knows_group(process.cgroup_id):
            context.processes.launches.doubt(launch)
        return launch.ours

    return fill


def _of_action(
    maker: Maker, fields: Sequence[Field], layout: Layout, context: Context
) -> Maker:
    """Other events: most values follow from user, control group and record flags.

    Values that follow from these alone are kept. ParentImage follows from the process.
    """
    make, finish, uid = maker.make, maker.finish, layout.span("uid")
    names = {each.name for each in fields}
    flags = layout.span(_source(layout)) if _OF_FLAGS in names else slice(0, 0)
    is_kept = names <= {*OF_ACTOR, _OF_FLAGS, RULE_NAMES}
    made = _made(fields, layout, context)
    asks_group = any(each.name in OF_CONTROL_GROUP for each in fields)
    kept: dict[tuple[bytes, int, bytes], tuple[list[str], bool]] = {}
    are_plain = True

    def new_texts(data: bytes, process: Process) -> tuple[list[str], bool]:
        texts = [append(data, process) for append in made]
        found = texts, all(map(is_plain_text, texts))
        if is_kept and (not asks_group or context.knows_group(process.cgroup_id)):
            if len(kept) >= _ACTORS_LIMIT:
                kept.clear()
            kept[data[uid], process.cgroup_id, data[flags]] = found
        return found

    def make_longer(data: bytes, process: Process) -> Values:
        nonlocal are_plain
        values = make(data, process)
        try:
            texts, are_plain = kept[data[uid], process.cgroup_id, data[flags]]
        except KeyError:
            texts, are_plain = new_texts(data, process)
        values += texts
        return values

    def finish_longer(values: Values, data: bytes, process: Process) -> bool | None:
        """Finish the values of the last call of `make_longer`."""
        return finish(values, data, process) and are_plain

    return maker._replace(make=make_longer, finish=finish_longer, is_longer=True)


def refit(
    event_id: int, values: list[str], before: Sequence[str], now: Sequence[str]
) -> None:
    """Fit the values of an event that waited while other fields became wanted."""
    event = EVENT_BY_ID[event_id]
    size = len(event.fields)
    names = [each.name for each in event.with_appended(before).fields[size:]]
    known = dict(zip(names, values[size:], strict=True))
    wanted = event.with_appended(now).fields[size:]
    values[size:] = [known.get(each.name, UNKNOWN) for each in wanted]
