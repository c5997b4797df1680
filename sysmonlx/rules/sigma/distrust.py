# SPDX-License-Identifier: MIT
"""Parts of plain data read with distrust: each of its type, in bounds, or refused.

All functions raise `PackError`; `what` says in it what was read.
"""

from __future__ import annotations

from collections.abc import Container

TEXT_LIMIT = 65_536
LIST_LIMIT = 1024


class PackError(ValueError):
    """A pack that cannot be used; the text is one line."""


def object_of(raw: object, names: set[str], what: str) -> dict[str, object]:
    """Return an object that has exactly these keys."""
    if type(raw) is not dict:
        raise PackError(f"{what} is no object")
    if strange := set(raw) ^ names:
        state = "unknown" if set(raw) - names else "missing"
        raise PackError(f"{state} in {what}: {min(map(repr, strange)):.80}")
    return raw


def list_of(raw: object, most: int, what: str) -> list[object]:
    """Return a list that is not too long."""
    if type(raw) is not list:
        raise PackError(f"{what}: a list is expected")
    if len(raw) > most:
        raise PackError(f"{what}: more than {most}")
    return raw


def texts_of(raw: object, what: str) -> tuple[str, ...]:
    """Return a list of texts."""
    return tuple(text_of(each, what) for each in list_of(raw, LIST_LIMIT, what))


def text_of(raw: object, what: str) -> str:
    """Return a text that can be written."""
    if type(raw) is not str:
        raise PackError(f"{what}: a text is expected")
    if len(raw) > TEXT_LIMIT:
        raise PackError(f"{what}: a text is longer than {TEXT_LIMIT} characters")
    try:
        raw.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise PackError(f"{what}: a text has half a character") from None
    return raw


def number_of(raw: object, least: int, most: int, what: str) -> int:
    """Return a number within bounds."""
    if type(raw) is not int or not least <= raw <= most:
        raise PackError(f"{what}: a number from {least} to {most} is expected")
    return raw


def boolean_of(raw: object, what: str) -> bool:
    """Return a truth value."""
    if type(raw) is not bool:
        raise PackError(f"{what}: true or false is expected")
    return raw


def one_of(words: Container[str], raw: object, what: str) -> str:
    """Return one of some words."""
    word = text_of(raw, what)
    if word not in words:
        raise PackError(f"{what} {word!r:.80} is not known")
    return word
