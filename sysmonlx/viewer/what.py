# SPDX-License-Identifier: MIT
"""An event in a mark and a few words, and the parts of a rule's name.

The words are as they were read: the caller makes them safe for a terminal or page.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.fields import AnyEvent, text_of, value_of
from sysmonlx.viewer.terminal import word

#: One character for what happened; events that have none here are ".".
MARKS = {
    **{1: "+", 2: "t", 3: "~", 4: "s", 5: "-", 6: "M", 7: "l", 8: "I", 9: "r"},
    **{10: "p", 11: "w", 15: "a", 16: "c", 17: "|", 18: "|", 22: "?", 23: "x"},
    **{25: "T", 26: "x", 100: "b", 255: "E"},
}

_TECHNIQUE = re.compile(r"(?<![0-9A-Za-z])T\d{4}(?:\.\d{3})?(?!\d)")
_TECHNIQUE_NAME = re.compile(r"technique_name=([^,]+)")


def mark(event_id: int) -> str:
    """Return the mark of an event."""
    return MARKS.get(event_id, ".")


def what(event: AnyEvent) -> str:
    """Return what happened, without who did it."""
    return _WORDS.get(event.event_id, _all)(event)


def details(event: AnyEvent, without: tuple[str, ...]) -> str:
    """Return the known values of all other fields as one text, `Name=value`."""
    names = (field.name for field in EVENT_BY_ID[event.event_id].fields)
    pairs = (*zip(names, event.values, strict=True), *event.ours.items())
    return " ".join(
        f"{name}={word(value)}"
        for name, value in pairs
        if value != "-" and name not in without
    )


def _all(event: AnyEvent) -> str:
    known = ("UtcTime", "RuleName", "ProcessGuid", "ProcessId", "Image", "User")
    return details(event, known)


def _of(*names: str) -> Callable[[AnyEvent], str]:
    return lambda event: text_of(event, *names)


def _connection(event: AnyEvent) -> str:
    name = text_of(event, "DestinationHostname")
    text = (
        f"{text_of(event, 'Protocol')} {_end(event, 'Source')}"
        f" -> {_end(event, 'Destination')}"
    )
    text += f" ({name})" if name else ""
    return text + (" accepted" if value_of(event, "Initiated") == "false" else "")


def _end(event: AnyEvent, end: str) -> str:
    address, port = text_of(event, f"{end}Ip"), text_of(event, f"{end}Port")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _target(event: AnyEvent) -> str:
    text = f"{text_of(event, 'TargetImage')} ({text_of(event, 'TargetProcessId')})"
    access = text_of(event, "GrantedAccess")
    return f"{text} {access}" if access else text


def _query(event: AnyEvent) -> str:
    return f"{text_of(event, 'QueryName')} -> {text_of(event, 'QueryResults') or '-'}"


def _times(event: AnyEvent) -> str:
    old, new = (
        text_of(event, "PreviousCreationUtcTime"),
        text_of(event, "CreationUtcTime"),
    )
    return f"{text_of(event, 'TargetFilename')} {old} -> {new}"


def _program(event: AnyEvent) -> str:
    names = ("BpfCommand", "BpfProgramType", "BpfProgramName")
    words = [text_of(event, name) for name in names]
    return " ".join(filter(None, (*words, f"#{text_of(event, 'BpfProgramId')}")))


_WORDS: dict[int, Callable[[AnyEvent], str]] = {
    1: _of("CommandLine", "Image"),
    2: _times,
    3: _connection,
    4: _of("State"),
    5: lambda event: "ended",
    6: _of("ImageLoaded"),
    7: _of("ImageLoaded"),
    8: _target,
    9: _of("Device"),
    10: _target,
    11: _of("TargetFilename"),
    15: _of("TargetFilename"),
    16: lambda event: f"configuration {text_of(event, 'ConfigurationFileHash')}",
    17: _of("PipeName"),
    18: _of("PipeName"),
    22: _query,
    23: _of("TargetFilename"),
    25: _of("Type"),
    26: _of("TargetFilename"),
    100: _program,
    255: lambda event: f"{text_of(event, 'ID')}: {text_of(event, 'Description')}",
}


def technique(rule: str) -> str:
    """Return the id of the technique that a rule's name holds, else an empty text."""
    found = _TECHNIQUE.search(rule)
    return found[0] if found else ""


def short_rule(rule: str) -> str:
    """Return the name of a rule in short: technique and its name, if it has these."""
    name = _TECHNIQUE_NAME.search(rule)
    return f"{technique(rule)} {name[1]}".strip() if name else rule


def base_name(path: str) -> str:
    """Return the last part of a path, or all of it."""
    return path.rstrip("/").rpartition("/")[2] or path
