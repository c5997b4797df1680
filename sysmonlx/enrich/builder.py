# SPDX-License-Identifier: MIT
"""How an event is made of a record: in two steps, because rules exclude most events.

Example: event 11 (FileCreate), from a `file_create` record. When the rules come into
force, the builder `enrich.file.file_create` is called once; it looks up where the
fields of the record lie, and returns a `Maker`. For each record then

1. `Maker.make` returns the values in the order of the schema. All are texts but for
   two: UtcTime and CreationUtcTime are still numbers, since few rules ask for a time
   and most events end here, excluded.
2. the rules judge the values. Rules that ask for a late value are noticed beforehand:
   the pipeline then has both steps done before it asks them.
3. `Maker.finish` makes texts of the two numbers, and says whether the texts can be
   printed as they are.

A value that only `finish` makes a text of is *late*: `Maker.late` lists their
positions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from sysmonlx.capture.records import Layout
from sysmonlx.enrich.context import Context
from sysmonlx.processes.process import Process

#: Position of UtcTime in every event that a record makes.
UTC_TIME = 1

#: Values in the order of the schema. All are texts, but for late ones before `Finish`:
#: those are numbers of the record, mostly times in nanoseconds. Hence Any: to prove the
#: change of type, each event would have to be looked at.
Values = list[Any]

#: Step one: returns the values of a record. The process is the one that acted.
Make = Callable[[bytes, Process], Values]

#: Step two: makes texts of the late values, in place. Returns whether all values are
#: `kernel_text.is_plain` texts; None: there is no event after all, see
#: `Maker.no_event`.
Finish = Callable[[Values, bytes, Process], bool | None]


class Cut(NamedTuple):
    """Where a record says that the middle of a value is missing in it.

    `bit` in the byte number `at` of the record is set then. Without a bit (0) no record
    of this type says it.
    """

    at: int
    bit: int


NEVER_CUT = Cut(0, 0)


def cut_by(layout: Layout, flag: int) -> Cut:
    """Return which byte of a record has this flag, and the flag's bit in it."""
    in_bytes = flag.to_bytes(4, sys.byteorder)
    at = next(number for number, byte in enumerate(in_bytes) if byte)
    return Cut(layout.offset("flags") + at, in_bytes[at])


class Maker(NamedTuple):
    """How a record makes an event.

    `late` are the positions of values that `finish` makes texts of. `no_event` is the
    reason that is counted where `finish` returns None. `cut` tells records in which the
    middle of a value is missing. Rules cannot exclude an event for sure by such a
    value, so it is reported; those that the kernel side excluded were judged by the
    whole value. `is_longer`: the values have fields of ours behind the last one.
    """

    make: Make
    finish: Finish
    late: tuple[int, ...] = (UTC_TIME,)
    no_event: str = ""
    cut: Cut = NEVER_CUT
    is_longer: bool = False


#: Returns the maker of one event, for records that are laid out like this.
Builder = Callable[[Layout, Context], Maker]

#: The events of an event family: pairs of event id and builder by the record's name.
Builders = dict[str, tuple[tuple[int, Builder], ...]]


def timed(context: Context) -> Finish:
    """Return a second step for events of which only UtcTime is late.

    Nothing is known of their texts, so they count as not plain.
    """

    def finish(values: Values, data: bytes, process: Process) -> bool | None:
        values[UTC_TIME] = context.utc(values[UTC_TIME])
        return False

    return finish
