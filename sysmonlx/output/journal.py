# SPDX-License-Identifier: MIT
r"""Lines as entries of systemd's journal, in its native protocol.

An entry is a list of fields. Each is written as the name, a newline, the size of the
value as 64 bits (the smallest byte first), the value, and a newline. The shorter form,
NAME=value, is not used: there a newline in a file name would begin a field of its own.
Values of fields are the bytes that a program chose, without escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sysmonlx.event import Event
from sysmonlx.output.forms import LineMaker
from sysmonlx.output.lines import Lines
from sysmonlx.schema.events import EVENT_BY_ID

#: Fields of the journal by the names that their values have in events.
FIELDS = {
    "RuleName": "SYSMON_RULE",
    **dict.fromkeys(("Image", "SourceImage"), "SYSMON_IMAGE"),
    **dict.fromkeys(("User", "SourceUser"), "SYSMON_USER"),
    **dict.fromkeys(
        ("ProcessGuid", "SourceProcessGUID", "SourceProcessGuid"),
        "SYSMON_PROCESS_GUID",
    ),
    **dict.fromkeys(("ProcessId", "SourceProcessId"), "SYSMON_PROCESS_ID"),
    "TargetFilename": "SYSMON_TARGET_FILENAME",
    "DestinationIp": "SYSMON_DESTINATION_IP",
}

_IDENTIFIER = "sysmon"
_FACILITY = "1"  # LOG_USER
#: Priorities of syslog(3) by the level of an event.
_PRIORITIES = {"Informational": "6", "Error": "3"}

#: Fields that are kept by value, and the longest value of which they are.
_KEPT_LIMIT, _KEPT_CHARACTERS = 512, 256


def field(name: str, value: bytes) -> bytes:
    """Return one field of an entry."""
    size = len(value).to_bytes(8, "little")
    return b"%b\n%b%b\n" % (name.encode(), size, value)


class _Kept(dict[str, bytes]):
    """Fields of one name by value; a value that is not known has none."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, text: str) -> bytes:
        if text in ("", "-"):
            made = b""
        else:
            made = field(self._name, text.encode("utf-8", "surrogateescape"))
        if len(text) <= _KEPT_CHARACTERS:
            if len(self) >= _KEPT_LIMIT:
                self.clear()
            self[text] = made
        return made


class _Frame(NamedTuple):
    """What entries of one event type have: constant fields, and those of values."""

    begin: bytes
    places: list[tuple[int, _Kept]]


class JournalMaker:
    """Makes entries whose MESSAGE is the line that another maker makes."""

    def __init__(self, maker: LineMaker) -> None:
        self._maker = maker
        self._frames: dict[int, _Frame] = {}
        self._kept = {name: _Kept(name) for name in FIELDS.values()}
        self.template_use = maker.template_use

    def lines(
        self,
        events: Sequence[Event],
        first_record_id: int,
        wall_ns: int,
        before: str = "",
    ) -> Lines:
        """Return the entries of events whose record ids are in sequence.

        The limit of a line is that of MESSAGE.
        """
        lines = self._maker.lines(events, first_record_id, wall_ns, before).split()
        frames, entries = self._frames, []
        numbered = enumerate(zip(events, lines, strict=True), first_record_id)
        for number, ((event_id, values, _, _), line) in numbered:
            begin, places = frames.get(event_id) or self._frame_of(event_id)
            digits = b"%d" % number
            entries.append(
                b"%bSYSMON_RECORD_ID\n%b%b\n%bMESSAGE\n%b%b\n"
                % (
                    begin,
                    len(digits).to_bytes(8, "little"),
                    digits,
                    b"".join([kept[values[at]] for at, kept in places]),
                    len(line).to_bytes(8, "little"),
                    line,
                )
            )
        return Lines.of(entries)

    def _frame_of(self, event_id: int) -> _Frame:
        event = EVENT_BY_ID[event_id]
        constant = {
            "SYSLOG_IDENTIFIER": _IDENTIFIER,
            "SYSLOG_FACILITY": _FACILITY,
            "PRIORITY": _PRIORITIES[event.level],
            "SYSMON_EVENT_ID": str(event.id),
        }
        begin = b"".join(field(name, text.encode()) for name, text in constant.items())
        places = [
            (at, self._kept[FIELDS[each.name]])
            for at, each in enumerate(event.fields)
            if each.name in FIELDS
        ]
        frame = self._frames[event_id] = _Frame(begin, places)
        return frame
