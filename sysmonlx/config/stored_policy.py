# SPDX-License-Identifier: MIT
"""The JSON of a policy, read with distrust: a policy that comes out can be run.

A stored policy may be damaged, or of another version of this program. Settings that
this version does not know are left out. Settings that are missing have their default.
Rules have to be understood as a whole: a part of them would mean something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable

from sysmonlx.policy import (
    ALGORITHMS,
    DECISIONS,
    RELATIONS,
    RULE_ACTIONS,
    Compound,
    Element,
    FieldSize,
    Filter,
    PackFile,
    Policy,
    Rotation,
    RulesChoice,
    Ruleset,
    Settings,
    SettingValue,
    SinkChoice,
)
from sysmonlx.rules.sigma.pack import load
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import APPENDED, EVENT_BY_ID
from sysmonlx.schema.options import (
    GROUP_PATTERN,
    ROTATION_KEEPS,
    ROTATION_PERIODS_S,
    ROTATION_SIZES,
    RULE_LEVELS,
    RULE_STATUSES,
    SETTINGS,
    SHIPPED,
    SINK_FORMS,
    SINK_KINDS,
    SINK_PREFIXES,
    Setting,
)

#: Makes a value of a setting out of what JSON has for it, or raises ValueError.
Check = Callable[[object], SettingValue]

_LARGEST_NUMBER = (1 << 31) - 1
_DEFAULTS = Settings()
#: A sink stored as a list of three values has these behind them: group, prefix,
#: rotation.
_SINK_DEFAULTS: tuple[object, ...] = ("", "", [*Rotation()])


def policy_of(text: str, *, is_whole: bool = True) -> Policy:
    """Return the policy that `Policy.to_json` wrote.

    `is_whole`: it has to have the packs of rules that its settings name.

    Raises:
        ValueError: the text is not one of ours, or holds what cannot be run.
    """
    try:
        return _policy(_fields(json.loads(text)), is_whole=is_whole)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deeply, or too large") from error


def _policy(raw: dict[str, object], *, is_whole: bool) -> Policy:
    rules = _fields(raw["ruleset"])
    settings = _settings(_fields(raw["settings"]))
    fields, version = settings.appended_fields, _text(rules["schema_version"])
    elements = tuple(_element(each, fields) for each in _list(rules["elements"]))
    packs = tuple(map(_pack, _list(rules.get("packs", []))))
    if is_whole and not _are_of(packs, settings.rules):
        raise ValueError("its packs are not those that its settings name")
    return Policy(
        Ruleset(version, elements, settings.appended, packs),
        settings,
        _text(raw["source"]),
        tuple(map(_pair, _list(raw["digests"]))),
        _number(raw.get("form", 0)),
    )


def _are_of(packs: Iterable[PackFile], rules: Iterable[RulesChoice]) -> bool:
    """Return whether these are packs of all files and directories named."""
    choices = [each.choice for each in packs]
    found = [{each for each in choices if _is_of(each, rule)} for rule in rules]
    return all(found) and set().union(*found) == {*choices}


def _is_of(choice: RulesChoice, rule: RulesChoice) -> bool:
    name, path = choice[0], rule[0]
    is_there = name == path or name.startswith(f"{path.rstrip('/')}/")
    return is_there and choice[1:] == rule[1:]


def _pack(value: object) -> PackFile:
    """Return a pack that can be compiled."""
    raw = _fields(value)
    text = _text(raw["text"])
    load(json.loads(text))
    refused = _number(raw.get("refused", 0))
    return PackFile(_rules(raw["choice"]), _text(raw["sha256"]), text, refused)


def _element(value: object, appended: tuple[str, ...]) -> Element:
    raw = _fields(value)
    tag = _text(raw.pop("tag"))
    event_ids = tuple(map(_number, _list(raw.pop("event_ids"))))
    bound_id = _number(raw.pop("bound_id"))
    if not event_ids or any(EVENT_BY_ID[each].tag != tag for each in event_ids):
        raise ValueError(f"{tag} with the events {event_ids}")
    if bound_id and bound_id not in event_ids:
        raise ValueError(f"{tag} is bound to event {bound_id}")
    events = [EVENT_BY_ID[each].with_appended(appended) for each in event_ids]
    names = frozenset(field.name for event in events for field in event.fields)
    element = Element(
        tag,
        event_ids,
        items=tuple(_item(each, names) for each in _list(raw.pop("items"))),
        onmatch=_one_of(DECISIONS, raw.pop("onmatch")),
        relation=_one_of(RELATIONS, raw.pop("relation")),
        line=_number(raw.pop("line")),
        bound_id=bound_id,
    )
    _check_none_left(raw)
    return element


def _item(value: object, names: frozenset[str]) -> Filter | Compound:
    raw = _fields(value)
    if "filters" not in raw:
        return _filter(raw, names)
    filters = _list(raw.pop("filters"))
    compound = Compound(
        tuple(_filter(_fields(each), names) for each in filters),
        relation=_one_of(RELATIONS, raw.pop("relation")),
        number=_number(raw.pop("number")),
        name=_text(raw.pop("name")),
        line=_number(raw.pop("line")),
    )
    _check_none_left(raw)
    return compound


def _filter(raw: dict[str, object], names: frozenset[str]) -> Filter:
    each = Filter(
        _one_of(names, raw.pop("field")),
        _one_of(CONDITIONS, raw.pop("condition")),
        _text(raw.pop("value")),
        _text(raw.pop("name")),
        _number(raw.pop("line")),
    )
    _check_none_left(raw)
    return each


def _settings(raw: dict[str, object]) -> Settings:
    known = raw.keys() & CHECKS.keys()
    return Settings.of({name: CHECKS[name](raw[name]) for name in known})


def _check_of(setting: Setting) -> Check:
    if setting.kind == "boolean":
        return _boolean
    if setting.kind == "path":
        return _path
    if setting.kind == "names":
        return _names
    return lambda value: _in_range(setting, value)


def _in_range(setting: Setting, value: object) -> int:
    number = _number(value, setting.high)
    if number == getattr(_DEFAULTS, setting.attribute):
        return number  # it may be below the limits: 0 is the LineLimit of each sink
    if not setting.allows(number):
        raise ValueError(f"{setting.element} is {number}")
    return number


def _sink(value: object) -> SinkChoice:
    kind, form, target, *more = _list(value)
    group, prefix, rotation = (*more, *_SINK_DEFAULTS[len(more) :])
    if (kind == "file" and not target) or (kind == "stdout" and target):
        raise ValueError(f"a {kind} sink with the target {target!r}")
    return SinkChoice(
        _one_of(SINK_KINDS, kind),
        _one_of(SINK_FORMS, form),
        _path(target),
        _group(group),
        _one_of(("", *SINK_PREFIXES), prefix),
        _rotation(rotation),
    )


def _group(value: object) -> str:
    group = _text(value)
    if group and not re.fullmatch(GROUP_PATTERN, group):
        raise ValueError(f"{group!r} is no group")
    return group


def _rotation(value: object) -> Rotation:
    size, every, keep, compresses = _list(value)
    found = Rotation(
        _number(size, ROTATION_SIZES[1]),
        _number(every, ROTATION_PERIODS_S[1]),
        _number(keep, ROTATION_KEEPS[1]),
        _boolean(compresses),
    )
    if found.is_wanted and not found.keep:
        raise ValueError("a rotation that keeps nothing")
    return found


def _rules(value: object) -> RulesChoice:
    path, action, level, status = map(_text, _list(value))
    if not path:
        raise ValueError("rules without a path")
    return (
        path if path == SHIPPED else _path(path),
        _one_of(RULE_ACTIONS, action),
        _one_of(RULE_LEVELS, level),
        _one_of(RULE_STATUSES, status),
    )


def _field_size(value: object) -> FieldSize:
    name, size = _list(value)
    size_bytes = _number(size)
    if not size_bytes:
        raise ValueError(f"{name} is cut to nothing")
    return _text(name), size_bytes


def _algorithms(value: object) -> tuple[str, ...]:
    found = tuple(_one_of(ALGORITHMS, each) for each in _list(value))
    if len(set(found)) != len(found):
        raise ValueError("an algorithm is named twice")
    return found


def _fields(value: object) -> dict[str, object]:
    if type(value) is not dict:
        raise ValueError("an object is expected")
    return value


def _check_none_left(raw: dict[str, object]) -> None:
    """Refuse a part of a rule that is not known: it would mean something else."""
    if raw:
        raise ValueError(f"unknown in a rule: {', '.join(raw)}")


def _list(value: object) -> list[object]:
    if type(value) is not list:
        raise ValueError("a list is expected")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("a text is expected")
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")  # refuses surrogates of other uses
    return value


def _path(value: object) -> str:
    path = _text(value)
    if path and (not path.startswith("/") or not path.isprintable()):
        raise ValueError("an absolute path is expected")
    return path


def _names(value: object) -> tuple[str, ...]:
    named = [_one_of(APPENDED, each) for each in _list(value)]
    return tuple(each for each in APPENDED if each in named)


def _pair(value: object) -> tuple[str, str]:
    name, digest = _list(value)
    return _text(name), _text(digest)


def _number(value: object, highest: int = _LARGEST_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= highest:
        raise ValueError(f"a whole number up to {highest} is expected")
    return value


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is expected")
    return value


def _one_of(words: Container[str], value: object) -> str:
    word = _text(value)
    if word not in words:
        raise ValueError(f"{word!r} is not known")
    return word


#: The check of each attribute of `Settings`.
CHECKS: dict[str, Check] = {
    "hash_algorithms": _algorithms,
    "field_sizes": lambda value: tuple(map(_field_size, _list(value))),
    "field_sizes_text": _text,
    "dns_lookup": _boolean,
    "sinks": lambda value: tuple(map(_sink, _list(value))),
    "hit_sinks": lambda value: tuple(map(_sink, _list(value))),
    "rules": lambda value: tuple(map(_rules, _list(value))),
    **{setting.attribute: _check_of(setting) for setting in SETTINGS},
}
