# SPDX-License-Identifier: MIT
"""How an event is made of a record: in two steps, since rules exclude most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.context import Context
from sysmonlx.processes.process import Process

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
