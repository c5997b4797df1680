# SPDX-License-Identifier: MIT
"""Events for a person to read: one line each, coloured, in the foreground mode.

What other programs named themselves must not reach the terminal as commands: control
characters, invalid bytes and characters that reorder or hide text are spelt out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TextIO

from sysmonlx.catalogue import EVENT_BY_ID, EventType
from sysmonlx.escape import visible

#: Name of the process an event is about, where it is not Image.
_WHO = ("Image", "SourceImage", "Configuration", "State", "ID")
_PID = ("ProcessId", "SourceProcessId")

#: What matters most of each event, in reading order; others show all their fields.
_SHOWN = {
    1: ("CommandLine", "User", "CurrentDirectory", "ParentImage", "ParentProcessId"),
    2: ("TargetFilename", "CreationUtcTime", "User"),
    3: ("Protocol", "SourceIp", "SourcePort", "DestinationIp", "DestinationPort"),
    4: ("Version", "SchemaVersion"),
    5: ("User",),
    6: ("ImageLoaded", "Hashes"),
    7: ("ImageLoaded", "User"),
    8: ("TargetImage", "TargetProcessId"),
    9: ("Device", "User"),
    10: ("TargetImage", "TargetProcessId", "GrantedAccess", "SourceUser"),
    11: ("TargetFilename", "User"),
    16: ("ConfigurationFileHash",),
    17: ("PipeName", "User"),
    18: ("PipeName", "User"),
    22: ("QueryName", "QueryResults", "QueryStatus"),
    23: ("TargetFilename", "User"),
    25: ("Type", "User"),
    26: ("TargetFilename", "User"),
    100: ("BpfCommand", "BpfProgramType", "BpfProgramId", "BpfProgramName"),
    255: ("Description",),
}

#: Names of events that no element of a configuration has for itself.
_TITLES = {
    4: "ServiceState",
    12: "RegistryKey",
    13: "RegistryValue",
    14: "RegistryRename",
    16: "Configuration",
    17: "PipeCreated",
    18: "PipeConnected",
    19: "WmiFilter",
    20: "WmiConsumer",
    21: "WmiBinding",
    255: "Error",
}

#: SGR colours by what an event is about.
_COLOURS = {1: 32, 5: 90, 3: 36, 22: 36, 11: 33, 2: 33, 23: 35, 26: 35, 255: 31}
_OTHER_COLOUR = 34

#: Bidirectional controls, invisible characters and tags: text that lies to the eye.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BREAKS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

#: Longer values are cut: a line is to be read, not kept.
_WIDTH = 400


class TerminalView:
    """Prints events to `stream`; `colour` only where that is a terminal."""

    def __init__(self, stream: TextIO, colour: bool) -> None:
        self._stream = stream
        self._colour = colour

    def show(self, event_id: int, values: Sequence[str]) -> None:
        """Print one event as one line: time, name, process, what it did."""
        event = EVENT_BY_ID[event_id]
        texts = dict(zip((field.name for field in event.fields), values, strict=True))
        clock = safe(texts["UtcTime"][11:] or texts["UtcTime"])
        colour = _COLOURS.get(event_id, _OTHER_COLOUR)
        name = self._painted(f"{title(event):<18}", colour)
        words = [clock, name, *self._process(texts), *self._details(event, texts)]
        self._print(" ".join(words))

    def show_all(self, event_id: int, values: Sequence[str]) -> None:
        """Print one event as Sysmon's debug mode does: its name, a line a field."""
        event = EVENT_BY_ID[event_id]
        lines = [f"Event {event.name}"]
        for field, value in zip(event.fields, values, strict=True):
            lines.append(f"\t{field.name}: {safe(value)}")
        self._print("\n".join(lines))

    def summary(
        self, counts: Mapping[str, int], lost: int, cpu_s: float, wall_s: float
    ) -> None:
        """Print what was seen: events by type, most first, lost ones, CPU used."""
        total = sum(counts.values())
        lines = ["", self._painted(f"{total} events in {wall_s:.1f} s", 1)]
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"{count:>10}  {name}")
        text = f"{lost} lost"
        lines.append(self._painted(text, 31) if lost else text)
        share = 100 * cpu_s / wall_s if wall_s > 0 else 0.0
        lines.append(f"CPU used: {cpu_s:.2f} s ({share:.1f} % of one CPU)")
        self._print("\n".join(lines))

    def _print(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text + "\n")
        self._stream.flush()

    def _process(self, texts: Mapping[str, str]) -> list[str]:
        pid = next((texts[name] for name in _PID if name in texts), "")
        who = next((texts[name] for name in _WHO if name in texts), "")
        return [f"{safe(pid):>7}", self._painted(_short(who), 1)]

    def _details(self, event: EventType, texts: Mapping[str, str]) -> list[str]:
        shown = _SHOWN.get(event.id) or tuple(
            name for name in texts if name not in (*_WHO, *_PID, "UtcTime", "RuleName")
        )
        words = [
            self._painted(f"{name}=", 2) + _short(texts[name])
            for name in shown
            if texts.get(name, "-") != "-"
        ]
        rule = texts.get("RuleName", "-")
        return (
            [*words, self._painted(f"[{_short(rule)}]", 33)] if rule != "-" else words
        )

    def _painted(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text


def title(event: EventType) -> str:
    """Return the short name that people know an event by."""
    return _TITLES.get(event.id) or event.tag or event.template


def safe(text: str) -> str:
    r"""Return `text` for a terminal: `\xNN` for bytes, `\uNNNN` for what is unseen."""
    text = visible(text)
    if text.isprintable():
        return text
    for old, new in _BREAKS.items():
        text = text.replace(old, new)
    return _UNSEEN.sub(_code_point, text)


def _code_point(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _short(text: str) -> str:
    return safe(text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "...")
