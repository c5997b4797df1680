# SPDX-License-Identifier: MIT
"""The attributes of a Sink element to a `SinkChoice`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sysmonlx.config.option_values import absolute_path, size_value
from sysmonlx.policy import Rotation, SinkChoice
from sysmonlx.schema.options import (
    GROUP_PATTERN,
    ROTATION_KEEP,
    ROTATION_KEEPS,
    ROTATION_PERIODS_S,
    ROTATION_SIZES,
    SINK_COMPRESSIONS,
    SINK_FORMS,
    SINK_HITS,
    SINK_KINDS,
    SINK_PREFIXES,
)

#: Attributes of each kind of sink besides `kind`, `form` and `hits`.
_ROTATION = ("size", "every", "keep", "compress")
_MORE = {"file": ("group", "prefix", *_ROTATION), "socket": ("group",)}
_ALL = ("kind", "form", "hits", "group", "prefix", *_ROTATION)
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


def sink_value(words: Mapping[str, str], target: str) -> SinkChoice:
    """Return a sink of its attributes and its text; an empty `form` means xml.

    Raises:
        ValueError: says what is allowed.
    """
    kind, form = words.get("kind", ""), words.get("form", "")
    _one_of("kind", kind, SINK_KINDS)
    if form:
        _one_of("form", form, SINK_FORMS)
    _check_names(kind, words)
    prefix = words.get("prefix", "")
    if prefix:
        _one_of("prefix", prefix, SINK_PREFIXES)
    target = target.strip()
    if kind == "file" and not target:
        raise ValueError("a file sink needs an absolute path")
    if kind == "stdout" and target:
        raise ValueError("a stdout sink takes no path")
    group, path = _group(words.get("group", "")), absolute_path(target)
    return SinkChoice(kind, form or "xml", path, group, prefix, _rotation(words))


def is_for_hits(word: str) -> bool:
    """Return whether a sink takes hits alone; an empty word means all events.

    Raises:
        ValueError: says what is allowed.
    """
    if word:
        _one_of("hits", word, SINK_HITS)
    return word == "only"


def _check_names(kind: str, words: Mapping[str, str]) -> None:
    """Refuse what this kind of sink has not: it would be without effect, unseen."""
    allowed = ("kind", "form", "hits", *_MORE.get(kind, ()))
    for name in words:
        if name not in _ALL and not name.startswith("xmlns"):
            raise ValueError(f"{name} is no attribute of it: {', '.join(_ALL)} are")
        if name in _ALL and name not in allowed:
            raise ValueError(f"a {kind} sink has no {name}")


def _rotation(words: Mapping[str, str]) -> Rotation:
    size_text, every_text = words.get("size", ""), words.get("every", "")
    if not size_text and not every_text:
        for name in ("keep", "compress"):
            if name in words:
                raise ValueError(f"{name} needs size or every: nothing is set aside")
        return Rotation()
    size = size_value("size", size_text, ROTATION_SIZES) if size_text else 0
    every_s = _seconds(every_text) if every_text else 0
    compression = words.get("compress", "")
    if compression:
        _one_of("compress", compression, SINK_COMPRESSIONS)
    return Rotation(size, every_s, _keep(words.get("keep", "")), bool(compression))


def _seconds(text: str) -> int:
    found = re.fullmatch("([0-9]{1,15})([mhd])", text)
    low, high = ROTATION_PERIODS_S
    value = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not low <= value <= high:
        raise ValueError("every is a time from 1m to 366d: 30m, 12h or 1d, say")
    return value


def _keep(text: str) -> int:
    low, high = ROTATION_KEEPS
    is_number = re.fullmatch("[0-9]{1,15}", text)
    value = int(text) if is_number else 0 if text else ROTATION_KEEP
    if not low <= value <= high:
        raise ValueError(f"keep is a whole number from {low} to {high}")
    return value


def _group(text: str) -> str:
    if text and not re.fullmatch(GROUP_PATTERN, text):
        raise ValueError("group is the name or the number of one group")
    return text


def _one_of(name: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}")
