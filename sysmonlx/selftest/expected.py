# SPDX-License-Identifier: MIT
"""Expected values of an event's field, and whether a text is one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias, TypedDict


class Some(TypedDict, total=False):
    """Several texts that are right: those of `any`, or from `low` to `high`, or `form`.

    `form` is a regular expression that the whole text fits.
    """

    any: list[str]
    low: str
    high: str
    form: str


#: One text, or several that are right. It can be sent as JSON.
Expected: TypeAlias = str | Some


def is_right(text: str, expected: Expected) -> bool:
    """Return whether a text is what was expected."""
    if isinstance(expected, str):
        return text == expected
    if text in expected.get("any", ()):
        return True
    if "form" in expected and re.fullmatch(expected["form"], text):
        return True
    return "low" in expected and expected["low"] <= text <= expected["high"]


def in_words(expected: Expected) -> str:
    """Return what was expected, for people."""
    if isinstance(expected, str):
        return f'"{expected}"'
    texts = [f'"{each}"' for each in expected.get("any", ())]
    if "low" in expected:
        texts.append(f'"{expected["low"]}" to "{expected["high"]}"')
    if "form" in expected:
        texts.append(f"a text like {expected['form']}")
    return " or ".join(texts)


def wrong_fields(
    event: Mapping[str, str], expected: Mapping[str, Expected]
) -> list[str]:
    """Return the fields that are missing or not as expected, a text each."""
    return [
        f"{name} is missing"
        if name not in event
        else f'{name} is "{event[name]}", not {in_words(wanted)}'
        for name, wanted in expected.items()
        if name not in event or not is_right(event[name], wanted)
    ]
