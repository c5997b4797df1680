# SPDX-License-Identifier: MIT
"""Fields of ours behind the last field of an event: made only where they are wanted.

The setting `Fields` names them. A field is stated in `schema.events`; here is how it is
made. Its value is a text from the first step on, so that rules can ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.builder import Maker, Values
from sysmonlx.enrich.context import Context
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import EVENT_BY_ID

#: Returns the text of one field, "-" where it is not known.
Appender = Callable[[bytes, Process], str]

#: Login uid of a task without login: proc(5), /proc/PID/loginuid.
_NO_LOGIN = 0xFFFFFFFF


def _user_id(layout: Layout, context: Context) -> Appender:
    """UserId: the number of the user whom User names."""
    read: Callable[[bytes], tuple[int]] = layout.reader("uid")
    return lambda data, process: str(read(data)[0])


def _login_user(layout: Layout, context: Context) -> Appender:
    """LoginUser: who logged in, whoever the process has become since by su or sudo."""
    read: Callable[[bytes], tuple[int]] = layout.reader("loginuid")
    names = context.users.names

    def login_user(data: bytes, process: Process) -> str:
        (uid,) = read(data)
        return UNKNOWN if uid == _NO_LOGIN else names[uid]

    return login_user


def _grandparent_image(layout: Layout, context: Context) -> Appender:
    """GrandparentImage: the image of the parent's parent."""

    def grandparent_image(data: bytes, process: Process) -> str:
        grandparent = process.parent and process.parent.parent
        return grandparent.image if grandparent else UNKNOWN

    return grandparent_image


def _parent_image(layout: Layout, context: Context) -> Appender:
    """ParentImage: as event 1 has it, for events of which Sysmon tells no parent."""

    def parent_image(data: bytes, process: Process) -> str:
        return process.parent.image if process.parent else UNKNOWN

    return parent_image


APPENDERS: dict[str, Callable[[Layout, Context], Appender]] = {
    "UserId": _user_id,
    "LoginUser": _login_user,
    "GrandparentImage": _grandparent_image,
    "ParentImage": _parent_image,
}


def appenders_of(
    event_id: int, names: Sequence[str], layout: Layout, context: Context
) -> tuple[Appender, ...]:
    """Return what makes those of these fields that an event has, in their order."""
    return tuple(
        APPENDERS[field.name](layout, context)
        for field in EVENT_BY_ID[event_id].appended
        if field.name in names
    )


def with_appended(maker: Maker, appenders: Sequence[Appender]) -> Maker:
    """Return a maker whose values have more fields; the same one if there are none."""
    if not appenders:
        return maker
    make, finish = maker.make, maker.finish

    def make_longer(data: bytes, process: Process) -> Values:
        values = make(data, process)
        values += [append(data, process) for append in appenders]
        return values

    def finish_longer(values: Values, data: bytes, process: Process) -> bool | None:
        return None if finish(values, data, process) is None else False

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
