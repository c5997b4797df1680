# SPDX-License-Identifier: MIT
"""The JSON of a policy, read with distrust: what comes out can be run.

A stored policy may be damaged, or of another version of this program. Settings that
this version does not know are left out, and those that are missing have their default.
Rules are all understood, or none is: a part of them would mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sysmonlx.policy import (
    ALGORITHMS,
    Compound,
    Element,
    Filter,
    Policy,
    Ruleset,
    Settings,
)
from sysmonlx.schema.events import CONDITIONS, EVENT_BY_ID
from sysmonlx.schema.options import SETTINGS, SINK_FORMS, SINK_KINDS, Setting

_LARGEST_NUMBER = (1 << 31) - 1
_DEFAULTS = Settings()
_ONMATCH = ("include", "exclude")
_RELATIONS = ("and", "or")


def policy_of(text: str) -> Policy:
    """Return the policy that `Policy.to_json` wrote.

    Raises:
        ValueError: the text is not one of ours, or holds what cannot be run.
    """
    try:
        return _policy(_fields(json.loads(text)))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deeply, or too large") from error


def _policy(raw: dict[str, Any]) -> Policy:
    rules = _fields(raw["ruleset"])
    elements = tuple(map(_element, _list(rules["elements"])))
    return Policy(
        Ruleset(_text(rules["schema_version"]), elements),
        _settings(_fields(raw["settings"])),
        _text(raw["source"]),
        tuple(map(_pair, _list(raw["digests"]))),
        _number(raw.get("form", 0)),
    )


def _element(value: Any) -> Element:
    raw = _fields(value)
    tag = _text(raw.pop("tag"))
    event_ids = tuple(map(_number, _list(raw.pop("event_ids"))))
    bound_id = _number(raw.pop("bound_id"))
    if not event_ids or any(EVENT_BY_ID[each].tag != tag for each in event_ids):
        raise ValueError(f"{tag} with the events {event_ids}")
    if bound_id and bound_id not in event_ids:
        raise ValueError(f"{tag} is bound to event {bound_id}")
    events = [EVENT_BY_ID[each] for each in event_ids]
    names = frozenset(field.name for event in events for field in event.fields)
    return Element(
        tag,
        event_ids,
        items=tuple(_item(each, names) for each in _list(raw.pop("items"))),
        onmatch=_one_of(_ONMATCH, raw.pop("onmatch")),
        relation=_one_of(_RELATIONS, raw.pop("relation")),
        line=_number(raw.pop("line")),
        bound_id=bound_id,
        **_none_left(raw),
    )


def _item(value: Any, names: frozenset[str]) -> Filter | Compound:
    raw = _fields(value)
    if "filters" not in raw:
        return _filter(raw, names)
    filters = _list(raw.pop("filters"))
    return Compound(
        tuple(_filter(_fields(each), names) for each in filters),
        relation=_one_of(_RELATIONS, raw.pop("relation")),
        number=_number(raw.pop("number")),
        name=_text(raw.pop("name")),
        line=_number(raw.pop("line")),
        **_none_left(raw),
    )


def _filter(raw: dict[str, Any], names: frozenset[str]) -> Filter:
    return Filter(
        _one_of(names, raw.pop("field")),
        _one_of(CONDITIONS, raw.pop("condition")),
        _text(raw.pop("value")),
        _text(raw.pop("name")),
        _number(raw.pop("line")),
        **_none_left(raw),
    )


def _settings(raw: dict[str, Any]) -> Settings:
    known = raw.keys() & CHECKS.keys()
    return Settings(**{name: CHECKS[name](raw[name]) for name in known})


def _check_of(setting: Setting) -> Callable[[Any], Any]:
    if setting.kind == "boolean":
        return _boolean
    if setting.kind == "path":
        return _path
    return lambda value: _in_range(setting, value)


def _in_range(setting: Setting, value: Any) -> int:
    number = _number(value, setting.high)
    if number == getattr(_DEFAULTS, setting.attribute):
        return number  # it may mean "of each sink", which no configuration can write
    is_power = not number & (number - 1)
    if number < setting.low or (setting.element == "RingSize" and not is_power):
        raise ValueError(f"{setting.element} is {number}")
    return number


def _sink(value: Any) -> tuple[str, str, str]:
    kind, form, target = _list(value)
    target = _path(target)
    if (kind == "file" and not target) or (kind == "stdout" and target):
        raise ValueError(f"a {kind} sink with the target {target!r}")
    return _one_of(SINK_KINDS, kind), _one_of(SINK_FORMS, form), target


def _field_size(value: Any) -> tuple[str, int]:
    name, size = _list(value)
    if not _number(size):
        raise ValueError(f"{name} is cut to nothing")
    return _text(name), size


def _algorithms(value: Any) -> tuple[str, ...]:
    found = tuple(_one_of(ALGORITHMS, each) for each in _list(value))
    if len(set(found)) != len(found):
        raise ValueError("an algorithm is named twice")
    return found


def _fields(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("an object is expected")
    return value


def _none_left(raw: dict[str, Any]) -> dict[str, Any]:
    """Return no argument at all: a part of a rule that is not known changes it."""
    if raw:
        raise ValueError(f"unknown in a rule: {', '.join(raw)}")
    return {}


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError("a list is expected")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("a text is expected")
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")  # which other surrogates are not
    return value


def _path(value: Any) -> str:
    if _text(value) and (not value.startswith("/") or not value.isprintable()):
        raise ValueError("an absolute path is expected")
    return str(value)


def _pair(value: Any) -> tuple[str, str]:
    name, digest = _list(value)
    return _text(name), _text(digest)


def _number(value: Any, highest: int = _LARGEST_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= highest:
        raise ValueError(f"a whole number up to {highest} is expected")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is expected")
    return value


def _one_of(words: Any, value: Any) -> str:
    if _text(value) not in words:
        raise ValueError(f"{value!r} is not known")
    return str(value)


#: What makes a value of each attribute of `Settings`.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "hash_algorithms": _algorithms,
    "field_sizes": lambda value: tuple(map(_field_size, _list(value))),
    "field_sizes_text": _text,
    "sinks": lambda value: tuple(map(_sink, _list(value))),
    **{setting.attribute: _check_of(setting) for setting in SETTINGS},
}
