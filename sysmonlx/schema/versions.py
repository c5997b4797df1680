# SPDX-License-Identifier: MIT
"""The schema as text: what `-s` prints, for every published version.

`events` and `options` are the newest version. `config_schema/versions.json` keeps each
older one as its differences from the next newer one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypedDict

from sysmonlx.schema.conditions import CONDITIONS, DEFAULT_CONDITION
from sysmonlx.schema.event_types import EventType, event_type, fields
from sysmonlx.schema.events import BINARY_VERSION, EVENTS, SCHEMA_VERSION
from sysmonlx.schema.options import OPTIONS, Option, option

NO_SUCH_VERSION = "There is no schema that matches that version."

_HEAD = """\
<manifests>
  <!-- Sysmon schemas, newest first: options, conditions and events. -->
"""
_INTERNAL_IDS = 0xF000


class EventChange(TypedDict, total=False):
    """How an event of an older version differs; `head`, `fields`: see `event_types`."""

    head: str
    template: str
    fields: str


class _Versions(TypedDict):
    schemaversion: str
    binaryversion: str


class Changes(_Versions, total=False):
    """How an older version differs from the next newer one.

    `conditions` are joined by commas, `options` by commas and blanks, each a name or
    what `options.option` takes. `events` are changes by name, `order` is their names.
    """

    conditions: str
    options: str
    events: dict[str, EventChange]
    order: str


@dataclass(frozen=True, slots=True)
class Schema:
    """One published schema version."""

    version: str
    binary_version: str
    conditions: tuple[str, ...]
    options: tuple[Option, ...]
    events: tuple[EventType, ...]


def schema_data(name: str) -> Path:
    """Return where a file of `config_schema` is: in the package, else in the checkout.

    Raises:
        FileNotFoundError: neither place has it, the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "config_schema", package.parent / "config_schema"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"config_schema/{name} is not installed")


@cache
def schemas() -> tuple[Schema, ...]:
    """Return every published schema, newest first."""
    newest = Schema(
        SCHEMA_VERSION, BINARY_VERSION, tuple(CONDITIONS), tuple(OPTIONS), EVENTS
    )
    found = [newest]
    for changes in json.loads(schema_data("versions.json").read_text("utf-8")):
        found.append(_older(found[-1], changes))
    return tuple(found)


def _older(newer: Schema, changes: Changes) -> Schema:
    conditions = newer.conditions
    if "conditions" in changes:
        conditions = tuple(changes["conditions"].split(","))
    options = newer.options
    if "options" in changes:
        known = {old.name: old for old in newer.options}
        options = tuple(
            known[head] if head in known else option(head, "")
            for head in changes["options"].split(", ")
        )
    return Schema(
        changes["schemaversion"],
        changes["binaryversion"],
        conditions,
        options,
        _older_events(newer, changes),
    )


def _older_events(newer: Schema, changes: Changes) -> tuple[EventType, ...]:
    events = {event.name.removeprefix("SYSMONEVENT_"): event for event in newer.events}
    for name, change in changes.get("events", {}).items():
        events[name] = _older_event(events.get(name), change)
    order = changes["order"].split() if "order" in changes else list(events)
    return tuple(events[name] for name in order)


def _older_event(newer: EventType | None, change: EventChange) -> EventType:
    if newer is None:
        return event_type(change["head"], change["template"], fields(change["fields"]))
    event = newer
    if "head" in change:
        event = event_type(
            change["head"],
            newer.template,
            newer.fields,
            level=newer.level,
            target=newer.target,
        )
    if "fields" in change:
        event = replace(event, fields=fields(change["fields"]))
    return replace(event, template=change.get("template", newer.template))


def schema_text(wanted: str | None = None) -> str:
    """Return what `-s [VERSION|all]` prints, with its last newline.

    Versions match as a text prefix, newest first; the newest one comes with the head
    of the file. `all` prints each version once. As with Sysmon, the closing tag of
    `manifests` is never printed.
    """
    if wanted is None:
        return _HEAD + "  " + _manifest(schemas()[0]) + "\n"
    if wanted.lower() == "all":
        return _HEAD + "".join(f"  {_manifest(each)}\n" for each in schemas())
    for index, each in enumerate(schemas()):
        if each.version.startswith(wanted):
            return ("" if index else f"{_HEAD}  ") + _manifest(each) + "\n"
    return NO_SUCH_VERSION + "\n"


def _manifest(schema: Schema) -> str:
    """Return the element without its first indentation and without a newline."""
    lines = [
        f'<manifest schemaversion="{schema.version}"'
        f' binaryversion="{schema.binary_version}">',
        "    <configuration>",
        "      <options>",
        *_option_lines(schema.options),
        "      </options>",
        f'      <filters default="{DEFAULT_CONDITION}">'
        f"{','.join(schema.conditions)}</filters>",
        "    </configuration>",
        "    <events>",
        *(line for event in schema.events for line in event_lines(event)),
        "    </events>",
        "  </manifest>",
    ]
    return "\n".join(lines)


def _option_lines(options: tuple[Option, ...]) -> Iterator[str]:
    yield "        <!-- On the command line only -->"
    config_follows = False
    for each in options:
        if not each.command_line_only and not config_follows:
            config_follows = True
            yield "        <!-- On the command line and in the configuration -->"
        flags = {
            "rule": each.is_rule,
            "forceconfig": each.force_config,
            "noconfig": each.command_line_only,
            "exclusive": each.exclusive,
        }
        attributes = {
            "switch": each.switch,
            "name": each.name,
            "argument": each.argument,
            "target": each.target,
            **{name: "true" if is_set else None for name, is_set in flags.items()},
        }
        yield f"        <option{_attributes(attributes)} />"


def event_lines(event: EventType) -> Iterator[str]:
    """Yield the element of an event, as the published schema has it."""
    is_internal = event.id >= _INTERNAL_IDS
    attributes = {
        "name": event.name,
        "value": f"{event.id:#x}" if is_internal else str(event.id),
        "level": event.level,
        "template": event.template,
        "rulename": event.tag,
        "ruledefault": event.default if event.default_is_stated else None,
        "version": str(event.version),
        "target": event.target,
    }
    yield f"      <event{_attributes(attributes)}>"
    for field in event.fields:
        if field.is_ours:
            continue
        in_type, out_type = field.type.value
        attributes = {"name": field.name, "inType": in_type, "outType": out_type}
        yield f"        <data{_attributes(attributes)} />"
    yield "      </event>"


def _attributes(attributes: dict[str, str | None]) -> str:
    return "".join(
        f' {name}="{value}"' for name, value in attributes.items() if value is not None
    )
