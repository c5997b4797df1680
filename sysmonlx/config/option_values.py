# SPDX-License-Identifier: MIT
"""Texts of options and settings to values, the same for a file and for a switch."""

from __future__ import annotations

import re

from sysmonlx.policy import (
    ALGORITHMS,
    RULE_ACTIONS,
    FieldSize,
    RulesChoice,
    SettingValue,
)
from sysmonlx.schema.events import APPENDED, EVENTS
from sysmonlx.schema.options import (
    KIB,
    MIB,
    RULE_DEFAULTS,
    RULE_LEVELS,
    RULE_STATUSES,
    SHIPPED,
    Setting,
)

#: IMPHASH, a hash of Windows programs, is accepted and never computed.
_KNOWN_ALGORITHMS = (*ALGORITHMS, "IMPHASH")
_ALGORITHM_NAMES = {
    spelling: name
    for name in _KNOWN_ALGORITHMS
    for spelling in (name.lower(), re.sub("(sha|md|imp)", r"\1-", name.lower()))
}
_FIELD_NAMES = frozenset(
    field.name for event in EVENTS for field in (*event.fields, *event.appended)
)
_NOT_IN_FIELD_SIZES = re.compile("[^A-Za-z0-9,:]")
_LARGEST_FIELD_SIZE = (1 << 31) - 1
_OFF_WORDS = frozenset({"false", "0", "NULL", "disabled"})
_ON_WORDS = frozenset({"true", "1", "enabled", ""})
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1 << 30}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _visible(item: str) -> str:
    """Return an item whose blanks can be seen."""
    if item == item.strip():
        return item
    return f'"{item}" (blanks are not allowed)'.translate(
        {10: "\\n", 9: "\\t", 13: "\\r"}
    )


def list_items(text: str) -> tuple[str, ...]:
    """Split at commas as Sysmon does: two adjacent ones are one literal comma."""
    pieces = re.split("(,,|,)", text)
    items = [pieces[0]]
    for comma, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if comma == ",":
            items.append(piece)
        else:
            items[-1] += "," + piece
    return tuple(items)


def hash_algorithms(text: str) -> tuple[str, ...]:
    """Return the algorithms to compute, in the order in which they are printed.

    Raises:
        ValueError: with Sysmon's message, for an unknown item.
    """
    if text.lower() in ("*", "all"):
        return ALGORITHMS
    wanted = set()
    for item in list_items(text):
        name = _ALGORITHM_NAMES.get(item.lower())
        if name is None:
            raise ValueError(f"Invalid hashing algorithm: {_visible(item)}")
        wanted.add(name)
    return tuple(name for name in ALGORITHMS if name in wanted)


def field_sizes(text: str) -> tuple[FieldSize, ...]:
    """Return (field, bytes) pairs out of "CommandLine:100,Image:20".

    Raises:
        ValueError: with Sysmon's message.
    """
    if bad := _NOT_IN_FIELD_SIZES.search(text):
        raise ValueError(
            f"FieldSizes option ('{text}') has invalid character: '{bad.group()}'."
        )
    sizes: dict[str, int] = {}
    for item in text.split(","):
        name, colon, number = item.partition(":")
        if not colon:
            continue
        if name not in _FIELD_NAMES:
            raise ValueError(f"FieldSizes field '{name}' is invalid.")
        sizes[name] = _leading_number(number)
        if not sizes[name]:
            raise ValueError(f"FieldSizes field '{name}' has max size of 0.")
    return tuple(sizes.items())


def _leading_number(text: str) -> int:
    digits = re.match("[0-9]{0,10}", text)
    return min(int(digits.group() or "0"), _LARGEST_FIELD_SIZE) if digits else 0


def switch_word(text: str) -> bool | None:
    """Return what a word says that switches an option; None for any other text."""
    if text in _ON_WORDS:
        return True
    return False if text in _OFF_WORDS else None


def setting_value(setting: Setting, text: str) -> SettingValue:
    """Return the value of one of our own settings.

    Raises:
        ValueError: says what is allowed.
    """
    text = text.strip()
    if setting.kind == "boolean":
        if text.lower() not in _BOOLEANS:
            raise ValueError("true or false is expected")
        return _BOOLEANS[text.lower()]
    if setting.kind == "path":
        return absolute_path(text)
    if setting.kind == "names":
        return _names(text)
    return _number(setting, text)


class UnknownFieldError(ValueError):
    """A name that is none of `events.APPENDED`; `name` is as written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is no such field: expected {', '.join(APPENDED)}")
        self.name = name


def _names(text: str) -> tuple[str, ...]:
    """Return the fields that a text names, in the order of the output."""
    names = [each.strip() for each in text.split(",")] if text else []
    for name in names:
        if name not in APPENDED:
            raise UnknownFieldError(name)
        if names.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return tuple(name for name in APPENDED if name in names)


def absolute_path(text: str) -> str:
    """Return a path as it is; an empty one stands for a default.

    Raises:
        ValueError: it is not absolute, or has characters that nobody can see.
    """
    if text and (not text.startswith("/") or not text.isprintable()):
        raise ValueError("an absolute path is expected")
    return text


def _with_unit(text: str) -> int:
    """Return a number of bytes, also out of "64K" or "8M"; -1: it is none."""
    found = re.fullmatch("([0-9]{1,15})([KMG]?)", text)
    return int(found[1]) * _UNITS[found[2]] if found else -1


def size_value(name: str, text: str, bounds: tuple[int, int]) -> int:
    """Return a number of bytes.

    Raises:
        ValueError: says what is allowed.
    """
    low, high = bounds
    value = _with_unit(text)
    if not low <= value <= high:
        text = f"a number of bytes from {low} to {high}, also with K, M or G"
        raise ValueError(f"{name} is {text}")
    return value


def _number(setting: Setting, text: str) -> int:
    is_size = setting.kind == "size"
    value = _with_unit(text)
    if not is_size and not text.isdecimal():
        value = -1
    if setting.allows(value):
        return value
    if setting.low <= value <= setting.high:
        raise ValueError("a power of two is expected")
    example = ", also with K, M or G" if is_size else ""
    raise ValueError(
        f"a whole number from {setting.low} to {setting.high} is expected{example}"
    )


def rules_value(action: str, level: str, status: str, path: str) -> RulesChoice:
    """Return which rules of Sigma to use; an empty word is its default.

    Raises:
        ValueError: says what is allowed.
    """
    words = (action, level, status)
    for name, word, allowed in zip(RULE_WORDS, words, _ALLOWED, strict=True):
        if word and word not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    found = path.strip()
    if found != SHIPPED and not found.startswith("/"):
        expected = f"the absolute path of rules of Sigma, or {SHIPPED}"
        raise ValueError(f"{expected}, is expected")
    found = found if found == SHIPPED else absolute_path(found)
    chosen = [
        word or default for word, default in zip(words, RULE_DEFAULTS, strict=True)
    ]
    return found, chosen[0], chosen[1], chosen[2]


RULE_WORDS = ("action", "level", "status")
_ALLOWED = (RULE_ACTIONS, RULE_LEVELS, RULE_STATUSES)
