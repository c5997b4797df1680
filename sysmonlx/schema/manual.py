# SPDX-License-Identifier: MIT
"""Tables of the manual sysmonlx(5), generated from `events` and `options`.

A table replaces the lines between two comments, BEGIN and END with the table's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from textwrap import wrap

from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.event_types import Field, FieldType
from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import CONFIG_OPTIONS, SETTINGS

_RANGED = ("size", "number")


def with_tables(page: str) -> str:
    """Return the page with every table made anew.

    Raises:
        KeyError: a marker names a table that does not exist.
    """
    return re.sub(
        r'(?ms)^(\.\\" BEGIN (\w+)\n).*?(?=^\.\\" END \2$)',
        lambda found: found[1] + "".join(f"{line}\n" for line in _TABLES[found[2]]()),
        page,
    )


def kind_of(field: Field) -> str:
    """Return the type of a field in plain words, for documents."""
    return _KINDS.get(field.type, field.type.name.lower())


def _options() -> Iterator[str]:
    yield '.Bl -tag -width "HashAlgorithms"'
    for option in CONFIG_OPTIONS:
        if option.target == "all":
            yield f".It Cm {option.name}"
            yield _sentence(option.effect)
    yield ".El"


def _settings() -> Iterator[str]:
    yield '.Bl -tag -width "TruncationAsCreate"'
    for setting in SETTINGS:
        yield f".It Cm {setting.element} Pq {setting.kind}"
        yield from _lines(setting.meaning)
        allowed = f", from {setting.low} to {setting.high}"
        allowed = allowed if setting.kind in _RANGED else ""
        yield f"Default: {setting.default_text}{allowed}."
    yield ".El"


def _conditions() -> Iterator[str]:
    yield '.Bl -tag -width "not begin with"'
    for name, meaning in CONDITIONS.items():
        yield f".It {name}"
        yield _sentence(meaning)
    yield ".El"


def _events() -> Iterator[str]:
    for event in EVENTS:
        yield f".Ss {event.id}: {event.label}"
        filtering = f"by default: {event.default}" if event.tag else "never filtered"
        yield f"{event.template}."
        yield f"Version {event.version}, {filtering}."
        if not event.produced:
            yield "Does not occur on Linux."
        yield '.Bl -column "DestinationPortName" "HEX_INT32" -compact'
        for field in event.fields:
            yield f".It {field.name} Ta {kind_of(field)}"
        yield ".El"
        if event.askable:
            yield "Where"
            yield ".Cm Fields"
            yield "names them, also:"
            yield '.Bl -column "DestinationPortName" "HEX_INT32" -compact'
            for field in event.askable:
                yield f".It {field.name} Ta {kind_of(field)}"
            yield ".El"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _lines(text: str) -> list[str]:
    """Return each sentence on lines of its own, as mdoc wants it."""
    sentences = re.split(r"(?<=\.) ", text)
    return [line for sentence in sentences for line in wrap(sentence, 78)]


_KINDS = {
    FieldType.STRING: "text",
    FieldType.PID: "number",
    FieldType.UINT16: "number",
    FieldType.UINT32: "number",
    FieldType.BOOLEAN: "true or false",
    FieldType.HEX_INT32: "hexadecimal",
    FieldType.HEX_INT64: "number",
}

_TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "options": _options,
    "settings": _settings,
    "conditions": _conditions,
    "events": _events,
}
